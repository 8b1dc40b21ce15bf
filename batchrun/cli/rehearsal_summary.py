"""What a rehearsal says at its end: how long, how much, which exit status, who would have been needed, and what it leaves out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchrun.cli.common import shown_path, shown_time
from batchrun.cli.rehearsal import Rehearsed
from batchrun.errors import EXIT_MEANING, ExitCode
from batchrun.manifest.jobs import MAX_ATTEMPTS
from batchrun.money import decimal_usd, format_usd
from batchrun.plan import Reason
from batchrun.run.clip_notes import warning_lines
from batchrun.run.forecast import CapForecast, charged_range
from batchrun.run.problems import Problem, needing_person, problem_lines
from batchrun.run.summary import (
    ExitReason,
    batch_line,
    counts_of,
)
from batchrun.run.terms import Result

_SHOWN = 8
_STANDING = {
    Reason.FAILED_BEFORE: (ExitCode.SOME_FAILED, "failed"),
    Reason.NEEDS_PERSON: (ExitCode.NEEDS_PERSON, "needs_person"),
    Reason.OUTPUT_LOST: (ExitCode.NEEDS_PERSON, "output_lost"),
    Reason.NOT_AGREED: (ExitCode.NEEDS_PERSON, "rerun_not_agreed"),
}
"""Jobs that the night would not touch, and that count in its exit status all the same."""
_RETRIED = {"task_failed": 2, "task_unavailable": 3}
"""Faults after which a clip is bought again, and how often at most in all."""
_QUIET = (Reason.UP_TO_DATE, Reason.CANCELLED, Reason.NOT_ASKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Play money, as if it were real; micro-dollars."""

    smooth_usd_micros: int
    """Everything that is due, if nothing failed; no more than the caps allow."""
    night_usd_micros: int
    """Charged or held in this night."""
    back_usd_micros: int
    """Of that: comes back as refunds of failed tasks."""
    low_usd_micros: int
    """Nine nights in ten are charged from here …"""
    high_usd_micros: int
    """… to here, before refunds."""
    most_usd_micros: int
    """More cannot be charged: the caps, or every job tried as often as it may be."""
    bound: str
    """What says so."""


def standing_reasons(stages: Sequence[Rehearsed], command: str) -> list[ExitReason]:
    """Why the night would end with another status, of jobs that it would leave as they are."""
    found: Counter[tuple[ExitCode, str]] = Counter()
    for stage in stages:
        for reason, count in stage.due.left_out.items():
            if reason in _STANDING:
                found[_STANDING[reason]] += count
    words = {"rerun_not_agreed": f"batchrun {command} --yes"}
    return [
        ExitReason(code, kind, count, words.get(kind, f"batchrun status {command}"))
        for (code, kind), count in found.items()
    ]


# ---------------------------------------------------------------------- money


def cost_of(stages: Sequence[Rehearsed], result: Result) -> Cost:
    """What was charged, and what could have been."""
    prices = [line.price_usd_micros for stage in stages for line in stage.due.lines if not line.is_copy]
    most, bound = _most(stages)
    faults: Counter[str] = Counter()
    for stage in stages:
        faults |= Counter({fault: chance for fault, chance in stage.terms.faults.items() if fault in _RETRIED})
    failing = 1.0
    for chance in faults.values():
        failing *= 1.0 - chance
    tries = max((_RETRIED[fault] for fault in faults), default=1)
    low, high = charged_range(prices, 1.0 - failing, tries, stages[0].terms.seed)
    return Cost(
        smooth_usd_micros=min(sum(prices), most),
        night_usd_micros=result.run_balance.committed_usd_micros,
        back_usd_micros=result.refund_due_usd_micros,
        low_usd_micros=min(low, most),
        high_usd_micros=min(high, most),
        most_usd_micros=most,
        bound=bound,
    )


def _most(stages: Sequence[Rehearsed]) -> tuple[int, str]:
    """The least upper bound that the caps give; days do not count, a night may have two."""
    total, bounds = 0, []
    for stage in stages:
        worst: Counter[str] = Counter()
        attempts = {batch.name: min(MAX_ATTEMPTS, batch.limits.max_attempts) for batch in stage.batches}
        for line in stage.due.lines:
            worst[line.batch] += line.price_usd_micros * attempts.get(line.batch, 1)
        for one in sorted(stage.forecast.caps, key=lambda one: len(one.batches)):
            under = sum(worst[name] for name in one.batches)
            if one.scope.day is None and one.cap.left_usd_micros < under:
                bounds.append(one.cap.name)
                _shrink(worst, one)
        total += worst.total()
    return total, ", ".join(dict.fromkeys(bounds)) or "every clip bought as often as it may be"


