"""Surprises are asked about: finished clips whose inputs have changed are bought anew only when somebody wants it.

A changed template, a re-exported catalog or a new default can touch every row at once; what is new is not concerned.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from batchrun.clock import Clock
from batchrun.manifest.jobs import Batch
from batchrun.money import format_usd
from batchrun.plan import CHANGES, Planned, Reason, Selection, select
from batchrun.queue.states import JobState
from batchrun.queue.store import Queue
from batchrun.queue.views import known_clips
from batchrun.video.place import history_path

_SHARE_PERCENT = 20
_MOST_USD_MICROS = 10_000_000
ANSWER_S = 600.0
"""So long a person at the terminal is waited for; what is new is not bought meanwhile."""
_LEAST_USD_MICROS = 1_000_000
"""A handful of clips is no surprise, however small the batch is."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """Finished clips of a batch that would be bought anew."""

    batch: str
    counts: tuple[tuple[Reason, int], ...]
    usd_micros: int
    above_usd_micros: int
    """So much would not have been asked about."""

    @property
    def clips(self) -> int:
        """How many."""
        return sum(count for _, count in self.counts)

    def __str__(self) -> str:
        what = ", ".join(f"{count} {reason.value}" for reason, count in self.counts)
        return f"{self.batch}: {self.clips} finished clips would be bought again for {format_usd(self.usd_micros)} ({what})"


Agree = Callable[[Rerun], bool]
"""Asks a person; may block. False also where there is none."""


def threshold_usd_micros(batch: Batch) -> int:
    """Above this a rerun is asked about: the manifest's own figure, or a fifth of the batch, between $1 and $10."""
    if batch.limits.confirm_rerun_above_usd_micros is not None:
        return batch.limits.confirm_rerun_above_usd_micros
    share = batch.worst_price_usd_micros * _SHARE_PERCENT // 100
    return max(_LEAST_USD_MICROS, min(share, _MOST_USD_MICROS))


def rerun_of(batch: Batch, plan: Sequence[Planned], has_clip: Collection[str]) -> Rerun | None:
    """What must be agreed to; None when it is little.

    Args:
        batch: the manifest.
        plan: what would happen.
        has_clip: fingerprints of which the queue has a clip: those are copied, and cost nothing.
    """
    bought = {
        planned.spec.fingerprint: planned
        for planned in plan
        if is_rerun(planned) and planned.spec.fingerprint not in has_clip
    }
    counts = Counter(planned.reason for planned in bought.values())
    usd_micros = sum(planned.spec.price_usd_micros for planned in bought.values())
    above = threshold_usd_micros(batch)
    return Rerun(batch.name, tuple(counts.items()), usd_micros, above) if usd_micros > above else None


async def agreed(
    queue: Queue,
    clock: Clock,
    batch: Batch,
    plan: list[Planned],
    agree: Agree,
    asked: dict[Rerun, bool],
) -> list[Planned]:
    """The plan, without what would be a surprise that nobody agrees to; each question is asked once a run."""
    has_clip = await standing_clips(queue, [one.spec.fingerprint for one in plan if is_rerun(one)])
    rerun = rerun_of(batch, plan, has_clip)
    if rerun is None:
        return plan
    if rerun not in asked:
        asked[rerun] = await _answer(agree, rerun, clock)
    return plan if asked[rerun] else withheld(plan, has_clip)


async def _answer(agree: Agree, rerun: Rerun, clock: Clock) -> bool:
    """Asked in a thread that nobody waits for: a run must not hang on a person. No answer in time is a no."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def tell(value: bool) -> None:  # noqa: FBT001  # what a person said
        if not answer.done():
            answer.set_result(value)

    def ask() -> None:
        value = agree(rerun)
        with suppress(RuntimeError):  # the run is over
            loop.call_soon_threadsafe(tell, value)

    threading.Thread(target=ask, name="consent", daemon=True).start()
    try:
        async with clock.timeout(ANSWER_S):
            return await answer
    except TimeoutError:
        return False


async def standing_clips(queue: Queue, fingerprints: Sequence[str]) -> set[str]:
    """Which of these requests have a clip whose file stands, under any name: those are copied."""
    known = await queue.read(lambda: known_clips(fingerprints, queue.real_path))
    folder = queue.real_path(".")

    def standing() -> set[str]:
        return {
            fingerprint
            for fingerprint, clips in known.items()
            if any(
                (one.is_placed and one.output.exists()) or history_path(folder, one.batch, one.key, one.sha256).exists()
                for one in clips
            )
        }

    return await asyncio.to_thread(standing)


def is_rerun(planned: Planned) -> bool:
    """Whether a job that has a clip would get another one, and nobody has agreed to that yet."""
    known = planned.known
    if known is None:
        return False
    return (planned.reason in CHANGES and known.state is JobState.DONE) or (
        planned.reason in (Reason.WAITING, Reason.TRY_AGAIN) and known.unagreed
    )


def asked_only(plans: Mapping[str, Sequence[Planned]], selection: Selection) -> dict[str, list[Planned]]:
    """The plans of all batches; changed jobs that the run is not asked for stay as they are."""
    wanted = {name: {one.spec.key for one in plan} for name, plan in select(plans, selection).items()}
    return {
        name: [
            replace(one, reason=Reason.NOT_ASKED) if is_rerun(one) and one.spec.key not in wanted[name] else one
            for one in plan
        ]
        for name, plan in plans.items()
    }


def withheld(plan: Sequence[Planned], has_clip: Collection[str]) -> list[Planned]:
    """The plan without what was not agreed to: those jobs stay as they are."""
    return [
        replace(planned, reason=Reason.NOT_AGREED)
        if is_rerun(planned) and planned.spec.fingerprint not in has_clip
        else planned
        for planned in plan
    ]
