"""Surprises are asked about: finished clips whose inputs have changed are bought anew only when somebody wants it.

A changed template, a re-exported catalog or a new default can touch every row at once; what is new is not concerned.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from batchrun.clock import Clock
from batchrun.manifest.jobs import Batch
from batchrun.money import format_usd
from batchrun.plan import Plan, Planned, Reason, Selection, select
from batchrun.queue.store import Queue
from batchrun.run.past import past_of

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


def rerun_of(batch: Batch, plan: Iterable[Planned], was_bought: Collection[str]) -> Rerun | None:
    """What must be agreed to; None when it is little.

    Args:
        batch: the manifest.
        plan: what would happen.
        was_bought: fingerprints of which the queue has bought a clip: none of them is bought by a run again.
    """
    bought: set[int] = set()
    counts: Counter[Reason] = Counter()
    usd_micros = 0
    for planned in plan:
        fingerprint = planned.spec.fingerprint if planned.is_rerun else ""
        if fingerprint and fingerprint not in was_bought and (short := shortened(fingerprint)) not in bought:
            bought.add(short)
            counts[planned.reason] += 1
            usd_micros += planned.spec.price_usd_micros
    if not usd_micros:
        return None
    above = threshold_usd_micros(batch)
    return Rerun(batch.name, tuple(counts.items()), usd_micros) if usd_micros > above else None


async def agreed(
    queue: Queue,
    clock: Clock,
    batch: Batch,
    plan: Plan,
    agree: Agree,
    asked: dict[Rerun, bool],
) -> Plan:
    """The plan, without what would be a surprise that nobody agrees to; each question is asked once a run."""
    if not plan.reruns:
        return plan
    past = await past_of(queue, (one.spec.fingerprint for one in plan if one.is_rerun), clock.now_ms())
    rerun = await asyncio.to_thread(rerun_of, batch, plan, past.bought)
    if rerun is None:
        return plan
    if rerun not in asked:
        asked[rerun] = await _answer(agree, rerun, clock)
    if asked[rerun]:
        return plan
    return _without(plan, lambda one: one.spec.fingerprint not in past.bought, Reason.NOT_AGREED)


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


def shortened(fingerprint: str) -> int:
    """Enough of it to tell a million requests apart where nothing but a sum depends on it, in a third of the memory."""
    return int(fingerprint[:16], 16)


def asked_only(plans: Mapping[str, Plan], selection: Selection) -> Mapping[str, Plan]:
    """The plans of all batches; changed jobs that the run is not asked for stay as they are."""
    if selection.is_all or not any(plan.reruns for plan in plans.values()):
        return plans
    found: dict[str, Plan] = {}
    for name, chosen in select(plans, selection).items():
        keys = frozenset(one.spec.key for one in chosen)
        found[name] = _without(plans[name], partial(_is_other, keys), Reason.NOT_ASKED)
    return found


def _is_other(keys: Collection[str], planned: Planned) -> bool:
    return planned.spec.key not in keys


def _without(plan: Plan, is_left: Callable[[Planned], bool], reason: Reason) -> Plan:
    """The plan in which these reruns stay as they are, for this reason."""
    return Plan(one._replace(reason=reason) if one.is_rerun and is_left(one) else one for one in plan)