def _shrink(worst: Counter[str], ahead: CapForecast) -> None:
    """The batches under a cap share what it has left; only their sum is looked at."""
    for name in ahead.batches:
        worst[name] = 0
    worst[ahead.batches[0]] = ahead.cap.left_usd_micros


# ---------------------------------------------------------------------- lines


def lines_of(
    stages: Sequence[Rehearsed], result: Result, reasons: Sequence[ExitReason], code: ExitCode, played_s: float
) -> list[str]:
    """The summary for people."""
    cost, person = cost_of(stages, result), needing_person(result.batches)
    lines = [_head(stages)]
    lines += [batch_line(view, counts_of(view, result)) for view in result.batches]
    lines += [*problem_lines(result.batches), *warning_lines(result.batches)]
    lines += [halt.message for halt in result.halts.values()]
    lines += [
        f"time: the night takes {shown_time(result.duration_s)} (played in {shown_time(played_s)}); {_latencies(stages)}",
        *_cost_lines(cost, result),
        f"exit status: {_status(code, reasons)}",
        *_person_lines(person, reasons),
        f"faults played: {_faults(stages)}",
        *(f"{note}" for note in _notes(stages)),
    ]
    steps = dict.fromkeys(one.advice or one.next_command for one in reasons)
    lines += [f"the night would end with the advice: {step}" for step in steps]
    for stage in stages:
        lines.append(f"its queue, until the next rehearsal: {shown_path(stage.queue_path)}")
    return lines


def _head(stages: Sequence[Rehearsed]) -> str:
    jobs = sum(len(stage.due.lines) for stage in stages)
    terms = stages[0].terms
    left: Counter[str] = Counter()
    for stage in stages:
        left.update({reason.value: count for reason, count in stage.due.left_out.items()})
    rest = ", ".join(f"{count:,} {reason}" for reason, count in left.items())
    words = f"Rehearsal of {jobs:,} job{'s' * (jobs != 1)}, with play money (seed {terms.seed})"
    return f"{words}; not played: {rest}" if rest else words


def _latencies(stages: Sequence[Rehearsed]) -> str:
    learnt: Counter[int] = Counter()
    for stage in stages:
        learnt.update(stage.learnt)
    if not learnt:
        return "clip times are assumed (150 s for 5 s, 260 s for 10 s in the middle, 95 % within 300 s and 550 s)"
    known = " and ".join(f"{count} of {length_s} s" for length_s, count in sorted(learnt.items()))
    return f"clip times are those of the queue's last clips ({known}), others assumed"


def _cost_lines(cost: Cost, result: Result) -> list[str]:
    night = f"cost: {format_usd(cost.night_usd_micros)} this night"
    if cost.back_usd_micros:
        night += f", of which {format_usd(cost.back_usd_micros)} come back as refunds within hours"
    held = result.run_balance.held_usd_micros - cost.back_usd_micros
    if held > 0:
        night += f", {format_usd(held)} held for submits of unknown outcome and clips under way"
    usual = f"all that is due: {format_usd(cost.smooth_usd_micros)} if nothing fails"
    if cost.high_usd_micros > cost.smooth_usd_micros:
        spread = f"{format_usd(cost.low_usd_micros)} to {format_usd(cost.high_usd_micros)}"
        usual += f"; nine nights in ten {spread} before refunds"
    left = [
        f"  {cap.name}: {format_usd(cap.left_usd_micros)} of {format_usd(cap.limit_usd_micros)} would be left"
        for cap in result.caps
    ]
    return [
        night,
        f"  {usual}; never more than {format_usd(cost.most_usd_micros)} ({cost.bound})",
        *left,
    ]


def _status(code: ExitCode, reasons: Sequence[ExitReason]) -> str:
    others = dict.fromkeys(reason.code for reason in reasons if reason.code is not code)
    also = f"; also {', '.join(f'{int(one)} ({EXIT_MEANING[one]})' for one in others)}" if others else ""
    return f"{int(code)}, {EXIT_MEANING[code]}{also}"


