"""Standard streams as a script may leave them: closed, on a full disk. The exit status stays true."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Shop, make_picture

FULL = "standard output cannot be written: No space left on device\n"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line with redirections; `batchrun` in it is this program."""
    return subprocess.run(
        ["/bin/sh", "-c", f'batchrun() {{ "{sys.executable}" -m batchrun "$@"; }}; {line}'],
        capture_output=True, text=True, check=False, cwd=folder, timeout=100,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `shop.yaml` is and its preview is made."""
    shop = Shop(tmp_path_factory.mktemp("shop"), limits="{budget: 1}").add("a")
    done = shell("batchrun shop.yaml --preview", shop.folder)
    assert done.returncode == 0, done.stderr
    return shop.folder


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-", "<&-"])
def test_a_run_with_closed_streams(shop: Shop, closed: str) -> None:
    shop.limits = "{budget: 1}"
    shop.add("a")
    done = shell(f"batchrun shop.yaml --preview {closed}", shop.folder)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert ("shop: 1 job: 1 done" in done.stdout) is not closed.startswith(">&-")
    after = shell("batchrun status shop.yaml --preview", shop.folder)
    assert (after.returncode, "1 done" in after.stdout) == (0, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("", 2),
        ("schema", 0),
        ("report shop.yaml --preview --csv", 0),
        ("report shop.yaml --preview --json", 0),
        ("list shop.yaml --preview", 0),
        ("status nowhere.yaml --json", 2),
    ],
)
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_closed_streams_of_other_verbs(folder: Path, words: str, code: int, closed: str) -> None:
    done = shell(f"batchrun {words} {closed}", folder)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (code, "", False)


def test_text_that_the_encoding_of_the_terminal_lacks(shop: Shop) -> None:
    shop.limits = "{budget: 1}"
    shop.add("中")
    verbs = "batchrun plan shop.yaml && batchrun shop.yaml --preview && batchrun list shop.yaml --preview"
    done = shell(f"export PYTHONIOENCODING=latin-1:strict; {verbs}", shop.folder)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert {r"shop/\u4e2d: new, $0.25", "shop: 1 job: 1 done"} <= {*done.stdout.splitlines()}


def test_no_file_ever_gets_the_number_of_a_standard_stream(tmp_path: Path) -> None:
    code = "from batchrun.cli import streams; streams.prepare(); import os; os.write(9, str(os.open('/', 0)).encode())"
    done = shell(f'"{sys.executable}" -c "{code}" 9>number >&- 2>&- <&-', tmp_path)
    assert (done.returncode, int((tmp_path / "number").read_text()) > 2) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "schema",
        "completion bash",
        "plan shop.yaml",
        "plan shop.yaml --json",
        "shop.yaml -n",
        "status shop.yaml --preview",
        "list shop.yaml --preview",
        "list shop.yaml --preview --json",
        "report shop.yaml --preview",
        "report shop.yaml --preview --csv",
        "report shop.yaml --preview --json",
        "report shop.yaml --preview --statement",
        "retry shop.yaml --preview",
        "run --help",
        "emulator --help",
    ],
)
def test_what_was_asked_for_is_missing_on_a_full_disk(folder: Path, words: str) -> None:
    done = shell(f"batchrun {words} >/dev/full", folder)
    assert (done.returncode, done.stderr[-len(FULL) :]) == (1, FULL)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("", 2),
        ("statsu x.yaml --json", 2),
        ("status nowhere.yaml --json", 2),
        ("plan shop.yaml --exit-code", 9),
        ("shop.yaml --preview", 0),  # the clips are there, whoever reads of it
        ("shop.yaml --preview --json", 0),
        ("shop.yaml --json", 12),
    ],
)
def test_an_exit_status_that_tells_of_something_else_stays_on_a_full_disk(folder: Path, words: str, code: int) -> None:
    done = shell(f"batchrun {words} >/dev/full", folder)
    assert (done.returncode, done.stderr.count(FULL), "Traceback" in done.stderr) == (code, 1, False)


@pytest.mark.parametrize(
    ("words", "code"), [("shop.yaml --preview -v", 0), ("schema", 1), ("statsu", 2), ("status nowhere.yaml --json", 2)]
)
def test_both_streams_on_a_full_disk(folder: Path, words: str, code: int) -> None:
    assert shell(f"batchrun {words} >/dev/full 2>&1", folder).returncode == code


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `shop.yaml` has more jobs than a report reads at once, and than a pipe and SQLite's cache hold."""
    shop = Shop(tmp_path_factory.mktemp("shop"), limits="{budget: 1}")
    make_picture(shop.folder / "a.png")
    texts = "".join(f"j{number:04},{number} {'turns ' * 300}\n" for number in range(1500))
    (shop.folder / "rows.csv").write_text(f"sku,text\n{texts}")
    shop.rows.append('  - {from: rows.csv, id: "{sku}", image: a.png, prompt: "{text}"}')
    shop.write()
    done = shell("batchrun shop.yaml --preview --limit 1", shop.folder)
    assert done.returncode == 0, done.stderr
    return shop.folder


@pytest.mark.parametrize(
    ("words", "trouble", "code"),
    [("plan shop.yaml --preview", "Ctrl-C", 130), ("report shop.yaml --preview", "Ctrl-C", 130),
     ("report shop.yaml --preview", "a broken queue", 1)],
)  # fmt: skip
def test_no_second_object_behind_one_that_has_begun(long: Path, words: str, trouble: str, code: int) -> None:
    queue = long / ".batchrun" / "preview.db"
    whole = queue.read_bytes()
    with subprocess.Popen(
        [sys.executable, "-m", "batchrun", *words.split(), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=long,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)  # from now on it writes, and waits for us to read
        if trouble == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            os.truncate(queue, 4096)
        rest, err = process.communicate()
    queue.write_bytes(whole)
    text, said = (first + rest).decode(), err.decode()
    assert (process.returncode, "Traceback" in said) == (code, False), said
    assert (text[0], '"error"' in text) == ("{", False), text[-500:]
    assert ("the queue" in said) is (trouble != "Ctrl-C")
