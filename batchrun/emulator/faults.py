"""The fault menu: what can go wrong at a provider, each under a name, drawn by chance from a seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """One thing that goes wrong. The first word says where."""

    OUTAGE = "outage"
    """Whatever the API is asked: a gateway's HTML page with 503. Nothing is created."""
    SUBMIT_DROP_BEFORE = "submit_drop_before"
    """The connection closes before the request is looked at: nothing is created."""
    SUBMIT_DROP_AFTER = "submit_drop_after"
    """The prediction is created and charged, then the connection closes."""
    SUBMIT_DROP_LATE = "submit_drop_late"
    """The connection closes; the prediction is created and charged seconds to minutes later (`Account.late_ms`)."""
    SUBMIT_500 = "submit_500"
    """500 with the provider's envelope; nothing is created."""
    SUBMIT_502_AFTER = "submit_502_after"
    """Created and charged, then a gateway's HTML page with 502."""
    SUBMIT_504_AFTER = "submit_504_after"
    """Created and charged, then a gateway's HTML page with 504."""
    SUBMIT_STALL = "submit_stall"
    """Created and charged, then no answer at all."""
    SUBMIT_NO_ID = "submit_no_id"
    """Created and charged, then 200 without an id."""
    SUBMIT_TRUNCATED = "submit_truncated"
    """Created and charged, then 200 with half a JSON text."""
    SUBMIT_429 = "submit_429"
    """Throttled with `Retry-After: 1`; nothing is created."""
    SUBMIT_HTML = "submit_html"
    """A gateway's HTML page with 200; nothing is created."""
    SUBMIT_NO_CREDIT = "submit_no_credit"
    """400 with code 1407."""
    STRANGER = "stranger"
    """At a submit, somebody else of the account creates a prediction at the same moment, whatever becomes of ours."""
    LIST_500 = "list_500"
    LIST_EMPTY = "list_empty"
    """The list shows nothing, with 200."""
    BILLING_500 = "billing_500"
    BILLING_STALL = "billing_stall"
    """No answer at all."""
    POLL_500 = "poll_500"
    POLL_429 = "poll_429"
    """Throttled with `Retry-After: 1`."""
    POLL_DROP = "poll_drop"
    POLL_STALL = "poll_stall"
    """No answer at all."""
    POLL_HTML = "poll_html"
    """A gateway's HTML page with 200."""
    POLL_TRUNCATED = "poll_truncated"
    POLL_404 = "poll_404"
    POLL_WORD = "poll_word"
    """A task that runs has a status that no page names."""
    TASK_FAILED = "task_failed"
    """The task fails with code 1405 and is refunded later."""
    TASK_UNAVAILABLE = "task_unavailable"
    """The task fails with code 5003."""
    TASK_MODERATION = "task_moderation"
    """The task fails with code 1200."""
    TASK_STUCK = "task_stuck"
    """The task never leaves `processing`."""
    REFUND_NEVER = "refund_never"
    """Thrown when a task fails: its charge is never given back."""
    TICKET_500 = "ticket_500"
    TICKET_429 = "ticket_429"
    """The quota of uploads: 429 with `Retry-After: 1`."""
    PUT_500 = "put_500"
    PUT_DROP = "put_drop"
    OUTPUT_404 = "output_404"
    OUTPUT_503 = "output_503"
    """The storage is busy, with `Retry-After: 1`."""
    OUTPUT_STALL = "output_stall"
    """No answer at all."""
    OUTPUT_DROP = "output_drop"
    """The download is cut in the middle."""
    OUTPUT_HTML = "output_html"
    """An HTML page with 200 instead of the clip."""
    OUTPUT_SHORT = "output_short"
    """Half of the clip, with a Content-Length that fits it."""
    CLIP_BLACK = "clip_black"
    """The clip is whole, and black from start to end."""
    CLIP_FLAT = "clip_flat"
    """The clip is whole, and of one colour."""
    CLIP_FROZEN = "clip_frozen"
    """The clip is whole and shows the picture, and nothing moves."""
    CLIP_OTHER = "clip_other"
    """The clip is whole, and of another picture."""


STALLS = (Fault.SUBMIT_STALL, Fault.POLL_STALL, Fault.OUTPUT_STALL, Fault.BILLING_STALL)
TRANSPORT = tuple(
    fault
    for fault in Fault
    if fault.value.split("_")[0] in ("submit", "poll", "ticket", "put", "output", "list", "billing")
    and fault
    not in (*STALLS, Fault.SUBMIT_NO_CREDIT, Fault.SUBMIT_NO_ID, Fault.POLL_404, Fault.POLL_WORD, Fault.LIST_EMPTY)
)
"""What a bad network and an overloaded gateway do, without what takes minutes each time."""
CLIP_FAULTS = (Fault.CLIP_BLACK, Fault.CLIP_FLAT, Fault.CLIP_FROZEN, Fault.CLIP_OTHER)
"""What a model may get wrong: nothing is broken, and only who looks at the clip finds it."""

PRESETS: dict[str, dict[Fault, float]] = {
    "typical": {
        Fault.POLL_500: 0.01,
        Fault.POLL_DROP: 0.01,
        Fault.TASK_FAILED: 0.01,
        Fault.OUTPUT_DROP: 0.01,
        Fault.TICKET_500: 0.005,
    },
    "transport": dict.fromkeys(TRANSPORT, 0.08),
    "storm": {
        fault: 0.08
        for fault in Fault
        if fault
        not in (
            *STALLS,
            Fault.OUTAGE,
            Fault.SUBMIT_NO_CREDIT,
            Fault.SUBMIT_NO_ID,
            Fault.TASK_STUCK,
            Fault.TASK_MODERATION,
            Fault.POLL_404,
            *CLIP_FAULTS,
        )
    },
}


def parse_faults(text: str) -> dict[Fault, float]:
    """`typical`, `transport`, `storm`, or `NAME=P,NAME=P` with probabilities from 0 to 1.

    Raises:
        ValueError: an unknown name or a number out of range.
    """
    if text in PRESETS:
        return dict(PRESETS[text])
    found: dict[Fault, float] = {}
    for item in filter(None, text.split(",")):
        name, _, chance = item.partition("=")
        try:
            fault, probability = Fault(name.strip()), float(chance or "1")
        except ValueError:
            known = ", ".join([*PRESETS, *Fault])
            raise ValueError(f"{item!r} is not a fault; write NAME=P with one of: {known}") from None
        if not 0 <= probability <= 1:
            raise ValueError(f"{item!r}: the probability must be from 0 to 1")
        found[fault] = probability
    return found


@dataclass(slots=True)
class Dice:
    """Throws for each fault; the same seed throws the same."""

    chances: Mapping[Fault, float] = field(default_factory=dict)
    seed: int = 0
    _random: random.Random = field(init=False)
    thrown: dict[Fault, int] = field(default_factory=dict)
    """How often each fault happened."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  # a rehearsal, not a secret

    def throw(self, *faults: Fault) -> Fault | None:
        """The first of the faults that happens now, or None."""
        if not self.chances:
            return None
        for fault in faults:
            chance = self.chances.get(fault, 0.0)
            if chance and self._random.random() < chance:
                self.thrown[fault] = self.thrown.get(fault, 0) + 1
                return fault
        return None
