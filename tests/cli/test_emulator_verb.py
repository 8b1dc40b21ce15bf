"""`batchrun emulator`: what it takes, and what it says of the rest."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from batchrun.cli.main import main
from batchrun.errors import ExitCode


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "99999"), "'99999' is not a port; write a number from 0 to 65535"),
        (("--port", "9" * 5000), "is not a port"),
        (("--port=-5",), "'-5' is not a port"),
        (("--port", "http"), "'http' is not a port"),
        (("--speed=-1",), "'-1' is not a speed; write 0, or from 0.01 to 1000000"),
        (("--speed", "nan"), "'nan' is not a speed"),
        (("--speed", "inf"), "'inf' is not a speed"),
        (("--speed", "1e-300"), "'1e-300' is not a speed"),
        (("--speed", "fast"), "'fast' is not a speed"),
        (("--balance", "nan"), "write US dollars of 0 or more"),
        (("--balance=-5",), "write US dollars of 0 or more"),
        (("--balance", "1e300"), "is more than any budget can be"),
        (("--tier", "tin"), "invalid choice: 'tin'"),
        (("--faults", "list_500=nan"), "the probability must be from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("emulator", *words) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def status_of(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)


def test_a_folder_that_is_a_file_and_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert status_of("emulator", "--port", "0", "--folder", str(tmp_path / "file")) == ExitCode.USAGE
    assert f"--folder {tmp_path / 'file'} cannot be used: File exists; name another" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert status_of("emulator", "--port", str(port)) == ExitCode.USAGE
    assert re.search(
        rf"port {port} cannot be used: .*already in use; choose another with --port", capsys.readouterr().err
    )


def test_only_the_port_is_blamed_on_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no room for files that are forgotten at the end: another port would not help."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert status_of("emulator", "--port", "0") == ExitCode.UNEXPECTED
    said = capsys.readouterr().err
    assert "has no place for its files" in said
    assert (str(tmp_path / "gone") in said, "--port" in said) == (True, False)


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    words = (
        "--port",
        "0",
        "--speed",
        "0",
        "--tier",
        "bronze",
        "--balance",
        "12.50",
        "--folder",
        str(tmp_path / "kept"),
    )
    with subprocess.Popen(
        [sys.executable, "-m", "batchrun", "emulator", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip().removeprefix("WAVESPEED_BASE_URL=")
        with urllib.request.urlopen(f"{base_url}/api/v3/balance") as answer:  # noqa: S310  # our own server
            assert b'"balance": 12.5}' in answer.read()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
