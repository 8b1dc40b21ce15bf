"""After the trouble: the same command until everything is settled, and how a proof is run and reported by hand."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batchrun.emulator.server import Emulator
from batchrun.emulator.world import World
from tests.proof.books import (
    Bill,
    Standing,
    Violation,
    bill_of,
    check_always,
    check_end,
    open_attempts,
    read_after_kill,
)
from tests.proof.children import started
from tests.proof.stage import Manifest, forget, keep_the_bill, queue_of

_ROUNDS = 8
_WITNESSES = 1000
AMPLE = 1000
"""Dollars: the last runs are about the books, not about caps."""


def look(world: World, path: Path, cap_usd_micros: int, read: Callable[[Path], Standing]) -> tuple[Bill, Standing]:
    """Both books at one moment, and what must hold at any moment. Raises Violation."""
    before = bill_of(world)
    standing = read(path)
    after = bill_of(world)
    check_always(before, standing, after, cap_usd_micros)
    return after, standing


async def refunds_given(world: World) -> None:
    """Come back when every failed task's money is back."""
    while any(url not in bill.refunded for bill in [bill_of(world)] for url in bill.failed):
        await asyncio.sleep(0.05)


async def settle(manifests: Sequence[Manifest], emulator: Emulator) -> Standing:
    """No faults and wide limits: after some runs every job is done or failed, and the books agree to the cent.

    A submit of unknown outcome that never arrived is void only when the list shows a later prediction of ours, so while
    there is one a job is added.
    """
    emulator.world.dice.chances = {}
    wide = {"concurrency": 1000, "per_minute": 10_000, "max_unknown": 1000, "budget": AMPLE}
    for manifest in manifests:
        if manifest.campaign:
            manifest.campaign["budget"] = AMPLE
        manifest.write(**wide)
    queue = queue_of(manifests[0].folder)
    for number in range(_ROUNDS):
        await refunds_given(emulator.world)
        bill, standing = look(emulator.world, queue, AMPLE * 1_000_000, read_after_kill)
        counts = standing.count()
        if number and counts["done"] + counts["failed"] == len(standing.jobs) and not open_attempts(bill, standing):
            break
        if any(one.state in ("unknown", "submitting") for one in standing.attempts.values()):
            manifests[0].add([_WITNESSES + number], "A witness")
        async with started([one.path for one in manifests], emulator.base_url) as child:
            await child.end_well()
    check_end(bill, standing)
    return standing


def figures_of(standing: Standing) -> Counter[str]:
    """What a proof has gone through, for the last line."""
    figures = Counter({f"jobs {state}": count for state, count in standing.count().items()})
    figures.update(f"attempts {attempt.state}" for attempt in standing.attempts.values())
    return figures


def first_violation(error: BaseException) -> tuple[BaseException, list[str]]:
    """The first one in a group of groups, and every note on the way to it."""
    notes = [*getattr(error, "__notes__", [])]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        notes += getattr(error, "__notes__", [])
    return error, notes


def by_hand(name: str, again: str, proof: Callable[[Path], Coroutine[object, object, Counter[str]]]) -> int:
    """Run a proof in a folder of its own and report. The folder is kept when a promise did not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"batchrun-{name}-"))
    print(f"{name}: python -m tests.proof {name} {again}", flush=True)
    begin = time.perf_counter()
    violated = ""
    try:
        figures = asyncio.run(proof(folder))
    except* Violation as group:
        error, notes = first_violation(group)
        violated = "\n".join([str(error), *notes])
    if violated:
        print(f"{name}: VIOLATED after {time.perf_counter() - begin:.0f} s: {violated}\nkept in {folder}", flush=True)
        return 1
    shown = ", ".join(f"{figures[key]} {key}" for key in sorted(figures))
    print(f"{name}: holds; {shown}; {time.perf_counter() - begin:.0f} s", flush=True)
    forget(folder)
    return 0


@contextmanager
def kept(world: World, folder: Path, said: Sequence[str]) -> Iterator[None]:
    """When a promise did not hold, everything that is known is put beside the queue for whoever looks into it."""
    try:
        yield
    except (Violation, BaseExceptionGroup) as violation:
        keep_the_bill(world, folder)
        (folder / "said.log").write_text("\n".join(said))
        violation.add_note(f"in {folder}; the last lines: {list(said[-20:])}")
        raise
