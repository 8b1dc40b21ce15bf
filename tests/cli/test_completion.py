"""The scripts really complete, in real shells at a real terminal: verbs, options, choices, files, and a manifest without verb."""

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from batchrun.cli.completion_verb import SHELLS, script
from batchrun.errors import ExitCode
from tests.cli.test_main import run
from tests.conftest import Shop

START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["zsh", "-f", "-i"], "fpath=({folder}/fun $fpath); autoload -U compinit && compinit -u -d {folder}/.dump"),
    "fish": (["fish", "--no-config", "-i"], "source {script}"),
}
TYPED = (
    ("batchrun statu\t", "status"),
    ("batchrun plan --finish\t", "--finish-by"),
    ("batchrun plan sho\t", "shop.yaml"),
    ("batchrun sho\t", "shop.yaml"),
    ("batchrun ./shop.yaml --max-sp\t", "--max-spend"),
    ("batchrun list shop.yaml --state rej\t", "rejected"),
    ("batchrun completion fi\t", "fish"),
)


class Terminal:
    """A shell that believes that a person types."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self._own, other = pty.openpty()
        env = {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "> ", "HOME": str(folder)}
        self._shell = subprocess.Popen(
            words, stdin=other, stdout=other, stderr=other, cwd=folder, env=env, close_fds=True
        )
        os.close(other)

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def read_until(self, text: str) -> str:
        """What is shown until then, or until nothing has come for ten seconds."""
        shown = ""
        while text not in shown and select.select([self._own], [], [], 10)[0]:
            shown += os.read(self._own, 4096).decode(errors="replace")
        return shown

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._own)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_person_presses_tab(shop: Shop, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    shop.add("a")
    written = shop.folder / "fun" / "_batchrun"
    written.parent.mkdir()
    written.write_text(script(shell))
    words, load = START[shell]
    terminal = Terminal(words, shop.folder)
    try:
        terminal.type(load.format(script=written, folder=shop.folder) + "; echo rea''dy\n")
        assert "ready" in terminal.read_until("ready\r\n")
        for typed, completed in TYPED:
            terminal.type(typed)
            shown = terminal.read_until(completed)
            assert completed in shown, (typed, shown)
            terminal.type("\x15")  # the line is taken away
    finally:
        terminal.close()


def test_fish_completes(shop: Shop) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed here")
    shop.add("a")
    (shop.folder / ".script").write_text(script("fish"))
    for typed, completed in TYPED:
        asked = f'source .script; complete -C "{typed.rstrip()}"'
        done = subprocess.run(
            ["fish", "--no-config", "-c", asked], capture_output=True, text=True, check=True, cwd=shop.folder
        )
        assert completed in [line.split("\t")[0] for line in done.stdout.splitlines()], (typed, done)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_and_is_about_every_verb(shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, script(shell), "")
    assert "resolve" in done.stdout


def test_another_shell_is_refused() -> None:
    assert run("completion", "csh").returncode == ExitCode.USAGE
