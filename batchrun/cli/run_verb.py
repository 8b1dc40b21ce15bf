"""`batchrun [run] MANIFEST…`: make what is new or changed."""

import argparse
import asyncio
import os
import random
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from batchrun.cli import asking, common, plan_verb, rehearsal, rehearsal_summary
from batchrun.cli.common import shown_path
from batchrun.cli.logfile import LogFile
from batchrun.cli.main import error_json
from batchrun.cli.progress import Progress, RunLog, both
from batchrun.cli.rehearsal import Rehearsed, Terms, rehearse
from batchrun.cli.rehearsal_stage import surroundings, teach
from batchrun.cli.terminal import json_text, say
from batchrun.clock import Clock, FastClock, HoldingLoop, SystemClock
from batchrun.errors import BatchrunError, StorageError, UsageError
from batchrun.manifest.catalogue import models
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.jobs import Batch, Limits
from batchrun.money import decimal_usd
from batchrun.queue.states import JobState
from batchrun.run import summary
from batchrun.run.asked import left_of
from batchrun.run.consent import Agree, Rerun
from batchrun.run.events import Observer
from batchrun.run.forecast import duration_s, purchase_of
from batchrun.run.latencies import Latencies
from batchrun.run.session import Session, Surroundings
from batchrun.run.stop import Stop, on_signals
from batchrun.run.summary import ExitReason
from batchrun.run.terms import Options, Result, is_bounded, merged, most_careful

_LOGS_KEPT = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--no-new", action="store_true", help="buy nothing: only collect what is paid for")
    how.add_argument(
        "-n", "--dry-run", action="store_true", help="only say what this run would do, as `batchrun plan` does"
    )
    asking.add_arguments(parser)
    parser.add_argument(
        "--grace", type=common.seconds_argument, default=300.0, metavar="TIME",
        help="after Ctrl-C, SIGTERM or SIGHUP wait so long for clips that are paid for (default 5m)",
    )  # fmt: skip
    parser.add_argument("--log-file", type=Path, metavar="FILE", help="append every event as a JSON line")
    parser.add_argument(
        "--log-size", type=common.count_argument, default=10, metavar="MB",
        help="begin a new log file when it is so large, and keep the last five as FILE.1 to FILE.5 (default 10)",
    )  # fmt: skip
    common.add_output(parser)
    rehearsal.add_arguments(parser)


def main(parsed: argparse.Namespace) -> int:
    """Run, print the summary, return the exit status."""
    terms = rehearsal.terms_of(parsed)
    if parsed.dry_run:
        return plan_verb.say_plan(parsed)
    if terms is None:
        return asyncio.run(_main(parsed, None, SystemClock()))
    clock = FastClock(terms.speed)
    with asyncio.Runner(loop_factory=partial(HoldingLoop, clock)) as runner:
        return runner.run(_main(parsed, terms, clock))


@dataclass(slots=True)
class _Read:
    """What was read on the way, for the summary."""

    batches: dict[Path, Batch] = field(default_factory=dict)
    stages: list[Rehearsed] = field(default_factory=list)
    """Of rehearsals."""


async def _main(parsed: argparse.Namespace, terms: Terms | None, clock: Clock) -> int:
    machine = SystemClock()
    began_s = machine.monotonic_s()
    with _logging(parsed, clock) as log:
        read = _Read()
        result = merged(await _run_all(parsed, terms, clock, log, read))
        played_s = machine.monotonic_s() - began_s
        if read.stages:
            code = _report_rehearsal(parsed, result, read, played_s)
        else:
            code = _report(parsed, result, [*read.batches.values()])
        if log is not None:
            usd = decimal_usd(result.run_balance.committed_usd_micros)
            log.say("ended", exit_code=code, count=result.bought, usd=usd, detail=str(result.problem or ""))
    return code


@contextmanager
def _logging(parsed: argparse.Namespace, clock: Clock) -> Iterator[RunLog | None]:
    """The run's log, where one is wanted; it also says how a run ended that never began."""
    if parsed.log_file is None:
        yield None
        return
    warn = partial(say, to=sys.stderr)
    file = LogFile(parsed.log_file, parsed.log_size * 1_000_000, _LOGS_KEPT, lambda text: warn(f"warning: {text}"))
    log = RunLog(file, clock)
    try:
        log.say("started", detail=" ".join(map(str, parsed.manifests)))
        yield log
    except BatchrunError as error:
        log.say("ended", exit_code=int(error.exit_code), detail=str(error))
        raise
    finally:
        file.close()


