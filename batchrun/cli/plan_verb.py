"""`batchrun plan MANIFEST…`: for each job whether and why it would run, for how much, under which caps. Changes nothing."""

import argparse
import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from batchrun import SCHEMA_VERSION
from batchrun.cli import asking, common
from batchrun.cli.terminal import say
from batchrun.clock import Clock, SystemClock, rfc3339
from batchrun.errors import ExitCode
from batchrun.manifest.digests import DigestCache
from batchrun.money import decimal_usd, format_usd
from batchrun.plan import Reason
from batchrun.run.asked import left_of
from batchrun.run.forecast import CapForecast, Forecast, Line, merged
from batchrun.run.outlook import look_ahead
from batchrun.run.quotes import Quote, Today, ask_today, prices_of
from batchrun.run.summary import jobs_text, skipped_json, skipped_lines

_SHOWN = 20
_TEXT_CHARS = 60
_QUIET = frozenset({Reason.UP_TO_DATE, Reason.CANCELLED})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    asking.add_arguments(parser)
    parser.add_argument("--all", action="store_true", help="every job, also those that are up to date")
    parser.add_argument(
        "--exit-code", action="store_true", help=f"exit {int(ExitCode.WOULD_BUY)} when something would be bought"
    )
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")


def main(parsed: argparse.Namespace) -> int:
    """Print the plan."""
    return say_plan(parsed, every=parsed.all, exit_code=parsed.exit_code)


def say_plan(parsed: argparse.Namespace, *, every: bool = False, exit_code: bool = False) -> int:
    """What a run with these arguments would do; a run is asked for it as well (`--dry-run`)."""
    key = _key(parsed)
    forecast, today = asyncio.run(_look_ahead(parsed, key, SystemClock()))
    if parsed.json:
        stream = common.JsonStream(_json(parsed, forecast, today), "jobs")
        for line in forecast.lines:
            stream.add(_job_json(line))
        stream.end()
    else:
        for text in (*_lines(parsed, forecast, today), *skipped_lines(forecast.skipped)):
            say(text)
        for text in _job_lines(forecast, every=every, is_free=parsed.preview):
            say(text)
    return int(ExitCode.WOULD_BUY) if exit_code and forecast.sums.to_buy.count else 0


def _key(parsed: argparse.Namespace) -> str | None:
    """The key, where there is one: without it the provider is not asked."""
    named = parsed.api_key_file or os.environ.get("WAVESPEED_API_KEY", "").strip()
    return common.read_key(parsed.api_key_file) if named and not parsed.preview else None


async def _look_ahead(parsed: argparse.Namespace, key: str | None, clock: Clock) -> tuple[Forecast, Today | None]:
    """Every queue in turn, as a run goes through them; then one question about all that would be bought."""
    forecasts: list[Forecast] = []
    now_ms = clock.now_ms()
    for path, manifests in common.queue_paths(parsed).items():
        options = asking.options_of(parsed, path, manifests, key=key, now_ms=now_ms)
        options = replace(
            options,
            selection=left_of(options.selection, sum(one.sums.to_buy.count for one in forecasts)),
            max_spend_usd_micros=_rest(parsed.max_spend, sum(one.sums.to_buy.usd_micros for one in forecasts)),
        )
        cache = DigestCache(common.digests_path(path), clock.now_ms)  # not saved: looking changes nothing
        origin = None if parsed.preview else options.origin
        forecasts.append(await look_ahead(options, asking.load(options, cache), clock, origin=origin))
    forecast = merged(forecasts)
    if key is None:
        return forecast, None
    return forecast, await ask_today(common.base_url(), key, forecast.sums.to_buy.samples, clock)


def _rest(max_spend_usd_micros: int | None, price_usd_micros: int) -> int | None:
    return None if max_spend_usd_micros is None else max(0, max_spend_usd_micros - price_usd_micros)


# ---------------------------------------------------------------------- words


