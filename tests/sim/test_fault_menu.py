"""Every fault of the menu alone, at 100 %: the run ends, with the documented code, and says what it was."""

from dataclasses import dataclass

import pytest

from batchrun.emulator.faults import CLIP_FAULTS, Fault
from batchrun.errors import ExitCode
from batchrun.run.events import Event, Kind
from batchrun.run.problems import problems_of
from batchrun.run.summary import exit_code, exit_reasons
from batchrun.run.terms import Result
from tests.sim.night import Figures, Night, Scenario, memory_folder

JOBS = 3
TOLD = (Kind.NOTE, Kind.WAITING, Kind.TASK_FAILED, Kind.FAILED)


@dataclass(frozen=True)
class Played:
    result: Result
    figures: Figures
    events: list[Event]

    @property
    def code(self) -> ExitCode:
        return exit_code(exit_reasons(self.result, "shop.yaml"), self.result)

    @property
    def said(self) -> str:
        """Everything that the run has told a person."""
        lines = [halt.message for halt in self.result.halts.values()]
        lines += [problem.message for problem in problems_of(self.result.batches)]
        lines += [event.detail for event in self.events if event.kind in TOLD]
        return "\n".join(lines)


def play_with(fault: Fault) -> Played:
    """One run of three jobs with one fault, always."""
    scenario = Scenario(seed=3, jobs=JOBS, faults={fault: 1.0}, nights=1, account={"refund_after_ms": 3_600_000})
    events: list[Event] = []
    with memory_folder() as folder:
        night = Night(scenario, folder)
        night.hear = events.append
        figures = night.play()
    return Played(night.results[-1], figures, events)


DONE, FAILED, PERSON, LATER = ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.NEEDS_PERSON, ExitCode.UNAVAILABLE

MENU: dict[Fault, tuple[ExitCode, str]] = {
    Fault.OUTAGE: (LATER, "no answer for 180 s: upload: HTTP 503"),
    Fault.SUBMIT_DROP_BEFORE: (PERSON, "nobody can tell whether the submit"),
    Fault.SUBMIT_DROP_AFTER: (DONE, ""),
    Fault.SUBMIT_DROP_LATE: (DONE, ""),
    Fault.SUBMIT_500: (PERSON, "nobody can tell whether the submit"),
    Fault.SUBMIT_502_AFTER: (DONE, ""),
    Fault.SUBMIT_504_AFTER: (DONE, ""),
    Fault.SUBMIT_STALL: (DONE, ""),
    Fault.SUBMIT_NO_ID: (DONE, ""),
    Fault.SUBMIT_TRUNCATED: (DONE, ""),
    Fault.SUBMIT_429: (LATER, "the provider has refused every submit for 10 min"),
    Fault.SUBMIT_HTML: (PERSON, "nobody can tell whether the submit"),
    Fault.SUBMIT_NO_CREDIT: (ExitCode.ACCOUNT, "insufficient credits"),
    Fault.STRANGER: (DONE, ""),
    Fault.LIST_500: (DONE, ""),
    Fault.LIST_EMPTY: (DONE, ""),
    Fault.BILLING_500: (DONE, ""),
    Fault.BILLING_STALL: (DONE, ""),
    Fault.POLL_500: (LATER, "poll: HTTP 500"),
    Fault.POLL_429: (LATER, "poll: HTTP 429"),
    Fault.POLL_DROP: (LATER, "poll: ServerDisconnectedError"),
    Fault.POLL_STALL: (LATER, "poll: no answer in time"),
    Fault.POLL_HTML: (LATER, "poll: HTTP 200: not JSON"),
    Fault.POLL_TRUNCATED: (LATER, "poll: HTTP 200: not JSON"),
    Fault.POLL_404: (LATER, "min, last word 'poll: HTTP 404: Prediction not found'; its money stays held"),
    Fault.POLL_WORD: (DONE, "has the status 'warming up', which batchrun does not know"),
    Fault.TASK_FAILED: (FAILED, "1405"),
    Fault.TASK_UNAVAILABLE: (FAILED, "5003"),
    Fault.TASK_MODERATION: (FAILED, "1200"),
    Fault.TASK_STUCK: (LATER, "min, last word 'processing'; its money stays held"),
    Fault.REFUND_NEVER: (DONE, ""),
    Fault.TICKET_500: (LATER, "upload: HTTP 500"),
    Fault.TICKET_429: (LATER, "upload: HTTP 429"),
    Fault.PUT_500: (LATER, "upload: HTTP 500"),
    Fault.PUT_DROP: (LATER, "upload: ServerDisconnectedError"),
    Fault.OUTPUT_404: (LATER, "download: HTTP 404"),
    Fault.OUTPUT_503: (LATER, "download: HTTP 503"),
    Fault.OUTPUT_STALL: (LATER, "download: not finished within 1800 s"),
    Fault.OUTPUT_DROP: (LATER, "download: ServerDisconnectedError"),
    Fault.OUTPUT_HTML: (LATER, "download: the file is not an MP4"),
    Fault.OUTPUT_SHORT: (PERSON, "kept as"),
}


def test_the_menu_is_whole() -> None:
    """What lies in the clip alone is played where clips are rendered: `tests/run/test_clip_checks.py`."""
    assert {*MENU, *CLIP_FAULTS} == set(Fault)
    assert not {*MENU} & {*CLIP_FAULTS}


@pytest.mark.parametrize("fault", list(MENU))
def test_alone_at_a_hundred_percent(fault: Fault) -> None:
    code, words = MENU[fault]
    played = play_with(fault)
    assert played.figures.violations == []
    assert played.code is code
    assert words in played.said
    if code is DONE:
        assert played.figures.done == JOBS