def _person_lines(person: Sequence[Problem], reasons: Sequence[ExitReason]) -> list[str]:
    count = sum(reason.count for reason in reasons if reason.code is ExitCode.NEEDS_PERSON)
    if not count:
        return ["jobs that need a person: none"]
    named = [f"{one.batch}/{one.key} ({one.kind})" for one in person[:_SHOWN]]
    kinds = [f"{one.count} {one.kind}" for one in reasons if one.code is ExitCode.NEEDS_PERSON]
    return [f"jobs that need a person: {', '.join(kinds)}{': ' if named else ''}{', '.join(named)}"]


def _played(stages: Sequence[Rehearsed]) -> Counter[str]:
    played: Counter[str] = Counter()
    for stage in stages:
        played.update({fault.value: count for fault, count in stage.dice.thrown.items()})
    return played


def _faults(stages: Sequence[Rehearsed]) -> str:
    played = _played(stages)
    if not stages[0].terms.faults:
        return "none were asked for (--faults typical)"
    return ", ".join(f"{count} {fault}" for fault, count in played.most_common()) or "none, by luck"


def _notes(stages: Sequence[Rehearsed]) -> list[str]:
    """What a rehearsal cannot know or does not show."""
    alone = "other users of the account, and prices other than the list's"
    notes = [f"not played: the account's balance and keep_balance (credit is taken to be enough), {alone}"]
    if not stages[0].terms.renders:
        notes.append("not shown (--no-render): what clips look like; they were checked as `checks: quick`")
    if any(
        stage.due.left_out.get(reason) for stage in stages for reason in (Reason.IN_FLIGHT, Reason.CHANGED_IN_FLIGHT)
    ):
        notes.append("not played: clips that are in flight now; they need their time and slots, and cost nothing more")
    return notes + [note for stage in stages for note in _tier_notes(stage)]


def _tier_notes(stage: Rehearsed) -> list[str]:
    """Where the manifest asks for less, or more, than the account allows."""
    account = stage.account
    if account is None:
        return []
    notes = []
    for batch in stage.batches:
        limits = batch.limits
        asks = f"{batch.name} asks for {limits.concurrency} at once and {limits.per_minute} a minute"
        allows = f"a {stage.terms.tier} account allows {account.concurrency} and {account.per_minute}"
        if limits.concurrency > account.concurrency or limits.per_minute > account.per_minute:
            notes.append(f"{asks}, {allows}: what is too much waits or is refused")
        elif limits.concurrency < account.concurrency or limits.per_minute < account.per_minute:
            notes.append(f"{asks}, {allows}; `limits: {{tier: {stage.terms.tier}}}` uses them")
    return notes


# ---------------------------------------------------------------------- for scripts


def rehearsal_json(stages: Sequence[Rehearsed], result: Result, played_s: float) -> Mapping[str, Any]:
    """What `--json` says beside the object of every run."""
    cost, terms = cost_of(stages, result), stages[0].terms
    left: Counter[str] = Counter()
    for stage in stages:
        left.update({reason.value: count for reason, count in stage.due.left_out.items()})
    return {
        "preview": True,
        "rehearsal": {
            "jobs": sum(len(stage.due.lines) for stage in stages),
            "left_out": dict(left),
            "seed": terms.seed,
            "speed": terms.speed,
            "tier": terms.tier,
            "rendered": terms.renders,
            "night_s": round(result.duration_s, 1),
            "played_s": round(played_s, 3),
            "learnt_from_clips": {str(length_s): count for stage in stages for length_s, count in stage.learnt.items()},
            "faults_played": dict(_played(stages)),
            "cost": {
                "this_night_usd": decimal_usd(cost.night_usd_micros),
                "refunds_usd": decimal_usd(cost.back_usd_micros),
                "if_nothing_fails_usd": decimal_usd(cost.smooth_usd_micros),
                "usual_low_usd": decimal_usd(cost.low_usd_micros),
                "usual_high_usd": decimal_usd(cost.high_usd_micros),
                "most_usd": decimal_usd(cost.most_usd_micros),
                "most_because": cost.bound,
            },
            "needs_person": [
                {"batch": one.batch, "id": one.key, "kind": one.kind, "message": one.message}
                for one in needing_person(result.batches)
            ],
            "notes": _notes(stages),
            "queues": [str(stage.queue_path) for stage in stages],
        },
    }