def _lines(parsed: argparse.Namespace, forecast: Forecast, today: Today | None) -> list[str]:
    lines = _counts(forecast, is_free=parsed.preview)
    if parsed.preview:
        return lines + _canary_lines(forecast, parsed.canary, is_free=True)
    to_buy = forecast.sums.to_buy
    lines += [_cap_line(cap) for cap in forecast.caps]
    lines += [
        f"{name}: nothing bounds what it may spend, and a run is refused: add `limits: {{budget: 25.00}}`, or --max-spend 5"
        for name in forecast.unbounded
    ]
    if today is not None:
        lines += _today_lines(forecast, today)
    lines += [f"needs --yes, or a yes at the terminal: {rerun}" for rerun in forecast.reruns]
    lines += _canary_lines(forecast, parsed.canary, is_free=False)
    if to_buy.count:
        lines.append(f"about {common.shown_time(forecast.duration_s)}, {forecast.pace}")
    if (reach := forecast.in_time) is not None and to_buy.count:
        lines.append(
            f"about {reach.clips} of {reach.of_clips} clips will be ready by {rfc3339(reach.deadline_ms)[:16]}Z"
        )
    return lines


def _counts(forecast: Forecast, *, is_free: bool) -> list[str]:
    """How many jobs for which reason and price; a preview has none, and takes no time worth planning."""
    sums, to_buy = forecast.sums, forecast.sums.to_buy
    price = f"to buy for at most {format_usd(to_buy.usd_micros)}"
    lines = [f"{jobs_text(sums.jobs)}, {to_buy.count} {'to preview, free, some seconds each' if is_free else price}"]
    for reason, (count, cost) in forecast.by_reason().items():
        lines.append(f"  {count:>7} {reason.value:<26} {format_usd(cost) if cost and not is_free else ''}".rstrip())
    if sums.copies:
        words = "copy of the same request" if sums.copies == 1 else "copies of the same request"
        saved = "" if is_free else f"{format_usd(sums.saved_usd_micros)} saved"
        lines.append(f"  {sums.copies:>7} {words:<26} {saved}".rstrip())
    return lines


def _canary_lines(forecast: Forecast, count: int, *, is_free: bool) -> list[str]:
    canaries = forecast.canaries(count)
    price = "" if is_free else f" for {format_usd(sum(line.price_usd_micros for line in canaries))}"
    first = f"the first {len(canaries)}{price}, and the others only when these are done and look well"
    return [first] if canaries else []


def _today_lines(forecast: Forecast, today: Today) -> list[str]:
    lines = [_quote_line(quote) for quote in today.quotes]
    if today.balance_usd_micros is not None:
        left = _left_today(forecast, today)
        kept = forecast.keep_balance_usd_micros
        keeps = f", of which {format_usd(kept)} are kept" if kept else ""
        rest = (
            f"{format_usd(left)} left after this"
            if left >= 0
            else f"not enough: {format_usd(-left)} more would be needed"
        )
        lines.append(f"balance of the account: {format_usd(today.balance_usd_micros)}{keeps}, {rest}")
    if today.trouble:
        lines.append(f"today's price and balance are not known: {today.trouble}")
    return lines


def _quote_line(quote: Quote) -> str:
    price, agreed = format_usd(quote.quoted_usd_micros), format_usd(quote.agreed_usd_micros)
    words = f"a {quote.duration_s} s clip costs {price} today"
    if quote.is_dearer:
        accept = f"limits.max_price: {{{quote.duration_s}: {price[1:]}}}"
        return f"{words}, more than the {agreed} agreed to: a run buys nothing until you set {accept}"
    return f"{words}, as agreed" if price == agreed else f"{words}, less than the {agreed} agreed to"


def _left_today(forecast: Forecast, today: Today) -> int:
    """What the account would hold after this, above what is kept; negative where it does not suffice."""
    need = forecast.sums.to_buy.price_of(prices_of(today.quotes)) + forecast.keep_balance_usd_micros
    return (today.balance_usd_micros or 0) - need


