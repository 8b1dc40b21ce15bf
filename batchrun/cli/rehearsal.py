"""`--preview --speed …`: the night that is due, played on a fast clock, with play money, in a folder of its own.

The session, the pool, the queue and the HTTP are those of a paid run; the provider is our own server on this machine,
the clock passes faster, and the queue is thrown away by the next rehearsal. What the real queue knows is only read:
which jobs are due, what its caps have left, and what clips have taken.
"""

import argparse
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchrun.cli.rehearsal_stage import ORIGIN, account_of, emptied, folder_of, served
from batchrun.clock import FastClock, SystemClock
from batchrun.errors import UsageError
from batchrun.manifest.catalogue import Tier, tiers
from batchrun.manifest.jobs import ID_MARK, Batch, Caps, Checks
from batchrun.manifest.spool import Spool
from batchrun.plan import BUYS, Reason, Selection
from batchrun.queue.records import Took
from batchrun.run.forecast import CapForecast, Forecast, Line
from batchrun.run.outlook import look_ahead
from batchrun.run.terms import Options

if TYPE_CHECKING:
    from batchrun.emulator.faults import Dice, Fault

SPEED = 100.0
_MOST_SPEED = 1000.0
_LEARNT_FROM = 8
"""Clips of a length that tell what the next ones take."""
_MOST_SEED = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How the night is to be played."""

    tier: str | None
    faults: "Mapping[Fault, float]"
    speed: float
    renders: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Due:
    """What of the plan the night would buy, and what it would leave as it is."""

    lines: Sequence[Line]
    left_out: Mapping[Reason, int]
    """Jobs that are not played, by why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """One queue's night, for the summary."""

    terms: Terms
    forecast: Forecast
    batches: Sequence[Batch]
    """As they are played."""
    account: Tier | None
    learnt: Mapping[int, int]
    """From how many clips the times of a length are known, by seconds."""
    due: "Due"
    dice: "Dice"
    queue_path: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that make a preview a rehearsal."""
    group = parser.add_argument_group(
        "rehearsal", "with --preview: play the night that is due on a fast clock, with play money; each one begins anew"
    )
    group.add_argument("--tier", choices=list(tiers()), help="the account's limits (default: none but the manifest's)")
    group.add_argument(
        "--faults", metavar="FAULTS", help="what goes wrong, as of `batchrun emulator`: typical, storm, NAME=P …"
    )
    group.add_argument("--speed", type=float, metavar="N", help=f"at most so many times as fast (default {SPEED:.0f})")
    group.add_argument("--no-render", action="store_true", help="one ready clip for all pictures: only time and money")
    group.add_argument("--seed", type=int, metavar="N", help="the same luck as in the rehearsal that named it")


def terms_of(parsed: argparse.Namespace) -> Terms | None:
    """What was asked for; None where no rehearsal is.

    Raises:
        UsageError: without `--preview`, or with what makes no sense.
    """
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("tier", "faults", "speed", "no_render", "seed")
        if _is_set(parsed, name)
    ]
    if not given:
        return None
    if not parsed.preview:
        command = " ".join(["batchrun", *map(str, parsed.manifests), "--preview", "--faults typical --speed 100"])
        raise UsageError(f"{', '.join(given)}: these play a rehearsal, which is a kind of preview: {command}")
    if parsed.dry_run:
        raise UsageError("--dry-run: a plan plays nothing; leave it out to play the night")
    if parsed.no_new:
        raise UsageError("--no-new: a rehearsal begins with an empty queue, there is nothing to collect; leave it out")
    speed = SPEED if parsed.speed is None else parsed.speed
    if not 1 <= speed <= _MOST_SPEED:
        raise UsageError(f"--speed {speed:g}: a rehearsal is from 1 to {_MOST_SPEED:.0f} times as fast")
    seed = secrets.randbelow(_MOST_SEED) if parsed.seed is None else parsed.seed
    faults = _faults(parsed.faults or "", renders=not parsed.no_render)
    return Terms(tier=parsed.tier, faults=faults, speed=speed, renders=not parsed.no_render, seed=seed)


def _is_set(parsed: argparse.Namespace, name: str) -> bool:
    value = getattr(parsed, name)
    return value is not None and value is not False  # a 0 was typed


def _faults(text: str, *, renders: bool) -> "Mapping[Fault, float]":
    from batchrun.emulator.faults import CLIP_FAULTS, parse_faults  # noqa: PLC0415  # a paid run does not need the emulator

    try:
        faults = parse_faults(text)
    except ValueError as error:
        raise UsageError(f"--faults: {error}") from None
    if unseen := [fault for fault in CLIP_FAULTS if fault in faults and not renders]:
        raise UsageError(f"--faults {', '.join(unseen)}: what a clip looks like is not played with --no-render")
    return faults


@asynccontextmanager
async def rehearse(
    terms: Terms, options: Options, batches: Sequence[Batch], clock: FastClock
) -> AsyncIterator[tuple[Options, Rehearsed]]:
    """Set the stage for one queue: a new folder, an account, a server, and what there is to do.

    Args:
        terms: how it is played.
        options: of the paid run; its queue is only read, and its key and address are not used.
        batches: the manifests, as that run would read them.
        clock: of everything that happens.

    Raises:
        UsageError: another rehearsal is at work, or the folder is not ours.
    """
    forecast = await look_ahead(options, batches, SystemClock())
    folder = folder_of(options.queue_path)
    due = due_of(forecast)
    async with AsyncExitStack() as stack:
        stack.enter_context(emptied(folder))
        seen_s, tier = _seen(forecast.took), tiers().get(terms.tier or "")
        world = account_of(tier, terms.faults, terms.seed, seen_s, clock, folder / "server")
        base_url = await served(world, stack, renders=terms.renders)
        queue_path = folder / "queue.db"
        yield (
            replace(options, base_url=base_url, origin=ORIGIN, key=None, queue_path=queue_path, selection=Selection()),
            Rehearsed(
                terms=terms,
                forecast=forecast,
                batches=_played(batches, due, forecast.caps, folder, terms),
                due=due,
                account=tier,
                learnt={duration_s: len(took_s) for duration_s, took_s in seen_s.items()},
                dice=world.dice,
                queue_path=queue_path,
            ),
        )


# ---------------------------------------------------------------------- what is played


def due_of(forecast: Forecast) -> Due:
    """The jobs that the run would buy, or copy from one that it buys."""
    withheld = {rerun.batch for rerun in forecast.reruns}
    bought = {
        line.planned.spec.fingerprint for line in forecast.lines if line.planned.reason in BUYS and not line.is_copy
    }
    due: Spool[Line] = Spool()
    left_out: Counter[Reason] = Counter()
    for line in forecast.lines:
        planned = line.planned
        if line.batch in withheld and planned.is_rerun and not line.is_copy:
            left_out[Reason.NOT_AGREED] += 1
        elif planned.reason not in BUYS:
            left_out[planned.reason] += 1
        elif line.is_copy and planned.spec.fingerprint not in bought:
            left_out[Reason.UP_TO_DATE] += 1  # a copy of a clip that is there already
        else:
            due.append(line)
    return Due(due, left_out)


def _played(batches: Sequence[Batch], due: Due, caps: Sequence[CapForecast], folder: Path, terms: Terms) -> list[Batch]:
    """The manifests with the jobs that are due, what their caps have left, and clips in the rehearsal's folder."""
    found: list[Batch] = []
    for batch in batches:
        pattern = str(folder / "videos" / batch.name / f"{ID_MARK}.mp4")
        mine = (line.planned.spec for line in due.lines if line.batch == batch.name)
        jobs = Spool(spec._replace(output_pattern=pattern) for spec in mine)
        checks = batch.checks if terms.renders else Checks.QUICK
        if jobs:
            found.append(replace(batch, jobs=jobs, caps=caps_left(batch, caps), checks=checks, sidecar=False))
    return found


def caps_left(batch: Batch, caps: Sequence[CapForecast]) -> Caps:
    """The batch's caps, each with what the real queue has left of it."""
    left = {
        (one.scope.campaign is not None, one.scope.day is not None): one.cap.left_usd_micros
        for one in caps
        if batch.name in one.batches and one.scope.run_id is None
    }
    return replace(
        batch.caps,
        budget_usd_micros=left.get((False, False)),
        daily_budget_usd_micros=left.get((False, True)),
        campaign_budget_usd_micros=left.get((True, False)),
        campaign_daily_budget_usd_micros=left.get((True, True)),
    )


def _seen(took: Sequence[Took]) -> dict[int, list[float]]:
    """What clips have taken, in seconds, by their length; of lengths of which enough is known."""
    found: dict[int, list[float]] = {}
    for one in took:
        found.setdefault(one.duration_s, []).append(one.took_ms / 1000)
    return {duration_s: took_s for duration_s, took_s in found.items() if len(took_s) >= _LEARNT_FROM}
