"""Why a run buys nothing more although there is work left: the account, the key, the provider, the price."""

from dataclasses import dataclass
from enum import StrEnum

from batchrun.errors import ExitCode
from batchrun.provider.outcome import NotAllowedError, RefusalKind


class HaltKind(StrEnum):
    """A word for scripts."""

    KEY_REFUSED = "key_refused"
    ACCOUNT = "account"
    NO_CREDIT = "no_credit"
    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    PRICE_CHANGED = "price_changed"
    TOO_MANY_UNKNOWN = "too_many_unknown"
    OTHER_ACCOUNT = "other_account"
    DISK_FULL = "disk_full"
    DEADLINE = "deadline"
    CANARY = "canary"
    CANNOT_SAVE = "cannot_save"
    CANNOT_CHECK = "cannot_check"


HALT_CODE: dict[HaltKind, ExitCode] = {
    HaltKind.KEY_REFUSED: ExitCode.KEY,
    HaltKind.ACCOUNT: ExitCode.ACCOUNT,
    HaltKind.NO_CREDIT: ExitCode.ACCOUNT,
    HaltKind.UNAVAILABLE: ExitCode.UNAVAILABLE,
    HaltKind.THROTTLED: ExitCode.UNAVAILABLE,
    HaltKind.PRICE_CHANGED: ExitCode.NEEDS_PERSON,
    HaltKind.TOO_MANY_UNKNOWN: ExitCode.NEEDS_PERSON,
    HaltKind.OTHER_ACCOUNT: ExitCode.KEY,
    HaltKind.DISK_FULL: ExitCode.NEEDS_PERSON,
    HaltKind.DEADLINE: ExitCode.DEADLINE,
    HaltKind.CANARY: ExitCode.NEEDS_PERSON,
    HaltKind.CANNOT_SAVE: ExitCode.NEEDS_PERSON,
    HaltKind.CANNOT_CHECK: ExitCode.NEEDS_PERSON,
}
_NEXT_STEP: dict[HaltKind, str] = {
    HaltKind.KEY_REFUSED: "check WAVESPEED_API_KEY, then {again}",
    HaltKind.ACCOUNT: "look at the account's rights and state at the provider, then {again}",
    HaltKind.NO_CREDIT: "top the account up, then {again}",
    HaltKind.UNAVAILABLE: "{again}",
    HaltKind.THROTTLED: "look at limits.tier and at who else uses the account, then {again}",
    HaltKind.PRICE_CHANGED: "agree to the price with limits.max_price, then {again}",
    HaltKind.TOO_MANY_UNKNOWN: "batchrun status {command}, then decide each with batchrun resolve {command} ID",
    HaltKind.OTHER_ACCOUNT: "set WAVESPEED_API_KEY to a key of the account that bought the clips, then {again}",
    HaltKind.DISK_FULL: "free disk space, then {again}",
    HaltKind.DEADLINE: "{again} goes on with the rest",
    HaltKind.CANARY: "look at batchrun status {command}, then {again} without --canary",
    HaltKind.CANNOT_SAVE: "make the folder writable, or room in it, then {again}",
    HaltKind.CANNOT_CHECK: "install batchrun anew, or give it more memory (ulimit -v, MemoryMax), then {again}",
}
# Nothing can be asked any more: what is paid for is collected by a later run.
ABANDONS = frozenset({HaltKind.UNAVAILABLE, HaltKind.KEY_REFUSED, HaltKind.OTHER_ACCOUNT})
_BY_REFUSAL = {
    RefusalKind.KEY: HaltKind.KEY_REFUSED,
    RefusalKind.ACCOUNT: HaltKind.ACCOUNT,
    RefusalKind.CREDIT: HaltKind.NO_CREDIT,
}
_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Halt:
    """One reason, in words."""

    kind: HaltKind
    message: str

    @property
    def code(self) -> ExitCode:
        """What the process says."""
        return HALT_CODE[self.kind]

    def next_step(self, command: str, again: str) -> str:
        """What a person does next.

        Args:
            command: what names the queue on a command line.
            again: the whole command that runs once more.
        """
        return _NEXT_STEP[self.kind].format(command=command, again=again)


def halt_of_refusal(kind: RefusalKind, message: str) -> Halt:
    """A refusal that concerns every job."""
    return Halt(_BY_REFUSAL[kind], message)


def halt_of_error(error: NotAllowedError) -> Halt:
    """The key may not ask: refused as a key, or without the right."""
    return Halt(HaltKind.KEY_REFUSED if error.status == _UNAUTHORIZED else HaltKind.ACCOUNT, str(error))
