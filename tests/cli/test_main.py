"""The command line as a person and as a script meet it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from batchrun import __version__
from batchrun.cli.main import VERBS, main
from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.money import decimal_usd
from tests.conftest import KEY, Shop, emulated
from tests.run.test_kill import environment, run_process


def run(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "batchrun", *words],
        capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | (env or {}), timeout=50,
    )  # fmt: skip


def test_version_and_help() -> None:
    assert run("--version").stdout == f"batchrun {__version__}\n"
    text = run("--help").stdout
    assert all(f"  {int(code)} " in text for code in ExitCode)
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = run(verb, "--help")
    assert (done.returncode, done.stdout.startswith("usage: batchrun")) == (0, True)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from batchrun.cli.main import main; main([]); print(sorted({'av', 'aiohttp', 'numpy', 'yaml', 'PIL', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_word_gets_the_nearest_verb() -> None:
    done = run("statsu", "x.yaml")
    assert done.returncode == 2
    assert "did you mean 'status'?" in done.stderr


@pytest.mark.parametrize("words", [["rows.csv"], ["plan", "rows.csv"], ["."], ["run", "."], ["list", "rows.TSV"]])
def test_a_table_or_a_folder_in_the_place_of_a_manifest_is_pointed_to_init(words: list[str], tmp_path: Path) -> None:
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, f"batchrun init {words[-1]} writes one for it" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("verb", "said"),
    [("plan", "1:1: cannot be read: File name too long"), ("init", " cannot be read: File name too long"),
     ("status --db q.db", "there is no queue"), (f"status --db {'q' * 300} -- ", "cannot be looked at: File name too")],
)  # fmt: skip
def test_a_name_that_no_file_can_have(verb: str, said: str, tmp_path: Path) -> None:
    """Nobody can look whether it is a folder; so it is in a folder that only others may enter."""
    done = run(*verb.split(), f"{'n' * 300}.yaml", cwd=tmp_path)
    assert (done.returncode != 0, "Traceback" in done.stderr, said in done.stderr) == (True, False, True), done.stderr


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape", "latin-1:strict"])
def test_json_also_of_names_that_are_not_utf_8(encoding: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"n\xff.yaml")
    (tmp_path / name).write_text("version: 1\nshop: 中\n", "utf-8")
    done = run("plan", name, "--json", cwd=tmp_path, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"})
    assert {one["file"] for one in json.loads(done.stdout)["problems"]} == {name}


def test_without_a_key_nothing_runs_and_the_preview_is_named(shop: Shop) -> None:
    shop.add("a")
    done = run(str(shop.manifest))
    assert done.returncode == 12
    assert "WAVESPEED_API_KEY" in done.stderr
    assert "--preview" in done.stderr
    assert not shop.queue_path.exists()


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "käse"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(shop: Shop, key: str) -> None:
    done = run(str(shop.add("a").manifest), env={"WAVESPEED_API_KEY": key})
    assert done.returncode == 12
    assert key not in done.stderr


def test_names_may_stand_behind_options(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.limits = "{budget: 1}"
    shop.add("a")
    other = shop.folder / "other.yaml"
    other.write_text(shop.manifest.read_text())
    assert main(["plan", str(shop.manifest), "--json", str(other)]) == 0
    assert {job["batch"] for job in json.loads(capsys.readouterr().out)["jobs"]} == {"shop", "other"}
    for words in (["retry", "--kind", "refused"], ["redo", "--json"], ["resolve", "--void"]):
        assert main([words[0], str(shop.manifest), *words[1:], "a"]) == 2
        assert "there is no queue" in capsys.readouterr().err
    for words in (["plan", "x.yaml", "--json", "--colour", "red"], ["schema", "x"]):
        assert main(words) == 2
        assert "unrecognized arguments" in capsys.readouterr().err


def test_what_is_wrong_with_several_manifests_is_said_at_once(shop: Shop) -> None:
    shop.add("a", prompt="", more=", colour: red")
    other = shop.folder / "other.yaml"
    other.write_text("version: 1\njobs: [{id: b, image: nowhere.png, prompt: x}]\n")
    for verb in ("plan", "run"):
        done = run(verb, str(shop.manifest), str(other), env={"WAVESPEED_API_KEY": KEY})
        assert done.returncode == 2
        assert all(word in done.stderr for word in ("shop.yaml:", "colour", "prompt", "other.yaml:", "nowhere.png"))


def test_every_manifest_that_nothing_bounds_is_named(shop: Shop) -> None:
    shop.limits = "{concurrency: 2, poll: 0.02, settle: 1}"
    shop.add("a")
    other = shop.folder / "other.yaml"
    other.write_text(shop.manifest.read_text())
    done = run(
        str(shop.manifest), str(other), env={"WAVESPEED_API_KEY": KEY, "WAVESPEED_BASE_URL": "http://127.0.0.1:9"}
    )
    assert (done.returncode, done.stderr.count("nothing bounds what this batch may spend")) == (2, 2)


async def test_a_paid_run_without_any_cap_is_refused(shop: Shop) -> None:
    shop.limits = "{concurrency: 2, poll: 0.02, settle: 1}"
    shop.add("a")
    async with emulated() as emulator:
        code, result, err = await run_process(shop, emulator)
        assert (code, result["exit_code"]) == (2, 2)
        assert "nothing bounds what this batch may spend" in err
        assert emulator.world.submits == []
        code, result, _ = await run_process(shop, emulator, "--max-spend", "1")
        assert (code, result["spent_usd"]) == (0, "0.25")
        shop.replace("{concurrency", "{budget: none, concurrency")
        assert (await run_process(shop, emulator))[0] == 0


async def test_json_is_one_object_with_the_promised_fields(shop: Shop) -> None:
    shop.add_many(3).add("long", more=", duration: 10")
    async with emulated() as emulator:
        code, result, _ = await run_process(shop, emulator)
        assert code == result["exit_code"] == 0
        assert result["schema_version"] == 1
        assert result["spent_usd"] == decimal_usd(emulator.world.books.billed_usd_micros) == "1.25"
        assert (result["held_usd"], result["exit_reasons"], result["not_fine"]) == ("0.00", [], [])
        assert result["caps"] == [
            {
                "name": "shop: budget",
                "limit_usd": "100.00",
                "settled_usd": "1.25",
                "held_usd": "0.00",
                "left_usd": "98.75",
            }
        ]
        (batch,) = result["batches"]  # type: ignore[misc]  # read from JSON
        states = [value for name, value in batch.items() if name not in ("name", "total", "removed_from_manifest")]
        assert sum(states) == batch["total"] == 4
        assert (batch["done"], batch["up_to_date"]) == (4, 0)
        _, again, _ = await run_process(shop, emulator)
        assert (again["done"], again["up_to_date"], again["total"]) == (0, 4, 4)


async def test_exit_reasons_name_all_that_applies(shop: Shop) -> None:
    shop.rows.append("  - {id: bad, image: 'https://nowhere.invalid/a.png', prompt: x}")
    shop.write()
    async with emulated() as emulator:
        assert (await run_process(shop, emulator))[0] == 3
        shop.limits = shop.limits.replace("budget: 100", "budget: 1")
        shop.add_many(5)
        code, result, _ = await run_process(shop, emulator)
        reasons = {reason["kind"]: reason for reason in result["exit_reasons"]}  # type: ignore[attr-defined]  # read from JSON
        assert code == 8
        assert set(reasons) == {"cap_reached", "failed"}
        assert reasons["failed"]["count"] == 1
        assert [(job["id"], job["kind"]) for job in result["not_fine"]] == [("bad", "picture_unreachable")]  # type: ignore[attr-defined]  # read from JSON


@pytest.mark.parametrize("more", [[], ["--json"]])
async def test_a_bad_manifest(shop: Shop, more: list[str]) -> None:
    shop.add("a").replace("version: 1", "verzion: 1")
    async with emulated() as emulator:
        done = subprocess.run(
            [sys.executable, "-m", "batchrun", str(shop.manifest), *more],
            capture_output=True, text=True, check=False, env=environment(emulator),
        )  # fmt: skip
        assert done.returncode == 2
        assert f"{shop.manifest}:1:1: verzion: unknown key 'verzion'; did you mean 'version'?" in done.stderr
        assert "Traceback" not in done.stderr
        assert emulator.world.submits == []
        if more:
            found = json.loads(done.stdout)
            assert found["exit_code"] == 2
            assert found["problems"][0]["line"] == 1


async def test_status_and_list_only_look(shop: Shop) -> None:
    shop.add_many(2)
    missing = run("status", str(shop.manifest))
    assert (missing.returncode, "there is no queue" in missing.stderr) == (2, True)
    assert not shop.queue_path.exists()
    async with emulated() as emulator:
        await run_process(shop, emulator)
    status = run("status", str(shop.manifest))
    assert status.stdout.splitlines() == [
        "shop: 2 jobs: 2 done",
        "  $0.50 spent",
        "2 previews do not show all that was asked for, because nothing is generated; the model may:",
        "  turntable: the thing itself does not turn, the camera rocks around it: shop/job-00, shop/job-01",
    ]
    found = json.loads(run("status", str(shop.manifest), "--json").stdout)
    assert (found["done"], found["total"], found["spent_usd"]) == (2, 2, "0.50")
    rows = json.loads(run("list", str(shop.manifest), "--json").stdout)["jobs"]
    assert [(row["id"], row["state"], row["spent_usd"]) for row in rows] == [
        ("job-00", "done", "0.25"),
        ("job-01", "done", "0.25"),
    ]
    assert run("list", str(shop.manifest), "--state", "failed").stdout == "no jobs\n"


def test_a_preview_is_free_and_apart(shop: Shop) -> None:
    shop.limits = "{}"
    shop.add_many(2)
    done = run(str(shop.manifest), "--preview", "--json", env={"WAVESPEED_API_KEY": KEY})
    found = json.loads(done.stdout)
    assert (done.returncode, found["done"], found["spent_usd"], found["would_cost_usd"]) == (0, 2, "0.00", "0.50")
    assert not shop.queue_path.exists()
    previews = sorted(path.name for path in (shop.folder / "videos-preview" / "shop").glob("*.mp4"))
    assert previews == ["job-00.preview.mp4", "job-01.preview.mp4"]
    again = json.loads(run(str(shop.manifest), "--preview", "--json").stdout)
    assert (again["up_to_date"], again["submitted"]) == (2, 0)
    shutil.rmtree(shop.folder / "videos-preview")  # nothing was paid for it: it is made again
    shutil.rmtree(shop.folder / ".batchrun" / "preview")
    again = json.loads(run(str(shop.manifest), "--preview", "--json").stdout)
    assert (again["exit_code"], again["done"], again["submitted"]) == (0, 2, 2)


def test_it_works_as_cron_starts_it(shop: Shop) -> None:
    """No HOME, no terminal, nothing in the environment, and a working directory that has nothing to do with it."""
    shop.add_many(2)
    done = subprocess.run(
        [sys.executable, "-m", "batchrun", str(shop.manifest), "--preview", "--log-file", str(shop.folder / "logs" / "run.jsonl")],
        cwd="/", env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert (done.returncode, "2 done" in done.stdout) == (0, True)
    events = [json.loads(line)["event"] for line in (shop.folder / "logs" / "run.jsonl").read_text().splitlines()]
    assert events.count("done") == 2


@pytest.mark.parametrize(
    "words",
    ["{0} --preview --log-file run.jsonl", "{0} --preview --db run.db", "report {0} --preview -o run.html", "init run"],
)
def test_a_working_directory_that_is_gone(shop: Shop, words: str) -> None:
    """As after a release that was swapped in: whole paths work, and what is relative is named."""
    shop.limits = "{}"
    shop.add("a")
    gone = shop.folder / "gone"
    for line, code in ((f"{shop.manifest} --preview", 0), (words.format(shop.manifest), 2)):
        gone.mkdir()
        done = subprocess.run(
            ["/bin/sh", "-c", f"rmdir {gone}; {sys.executable} -m batchrun {line}"],
            cwd=gone, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert f"{words.rsplit(maxsplit=1)[-1]} cannot be found: the working directory is gone" in done.stderr


def test_a_paid_queue_is_not_for_previews(shop: Shop) -> None:
    shop.limits = "{}"
    shop.add("a")
    assert run(str(shop.manifest), "--preview").returncode == 0
    preview_db = shop.folder / ".batchrun" / "preview.db"
    done = run(
        str(shop.manifest),
        "--max-spend",
        "1",
        "--db",
        str(preview_db),
        env={"WAVESPEED_API_KEY": KEY, "WAVESPEED_BASE_URL": "http://127.0.0.1:9"},
    )
    assert done.returncode == 2
    assert "holds previews, not paid clips" in done.stderr


async def test_a_moved_address_is_refused(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        assert (await run_process(shop, emulator))[0] == 0
    async with emulated() as other:
        code, result, err = await run_process(shop, other)
        assert (code, result["exit_code"]) == (2, 2)
        assert "Set WAVESPEED_BASE_URL back" in err


@pytest.mark.parametrize(
    ("numbers", "code"),
    [((signal.SIGINT,), 130), ((signal.SIGTERM,), 143), ((signal.SIGHUP, signal.SIGHUP), 143)],
    ids=["ctrl-c", "term", "kernel and shell tell that the terminal is gone"],
)
async def test_signals_end_gracefully_with_an_honest_status(shop: Shop, numbers: Sequence[int], code: int) -> None:
    import asyncio  # noqa: PLC0415  # only this test needs it

    shop.add_many(6)
    async with emulated() as emulator:
        emulator.world.account = emulator.world.account.__class__(concurrency=1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "batchrun", str(shop.manifest), "-v",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(emulator),
        )  # fmt: skip
        assert process.stderr is not None
        for words, signals in ((b"accepted", numbers[:1]), (b"stopping: nothing new is bought", numbers[1:])):
            async for line in process.stderr:
                if words in line:
                    break
            for number in signals:
                process.send_signal(number)
        out, err = await process.communicate()
        assert process.returncode == code, out
        assert b"Traceback" not in err
        bought = len(emulator.world.submits)
        assert len(list(shop.folder.glob("videos/shop/*.mp4"))) == bought < 6


def test_works_without_terminal_home_or_cwd(shop: Shop, tmp_path: Path) -> None:
    shop.limits = "{}"
    shop.add("a")
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f"cd {gone} && rmdir {gone} && exec {sys.executable} -m batchrun {shop.manifest} --preview -q"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_main_without_words_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    alone = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert alone == capsys.readouterr().out
    assert all(f"\n    {verb}" in alone for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "prog"),
    [
        (["plan", "t.yaml", "--bogus"], "batchrun plan"),
        (["t.yaml", "--bogus"], "batchrun run"),
        (["plan", "--bogus"], "batchrun plan"),
        (["schema", "too", "many"], "batchrun schema"),
    ],
)
def test_a_wrong_option_is_pointed_to_the_help_of_its_verb(
    words: list[str], prog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{prog}: ")
    assert said.endswith(f"; see {prog} --help\n")


async def test_a_clip_that_looks_wrong_is_shown_everywhere_and_fails_nothing(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated({Fault.CLIP_BLACK: 1.0}) as emulator:
        code, result, err = await run_process(shop, emulator)
    assert (code, result["clips_warned"]) == (0, 2)
    assert result["clip_warnings"][0] == {"batch": "shop", "id": "job-00", "warnings": ["black"]}  # type: ignore[index]  # read from JSON
    assert "shop/job-00 warned: black (at least half of it is black)" in err
    status = run("status", str(shop.manifest))
    assert status.stdout.splitlines()[-1] == "  shop/job-01: done, but look at it: black (at least half of it is black)"
    assert json.loads(run("status", str(shop.manifest), "--json").stdout)["clips_warned"] == 2
    listed = run("list", str(shop.manifest)).stdout.splitlines()
    assert [line.split("  ")[-1] for line in listed[1:]] == ["[black]", "[black]"]
    rows = json.loads(run("list", str(shop.manifest), "--json").stdout)["jobs"]
    assert [row["warnings"] for row in rows] == [["black"], ["black"]]
    assert (rows[0]["clip"]["frames"], "warnings" in rows[0]["clip"]) == (121, False)


def test_a_reader_that_leaves_changes_neither_the_work_nor_its_exit_status(shop: Shop) -> None:
    """`batchrun list … | head`: no traceback, and a script that looks at the status is not lied to."""
    shop.limits = "{budget: 1}"
    manifest = shop.add("a").manifest
    words = [sys.executable, "-m", "batchrun", "plan", str(manifest), "--exit-code"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(30)) == ("", int(ExitCode.WOULD_BUY))