def _cap_line(forecast: CapForecast) -> str:
    cap, left = forecast.cap, forecast.left_usd_micros
    stands = f"{cap.name}: {format_usd(cap.left_usd_micros)} of {format_usd(cap.limit_usd_micros)} left"
    if left < 0:
        return f"{stands}, not enough: {format_usd(-left)} more would be needed"
    return f"{stands}, {format_usd(left)} after this"


def _job_lines(forecast: Forecast, *, every: bool, is_free: bool) -> Iterator[str]:
    sums = forecast.sums
    count = sums.jobs - (0 if every else sum(sums.counts[reason] for reason in _QUIET))
    shown = count if every else min(count, _SHOWN)
    wanted = (line for line in forecast.lines if every or line.planned.reason not in _QUIET)
    for line in islice(wanted, shown):
        yield f"{line.batch}/{line.planned.spec.key}: {_why(line, is_free=is_free)}"
    if count > shown:
        yield f"… and {count - shown} more; --all shows every job"


def _why(line: Line, *, is_free: bool) -> str:
    planned = line.planned
    words = f"{planned.reason.value}{', a copy' if line.is_copy else ''}"
    if line.price_usd_micros and not is_free:
        words += f", {format_usd(line.price_usd_micros)}"
    was = planned.known.was if planned.known is not None else ""
    if planned.reason is Reason.PROMPT_CHANGED:
        return f"{words}: {_short(was)} → {_short(planned.spec.prompt)}"
    return f"{words}: {was}" if was else words


def _short(text: str) -> str:
    return repr(text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…")


def _json(parsed: argparse.Namespace, forecast: Forecast, today: Today | None) -> dict[str, object]:
    canaries, reach = forecast.canaries(parsed.canary), forecast.in_time
    return {
        "schema_version": SCHEMA_VERSION,
        "to_buy": forecast.sums.to_buy.count,
        "price_usd": decimal_usd(forecast.sums.to_buy.usd_micros),
        "needs_yes": [
            {"batch": one.batch, "clips": one.clips, "price_usd": decimal_usd(one.usd_micros)}
            for one in forecast.reruns
        ],
        "copies": forecast.sums.copies,
        "saved_usd": decimal_usd(forecast.sums.saved_usd_micros),
        "duration_s": round(forecast.duration_s, 1),
        "canaries": {
            "clips": len(canaries),
            "price_usd": decimal_usd(sum(line.price_usd_micros for line in canaries)),
        },
        "in_time": None
        if reach is None
        else {"by": rfc3339(reach.deadline_ms), "clips": reach.clips, "of_clips": reach.of_clips},
        "unbounded": list(forecast.unbounded),
        "today": None if today is None else _today_json(forecast, today),
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
    }


def _today_json(forecast: Forecast, today: Today) -> dict[str, object]:
    known = today.balance_usd_micros is not None
    return {
        "price_usd": decimal_usd(forecast.sums.to_buy.price_of(prices_of(today.quotes))),
        "quotes": [
            {
                "model": one.model,
                "duration_s": one.duration_s,
                "price_usd": decimal_usd(one.quoted_usd_micros),
                "agreed_usd": decimal_usd(one.agreed_usd_micros),
                "stops": one.is_dearer,
            }
            for one in today.quotes
        ],
        "balance_usd": decimal_usd(today.balance_usd_micros) if today.balance_usd_micros is not None else None,
        "balance_left_usd": decimal_usd(_left_today(forecast, today)) if known else None,
        "trouble": today.trouble or None,
    }


def _job_json(line: Line) -> dict[str, object]:
    planned = line.planned
    old = planned.known.was if planned.known is not None else None
    return {
        "batch": line.batch,
        "id": planned.spec.key,
        "reason": planned.reason.value,
        "copy": line.is_copy,
        "price_usd": decimal_usd(line.price_usd_micros),
        "prompt": planned.spec.prompt,
        "old_prompt": old if planned.reason is Reason.PROMPT_CHANGED else None,
    }