async def _run_all(
    parsed: argparse.Namespace, terms: Terms | None, clock: Clock, log: RunLog | None, read: _Read
) -> Sequence[Result]:
    """The runs over all queues, one after another."""
    stop, now_ms = Stop(), clock.now_ms()
    queues = common.queue_paths(parsed, preview=parsed.preview and terms is None)
    money = None if not parsed.preview else "preview, free" if terms is None else "play money"
    key = None if parsed.preview else common.read_key(parsed.api_key_file)
    results: list[Result] = []
    with (
        on_signals(stop),
        Progress(clock, quiet=parsed.quiet, verbose=parsed.verbose, money=money) as progress,
        log.warning_by(progress.say) if log is not None else nullcontext(),
    ):
        for queue_path, manifests in queues.items():
            options = replace(
                asking.options_of(parsed, queue_path, manifests, key=key, now_ms=now_ms),
                no_new=parsed.no_new,
                max_spend_usd_micros=_rest(parsed.max_spend, results),
                grace_s=parsed.grace,
            )
            bought = sum(result.bought for result in results)
            options = replace(options, selection=left_of(options.selection, bought))
            outside = _Outside(clock, stop, both(progress, log) if log is not None else progress)
            if terms is None:
                results.append(await _run(replace(options, agree=_agreement(parsed, progress)), outside, read))
            else:
                results.append(await _play(terms, options, outside, read))
            if stop.drain.is_set():
                break
    return results


def _agreement(parsed: argparse.Namespace, progress: Progress) -> Agree:
    """`--yes`, or a person at the terminal; a nightly run has none, and then those jobs wait."""

    def ask(rerun: Rerun) -> bool:
        if parsed.yes:
            return True
        if parsed.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        with progress.asking(f"{rerun}. Buy them? [y/N, no answer in 10 min is a no]"):
            return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


@dataclass(frozen=True, slots=True)
class _Outside:
    """What all queues' runs share."""

    clock: Clock
    stop: Stop
    observer: Observer


async def _run(options: Options, outside: _Outside, read: _Read) -> Result:
    """One queue's run; what ends it must not hide what other queues have done."""
    chance = random.Random()  # noqa: S311  # jitter
    around = Surroundings(clock=outside.clock, chance=chance, new_id=lambda: secrets.token_hex(8))
    try:
        async with AsyncExitStack() as stack:
            if options.kind == "preview":
                options = await _on_emulator(options, outside.clock, stack)
            load = _loader(options, read.batches, outside.clock)
            return await Session(options, load, around, stop=outside.stop, observer=outside.observer).run()
    except BatchrunError as error:
        return Result(run_id="", problem=error)


async def _play(terms: Terms, options: Options, outside: _Outside, read: _Read) -> Result:
    """One queue's night, rehearsed: as `_run`, and nothing of it is real."""
    options = replace(options, kind="paid", key=None)
    try:
        assert isinstance(outside.clock, FastClock)  # noqa: S101  # `main` made it so
        load = _loader(options, read.batches, SystemClock())  # files carry the machine's time
        batches = await asyncio.to_thread(load)
        async with rehearse(terms, options, batches, outside.clock) as (played, stage):
            read.stages.append(stage)
            if not stage.batches:
                return Result(run_id="")
            await teach(played.queue_path, stage.forecast.took, outside.clock)
            around = surroundings(terms.seed, outside.clock)
            session = Session(played, lambda: stage.batches, around, stop=outside.stop, observer=outside.observer)
            return await session.run()
    except BatchrunError as error:
        return Result(run_id="", problem=error)


def _rest(max_spend_usd_micros: int | None, results: Sequence[Result]) -> int | None:
    """What is left of `--max-spend` for the next queue."""
    if max_spend_usd_micros is None:
        return None
    if any(isinstance(result.problem, StorageError) for result in results):
        return 0  # nobody knows what a run spent whose books broke: the others only collect
    return max(0, max_spend_usd_micros - sum(result.run_balance.committed_usd_micros for result in results))


async def _on_emulator(options: Options, clock: Clock, stack: AsyncExitStack) -> Options:
    """The same run against the API on this machine, as fast as it renders."""
    from batchrun.emulator.faults import Dice  # noqa: PLC0415  # a paid run does not need the emulator
    from batchrun.emulator.latency import Latency  # noqa: PLC0415
    from batchrun.emulator.server import serve  # noqa: PLC0415
    from batchrun.emulator.world import World  # noqa: PLC0415

    folder = options.queue_path.parent / "preview"
    world = World(clock, Latency(None), Dice(), folder=folder)
    emulator = await stack.enter_async_context(serve(world))
    cores = os.cpu_count() or 2
    return replace(
        options,
        kind="preview",
        base_url=emulator.base_url,
        origin=common.PREVIEW_ORIGIN,
        key=None,
        limits=Limits(concurrency=cores, per_minute=100_000, poll_s=0.2, settle_s=1.0),
    )


