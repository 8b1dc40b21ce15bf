"""`batchrun plan MANIFEST…`: for each job whether and why it would run, for how much, under which caps. Changes nothing."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchrun.cli import common
from batchrun.cli.status_verb import open_to_look
from batchrun.clock import Clock, SystemClock, day_of
from batchrun.errors import ExitCode
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.jobs import Batch
from batchrun.manifest.read import load_manifest
from batchrun.money import decimal_usd, format_usd
from batchrun.plan import BUYS, Planned, Reason, make_plan
from batchrun.provider.urls import is_loopback
from batchrun.queue.records import Balance, Cap, KnownBatch
from batchrun.run.consent import rerun_of, standing_clips
from batchrun.run.forecast import CapForecast, Forecast, Line, duration_s, lines_of, price_by_batch
from batchrun.run.latencies import ClipKind, Latencies
from batchrun.run.summary import SCHEMA_VERSION, skipped_json, skipped_lines
from batchrun.run.terms import CapView, caps_of, most_careful

_SHOWN = 20
_TEXT_CHARS = 60
_NO_BATCH = -1
_QUIET = frozenset({Reason.UP_TO_DATE, Reason.CANCELLED})
_FAILED = frozenset({Reason.FAILED_BEFORE, Reason.NEEDS_PERSON, Reason.TRY_AGAIN})


@dataclass(slots=True)
class _Known:
    """What the queue knows, where there is one."""

    batches: dict[str, KnownBatch] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    clips: set[str] = field(default_factory=set)
    latencies: Latencies = field(default_factory=Latencies)
    balances: dict[Cap, Balance] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    parser.add_argument("--all", action="store_true", help="every job, also those that are up to date")
    parser.add_argument("--max-spend", type=common.usd_argument, metavar="USD", help="as of the run to come")
    parser.add_argument(
        "--exit-code", action="store_true", help=f"exit {int(ExitCode.WOULD_BUY)} when something would be bought"
    )
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")


def main(parsed: argparse.Namespace) -> int:
    """Print the plan."""
    clock = SystemClock()
    forecasts = [
        asyncio.run(_forecast(parsed, path, manifests, clock)) for path, manifests in common.queue_paths(parsed).items()
    ]
    forecast = Forecast(
        lines=[line for one in forecasts for line in one.lines],
        caps=[cap for one in forecasts for cap in one.caps],
        reruns=[rerun for one in forecasts for rerun in one.reruns],
        duration_s=sum(one.duration_s for one in forecasts),
        skipped={name: rows for one in forecasts for name, rows in one.skipped.items()},
    )
    if parsed.json:
        print(json.dumps(_json(forecast), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_lines(forecast, every=parsed.all)))
    return int(ExitCode.WOULD_BUY) if parsed.exit_code and forecast.to_buy else 0


async def _forecast(parsed: argparse.Namespace, path: Path, manifests: Sequence[Path], clock: Clock) -> Forecast:
    fast = parsed.preview or is_loopback(common.base_url())
    cache = DigestCache(common.digests_path(path), clock.now_ms)  # not saved: looking changes nothing
    batches = [load_manifest(one, fast=fast, previews=parsed.preview, cache=cache) for one in manifests]
    now_ms = clock.now_ms()
    known = await _look(parsed, path, batches, clock) if await asyncio.to_thread(path.exists) else _Known()
    plans = [(batch.name, _plan(batch, known, now_ms, is_free=parsed.preview)) for batch in batches]
    lines = lines_of(plans, known.clips)
    specs = [line.planned.spec for line in lines if line.planned.reason in BUYS and not line.is_copy]
    kinds = [known.latencies.of(ClipKind(spec.model, spec.duration_s)) for spec in specs]
    took_s = duration_s(kinds, most_careful([batch.limits for batch in batches]))
    prices = price_by_batch(lines)
    caps = [
        CapForecast(
            CapView(name=cap.name, limit_usd_micros=cap.limit_usd_micros, balance=known.balances.get(cap, Balance())),
            sum(prices.get(name, 0) for name in names),
        )
        for cap, names in _caps(parsed, batches, known, now_ms).items()
    ]
    reruns = [rerun_of(batch, plan, known.clips) for batch, (_, plan) in zip(batches, plans, strict=True)]
    asks = [] if parsed.preview else [rerun for rerun in reruns if rerun is not None]
    skipped = {batch.name: batch.skipped for batch in batches}
    return Forecast(lines=lines, caps=caps, reruns=asks, duration_s=took_s, skipped=skipped)


def _plan(batch: Batch, known: _Known, now_ms: int, *, is_free: bool) -> list[Planned]:
    seen = known.batches.get(batch.name, KnownBatch())
    most = batch.limits.max_attempts
    return make_plan(batch.jobs, seen.jobs, now_ms, max_attempts=most, is_free=is_free)


async def _look(parsed: argparse.Namespace, path: Path, batches: Sequence[Batch], clock: Clock) -> _Known:
    queue = await open_to_look(path, clock, preview=parsed.preview)
    try:
        known = _Known(latencies=Latencies(await queue.latencies()))
        known.ids = {one.name: one.batch_id for one in await queue.batches()}
        known.batches = {batch.name: await queue.known_batch(batch.name) for batch in batches}
        wanted = [spec.fingerprint for batch in batches for spec in batch.jobs]
        known.clips = await standing_clips(queue, wanted)
        for cap in _caps(parsed, batches, known, clock.now_ms()):
            known.balances[cap] = await queue.balance(cap.scope)
    finally:
        await queue.close()
    return known


def _caps(parsed: argparse.Namespace, batches: Sequence[Batch], known: _Known, now_ms: int) -> dict[Cap, list[str]]:
    """Every cap, with the batches under it."""
    found: dict[Cap, list[str]] = {}
    kind = "preview" if parsed.preview else "paid"
    for batch in batches:
        day = day_of(now_ms, batch.caps.zone)
        batch_id = known.ids.get(batch.name, _NO_BATCH)
        for cap in caps_of(batch, batch_id, day, "", kind=kind, max_spend_usd_micros=parsed.max_spend):
            found.setdefault(cap, []).append(batch.name)
    return found


# ---------------------------------------------------------------------- words


def _lines(forecast: Forecast, *, every: bool) -> list[str]:
    price = format_usd(forecast.price_usd_micros)
    lines = [f"{len(forecast.lines)} jobs, {len(forecast.to_buy)} to buy for at most {price}"]
    for reason, (count, cost) in forecast.by_reason().items():
        lines.append(f"  {count:>7} {reason.value:<26} {format_usd(cost) if cost else ''}".rstrip())
    if forecast.copies:
        saved = format_usd(forecast.saved_usd_micros)
        lines.append(f"  {len(forecast.copies):>7} {'copies of the same request':<26} {saved} saved")
    lines += [_cap_line(cap) for cap in forecast.caps]
    lines += [f"needs --yes, or a yes at the terminal: {rerun}" for rerun in forecast.reruns]
    if forecast.to_buy:
        lines.append(f"about {common.shown_time(forecast.duration_s)} at these limits")
    return lines + skipped_lines(forecast.skipped) + _job_lines(forecast, every=every)


def _cap_line(forecast: CapForecast) -> str:
    cap, left = forecast.cap, forecast.left_usd_micros
    stands = f"{cap.name}: {format_usd(cap.left_usd_micros)} of {format_usd(cap.limit_usd_micros)} left"
    if left < 0:
        return f"{stands}, not enough: {format_usd(-left)} more would be needed"
    return f"{stands}, {format_usd(left)} after this"


def _job_lines(forecast: Forecast, *, every: bool) -> list[str]:
    shown = [line for line in forecast.lines if every or line.is_copy or line.planned.reason not in _QUIET]
    lines = [f"{line.batch}/{line.planned.spec.key}: {_why(line)}" for line in (shown if every else shown[:_SHOWN])]
    if len(shown) > len(lines):
        lines.append(f"… and {len(shown) - len(lines)} more; --all shows every job")
    return lines


def _why(line: Line) -> str:
    planned = line.planned
    words = f"{planned.reason.value}{', a copy' if line.is_copy else ''}"
    if line.price_usd_micros:
        words += f", {format_usd(line.price_usd_micros)}"
    if planned.reason is Reason.PROMPT_CHANGED and planned.known is not None:
        words += f": {_short(planned.known.revision.prompt)} → {_short(planned.spec.prompt)}"
    if planned.reason in _FAILED and planned.known is not None and planned.known.failure_message:
        words += f": {planned.known.failure_message}"
    return words


def _short(text: str) -> str:
    return repr(text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…")


def _json(forecast: Forecast) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "to_buy": len(forecast.to_buy),
        "price_usd": decimal_usd(forecast.price_usd_micros),
        "needs_yes": [
            {"batch": one.batch, "clips": one.clips, "price_usd": decimal_usd(one.usd_micros)}
            for one in forecast.reruns
        ],
        "copies": len(forecast.copies),
        "saved_usd": decimal_usd(forecast.saved_usd_micros),
        "duration_s": round(forecast.duration_s, 1),
        "reasons": {
            reason.value: {"jobs": count, "price_usd": decimal_usd(price)}
            for reason, (count, price) in forecast.by_reason().items()
        },
        "caps": [
            {
                "name": one.cap.name,
                "limit_usd": decimal_usd(one.cap.limit_usd_micros),
                "left_usd": decimal_usd(one.cap.left_usd_micros),
                "wanted_usd": decimal_usd(one.wanted_usd_micros),
            }
            for one in forecast.caps
        ],
        **skipped_json(forecast.skipped),
        "jobs": [_job_json(line) for line in forecast.lines],
    }


def _job_json(line: Line) -> dict[str, object]:
    planned = line.planned
    old = planned.known.revision.prompt if planned.known is not None else None
    return {
        "batch": line.batch,
        "id": planned.spec.key,
        "reason": planned.reason.value,
        "copy": line.is_copy,
        "price_usd": decimal_usd(line.price_usd_micros),
        "prompt": planned.spec.prompt,
        "old_prompt": old if planned.reason is Reason.PROMPT_CHANGED else None,
    }
