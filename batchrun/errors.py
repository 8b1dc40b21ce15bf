"""Exceptions by what the caller does next, and the exit codes that a nightly script acts on.

    BatchrunError                 something a person must read; has an exit code and a next step
    ├── UsageError                exit 2: the command or the manifest is wrong, nothing was spent
    │   └── ManifestError         exit 2: every problem of a manifest at once
    ├── QueueError                exit 2: the queue file cannot be used as asked (wrong kind, origin, newer version)
    ├── StorageError              exit 1: the queue could not be read or written (disk full, locked)
    ├── KeyRefusedError           exit 12: the key is missing or refused
    ├── AccountError              exit 7: credit or suspension
    └── ProviderUnavailableError  exit 5: run again later
    LostLeaseError                for no person: another process has taken the job over, and its worker steps back

How one job or one request ends is a value (`provider.outcome`, `run.worker`), not an exception: what escapes as another
exception is a bug and ends the run with exit 1.
"""

from dataclasses import asdict, dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says when it ends (design, section 2)."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    SOME_FAILED = 3
    NEEDS_PERSON = 4
    UNAVAILABLE = 5
    ACCOUNT = 7
    CAP_REACHED = 8
    WOULD_BUY = 9
    DEADLINE = 10
    KEY = 12
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_MEANING: dict[ExitCode, str] = {
    ExitCode.DONE: "every job is done and checked, also when nothing was to do",
    ExitCode.UNEXPECTED: "unexpected error",
    ExitCode.USAGE: "usage or invalid manifest, nothing spent",
    ExitCode.SOME_FAILED: "finished, some jobs failed",
    ExitCode.NEEDS_PERSON: "some jobs need a person",
    ExitCode.UNAVAILABLE: "provider or network unavailable, run again later",
    ExitCode.ACCOUNT: "account problem (credit, suspension)",
    ExitCode.CAP_REACHED: "spend cap reached, work left",
    ExitCode.WOULD_BUY: "`plan --exit-code`: something would be bought",
    ExitCode.DEADLINE: "deadline reached, work left",
    ExitCode.KEY: "key missing or refused",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C, gracefully",
    ExitCode.TERMINATED: "stopped by SIGTERM or a closed terminal, gracefully",
}

# Where several apply, the number that a nightly script must act on first wins (design, section 2).
URGENCY = (
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.KEY,
    ExitCode.ACCOUNT,
    ExitCode.UNAVAILABLE,
    ExitCode.NEEDS_PERSON,
    ExitCode.CAP_REACHED,
    ExitCode.DEADLINE,
    ExitCode.SOME_FAILED,
)


def most_urgent(codes: set[ExitCode]) -> ExitCode:
    """The one exit code of a run to which all `codes` apply."""
    return next((code for code in URGENCY if code in codes), ExitCode.DONE)


class BatchrunError(Exception):
    """Something a person must read. The text names the thing, the value and the next step."""

    exit_code = ExitCode.UNEXPECTED


class UsageError(BatchrunError):
    """The command cannot be carried out as it was typed; nothing was spent."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a manifest: where, in which value, and what is accepted.

    `line` and `column` count from 1, 0 is none; `path` is the way inside the document, such as `jobs[3].prompt`. `job`
    is the id of the row that is meant, in a source.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    job: str = ""

    def __str__(self) -> str:
        """One line as compilers write it, so that editors can jump to it."""
        place = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        job = f" ({self.job})" if self.job else ""
        where = f"{self.path}: " if self.path else ""
        return f"{place}{job}: {where}{self.message}"

    def as_json(self) -> dict[str, str | int]:
        """For `--json`."""
        return asdict(self)


class ManifestError(UsageError):
    """A manifest with problems, all of them."""

    def __init__(self, problems: list[Problem], unlisted_count: int = 0) -> None:
        self.problems = sorted(problems)
        self.unlisted_count = unlisted_count
        super().__init__("\n".join([*map(str, self.problems), *self._rest()]))

    def _rest(self) -> list[str]:
        return [f"… and {self.unlisted_count} more problems"] if self.unlisted_count else []


class QueueError(BatchrunError):
    """The queue file cannot be used as asked: another kind, another origin, a newer version, a folder that is gone."""

    exit_code = ExitCode.USAGE


class StorageError(BatchrunError):
    """The queue could not be read or written: disk full, file locked, file damaged."""


class LostLeaseError(Exception):
    """Another process has taken the job over: stop working on it, change nothing."""


class KeyRefusedError(BatchrunError):
    """The key is missing, or the provider refuses it."""

    exit_code = ExitCode.KEY


class AccountError(BatchrunError):
    """The account cannot pay or is suspended."""

    exit_code = ExitCode.ACCOUNT


class ProviderUnavailableError(BatchrunError):
    """The provider or the network does not answer; nothing is wrong with the jobs."""

    exit_code = ExitCode.UNAVAILABLE