def _loader(options: Options, loaded: dict[Path, Batch], clock: Clock) -> Callable[[], Sequence[Batch]]:
    """Reads the manifests of one queue; every problem of every one of them at once."""

    def load() -> Sequence[Batch]:
        cache = DigestCache(common.digests_path(options.queue_path), clock.now_ms)
        try:
            batches = asking.load(options, cache)
        finally:
            cache.save()  # also of a manifest that is refused: the next try need not read its pictures again
        unbounded = [
            f"{batch.path}: nothing bounds what this batch may spend. Add `limits: {{budget: 25.00}}` (US dollars, "
            "for ever), or `budget: none` to say so on purpose, or run with --max-spend 5"
            for batch in batches
            if not is_bounded(batch, options)
        ]
        if unbounded:
            raise UsageError("\n".join(unbounded))
        loaded.update({batch.path: batch for batch in batches})  # of a manifest that is read again, the newest
        return batches

    return load


def _report(parsed: argparse.Namespace, result: Result, loaded: Sequence[Batch]) -> int:
    can_resolve = len(parsed.manifests) == 1 and not parsed.preview
    options = f" --max-spend {decimal_usd(parsed.max_spend)}" if parsed.max_spend is not None else ""
    reasons = summary.exit_reasons(
        result,
        common.command_of(parsed),
        options=options,
        can_resolve=can_resolve,
        selection=asking.selection_of(parsed),
    )
    code = summary.exit_code(reasons, result)
    if result.problem is not None:
        say(*str(result.problem).split("\n"), to=sys.stderr)
    if parsed.json:
        found = dict(summary.run_json(result, reasons, code))
        if parsed.preview:
            price_usd_micros, time_s = _real_run(loaded)
            found["preview"] = True
            found["would_cost_usd"] = decimal_usd(price_usd_micros)
            found["would_take_s"] = round(time_s)
        if result.problem is not None:
            found = error_json(result.problem) | found  # its own exit status knows nothing of what was bought
        print(json_text(found))
        return int(code)
    if result.batches:
        _print_summary(parsed, result, reasons, loaded)
    for warning in result.warnings:
        say(f"warning: {warning}", to=sys.stderr)
    return int(code)


def _report_rehearsal(parsed: argparse.Namespace, result: Result, read: _Read, played_s: float) -> int:
    command = common.command_of(parsed)
    reasons = summary.by_urgency(
        [
            *summary.exit_reasons(result, command, can_resolve=False, selection=asking.selection_of(parsed)),
            *rehearsal_summary.standing_reasons(read.stages, command),
        ]
    )
    code = summary.exit_code(reasons, result)
    if result.problem is not None:
        say(*str(result.problem).split("\n"), to=sys.stderr)
    if parsed.json:
        found = dict(summary.run_json(result, reasons, code))
        found |= rehearsal_summary.rehearsal_json(read.stages, result, played_s)
        if result.problem is not None:
            found = error_json(result.problem) | found  # its own exit status knows nothing of what was bought
        print(json_text(found))
        return int(code)
    say(*rehearsal_summary.lines_of(read.stages, result, reasons, code, played_s))
    return int(code)


def _print_summary(
    parsed: argparse.Namespace, result: Result, reasons: Sequence[ExitReason], loaded: Sequence[Batch]
) -> None:
    price_usd_micros, time_s = _real_run(loaded) if parsed.preview else (0, 0.0)
    time = common.shown_time(time_s)
    for line in summary.run_lines(
        result, reasons, preview=parsed.preview, real_price_usd_micros=price_usd_micros, real_time=time
    ):
        say(line)
    for folder in sorted({batch.output_folder for batch in loaded}):
        say(f"videos: {shown_path(folder)}")
    if any(view.counts.get(JobState.DONE, 0) for view in result.batches):
        say(f"to look at them: batchrun report {common.command_of(parsed)}")


def _real_run(batches: Sequence[Batch]) -> tuple[int, float]:
    """What the batches would cost, by the price list or `max_price`, and how many seconds they would take.

    At their limits, by what is assumed of the provider before anything is learnt.
    """
    purchase = purchase_of(spec for batch in batches for spec in batch.jobs)
    price_usd_micros = sum(
        count * (kind.usd_micros or models()[kind.model].price_usd_micros[kind.duration_s])
        for kind, count in purchase.kinds.items()
    )
    kinds = Latencies().each(purchase.in_order())
    return price_usd_micros, duration_s(kinds, most_careful([batch.limits for batch in batches]))
