"""How a run ended, in words and numbers: exit code with all its reasons, JSON for scripts, lines for people. Pure."""

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchrun import SCHEMA_VERSION
from batchrun.errors import URGENCY, ExitCode, most_urgent
from batchrun.manifest.jobs import SkippedRows
from batchrun.money import decimal_usd, format_usd
from batchrun.plan import Reason, Selection
from batchrun.queue.records import Balance, LateCharge
from batchrun.queue.states import COLLECTABLE, NEEDS_PERSON, JobState
from batchrun.queue.views import BatchView
from batchrun.run.asked import skipped_of
from batchrun.run.clip_notes import warning_lines, warnings_json
from batchrun.run.pool import Capped
from batchrun.run.problems import OUTPUT_LOST, PERSON_KINDS, SHOWN, problem_lines, problems_json
from batchrun.run.starter import KEEP_BALANCE
from batchrun.run.terms import MAX_SPEND, CapView, Result
from batchrun.run.tools import Ending
from batchrun.run.unexpected import UNEXPECTED

_NOT_AGREED = "rerun_not_agreed"
_EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class ExitReason:
    """One reason for the exit code: what a script may act on, and what a person would type next."""

    code: ExitCode
    kind: str
    count: int
    next_command: str
    advice: str = ""
    """What a person does before that."""


def exit_reasons(
    result: Result, command: str, *, options: str = "", can_resolve: bool = True, selection: Selection = _EVERYTHING
) -> list[ExitReason]:
    """Every exit code that applies, the most urgent first.

    Args:
        result: how the run ended.
        command: what names the same queue again on a command line.
        options: what a further run is bounded by, such as ` --max-spend 5`.
        can_resolve: whether that is one manifest of paid clips, which is what `resolve` takes.
        selection: of which jobs the codes speak.
    """
    again = f"batchrun {command}{options}"
    found: list[ExitReason] = []
    if result.signal_number is not None:
        code = ExitCode.INTERRUPTED if result.signal_number == signal.SIGINT else ExitCode.TERMINATED
        found.append(ExitReason(code, "stopped", _left(result), again))
    found += [
        ExitReason(halt.code, halt.kind.value, _left(result), again, halt.next_step(command, again))
        for halt in result.halts.values()
    ]
    for (code, kind), count in _troubles(result):
        step = _next_command(code, kind, command, again, can_resolve=can_resolve)
        found.append(ExitReason(code, kind, count, step, _advice(kind, step)))
    if result.problem is not None:
        found.append(
            ExitReason(_code_of_problem(result), "stopped_by_error", 1, again, f"see to the error, then {again}")
        )
    if skipped := skipped_of(result.skipped.values(), selection):
        advice = f"correct the rows that are listed, then {again}"
        found.append(ExitReason(ExitCode.SOME_FAILED, "skipped_rows", skipped, again, advice))
    if result.late:
        found.append(ExitReason(ExitCode.NEEDS_PERSON, "late_charge", len(result.late), f"batchrun report {command}"))
    if result.capped:
        found.append(
            ExitReason(ExitCode.CAP_REACHED, "cap_reached", _queued(result), again, _room(result.capped, again))
        )
    elif not found and _left(result) and not result.no_new:
        found.append(ExitReason(_LATER, "work_left", _left(result), again))
    return by_urgency(found)


_LATER = ExitCode.UNAVAILABLE


def by_urgency(reasons: Sequence[ExitReason]) -> list[ExitReason]:
    """The most urgent first; before all what has ended the run as an error."""
    return sorted(reasons, key=lambda one: URGENCY.index(one.code) if one.code in URGENCY else -1)


def _room(capped: Sequence[Capped], again: str) -> str:
    """What a person does for these caps before the next run."""
    names = {one.reached.cap.name for one in capped}
    if names == {MAX_SPEND}:
        return f"{again}, for as much once more"
    if all(map(_has_room_tomorrow, capped)):
        return f"{again} goes on tomorrow; to go on today, raise {', '.join(sorted(names))}"
    steps = ["top the account up or lower keep_balance"] if KEEP_BALANCE in names else []
    if raised := sorted(names - {KEEP_BALANCE, MAX_SPEND}):
        steps.append(f"raise {', '.join(raised)}")
    return f"{' and '.join(steps)}, then {again}"


def _has_room_tomorrow(capped: Capped) -> bool:
    cap = capped.reached.cap
    return cap.scope.day is not None and capped.price_usd_micros <= cap.limit_usd_micros


def _advice(kind: str, step: str) -> str:
    if kind == _NOT_AGREED:
        return f"{step} buys them; changing the inputs back keeps the old ones"
    if kind == OUTPUT_LOST:
        return f"put the clips' files back, or buy them anew with batchrun redo MANIFEST ID ({step} names them)"
    return ""


def _next_command(code: ExitCode, kind: str, command: str, again: str, *, can_resolve: bool) -> str:
    if code is _LATER:
        return again
    if kind == _NOT_AGREED:
        return f"{again} --yes"
    if kind == OUTPUT_LOST:
        return f"batchrun plan {command}"
    if kind in (JobState.PARKED.value, JobState.REJECTED.value) and can_resolve:
        return f"batchrun resolve {command}"
    return f"batchrun status {command}"


def _troubles(result: Result) -> list[tuple[tuple[ExitCode, str], int]]:
    """Jobs that are not fine, by the code that they call for and the kind."""
    found: Counter[tuple[ExitCode, str]] = Counter()
    twins = 0
    for view in result.batches:
        for (state, kind), count in view.troubles.items():
            if kind == "twin":
                twins += count
                continue
            if state in NEEDS_PERSON:
                found[ExitCode.NEEDS_PERSON, state.value] += count
            elif kind in PERSON_KINDS:
                found[ExitCode.NEEDS_PERSON, kind] += count
            elif state is JobState.FAILED:
                found[ExitCode.SOME_FAILED, "failed"] += count
            else:
                found[_LATER, kind] += count
    if twins and not any(code is ExitCode.NEEDS_PERSON for code, _ in found):
        found[ExitCode.NEEDS_PERSON, "twin"] += twins  # what keeps it is a job of another manifest
    _add_what_the_run_says(found, result)
    return list(found.items())


def _add_what_the_run_says(found: Counter[tuple[ExitCode, str]], result: Result) -> None:
    """What a run knows beside the states of its jobs."""
    mistakes = result.endings.get(Ending.UNEXPECTED, 0)
    if mistakes and (ExitCode.NEEDS_PERSON, UNEXPECTED) not in found:
        found[ExitCode.NEEDS_PERSON, UNEXPECTED] += mistakes  # the job went on all the same, or is not asked for
    unagreed = sum(plan.counts[Reason.NOT_AGREED] for plan in result.plans.values())
    if unagreed:
        found[ExitCode.NEEDS_PERSON, _NOT_AGREED] += unagreed
    if result.lost.count:
        found[ExitCode.NEEDS_PERSON, OUTPUT_LOST] += result.lost.count


def exit_code(reasons: Sequence[ExitReason], result: Result) -> ExitCode:
    """The process's exit status. 2 says that nothing was spent; 1 says that nobody knows, and hides whatever else there is."""
    if result.problem is not None and (not result.bought or result.problem.exit_code is ExitCode.UNEXPECTED):
        return result.problem.exit_code
    return most_urgent({reason.code for reason in reasons})


def _code_of_problem(result: Result) -> ExitCode:
    """Of a manifest that cannot be used beside others that could, or at the second reading: some jobs were not done."""
    code = ExitCode.DONE if result.problem is None else result.problem.exit_code
    return ExitCode.SOME_FAILED if code is ExitCode.USAGE and result.bought else code


def _queued(result: Result) -> int:
    return sum(view.counts.get(JobState.QUEUED, 0) for view in result.batches)


def _left(result: Result) -> int:
    return _queued(result) + sum(view.counts.get(state, 0) for view in result.batches for state in COLLECTABLE)


# ---------------------------------------------------------------------- counts


def counts_of(view: BatchView, result: Result | None) -> dict[str, int]:
    """Jobs by state, summing to `total`.

    `up_to_date` were done before this run, and so were `not_agreed`, whose inputs have changed since: nobody has agreed
    to buy them anew.
    """
    counts = {state.value: view.counts.get(state, 0) for state in JobState}
    before = not_agreed = 0
    if result is not None:
        plan = result.plans.get(view.name)
        if plan is not None:
            before = min(plan.were_done, counts[JobState.DONE])
            not_agreed = min(plan.not_agreed, before)
        else:  # nothing was read: only what this run collected is new
            before = max(0, counts[JobState.DONE] - result.endings.get(Ending.DONE, 0))
    counts[JobState.DONE] -= before
    ordered = {"done": counts.pop("done"), "up_to_date": before - not_agreed, "not_agreed": not_agreed, **counts}
    return ordered | {"total": sum(ordered.values())}


def money_json(balance: Balance, caps: Sequence[CapView]) -> dict[str, Any]:
    """Money as decimal strings."""
    return {
        "spent_usd": decimal_usd(balance.spent_usd_micros),
        "held_usd": decimal_usd(balance.held_usd_micros),
        "caps": [
            {
                "name": cap.name,
                "limit_usd": decimal_usd(cap.limit_usd_micros),
                "settled_usd": decimal_usd(cap.balance.spent_usd_micros),
                "held_usd": decimal_usd(cap.balance.held_usd_micros),
                "left_usd": decimal_usd(cap.left_usd_micros),
            }
            for cap in caps
        ],
    }


def counts_json(views: Sequence[BatchView], result: Result | None) -> dict[str, Any]:
    """Every batch with its counts, and the same counts over all."""
    batches = [{"name": view.name, **counts_of(view, result), "removed_from_manifest": view.removed} for view in views]
    names = [*counts_of(BatchView(batch_id=0, name="", manifest="", campaign=None), None)]
    return {"batches": batches} | {name: sum(batch[name] for batch in batches) for name in names}  # type: ignore[misc]  # all int


def run_json(result: Result, reasons: Sequence[ExitReason], code: ExitCode) -> Mapping[str, Any]:
    """The one object that `--json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": result.run_id,
        **counts_json(result.batches, result),
        **money_json(result.balance, result.caps),
        "run_spent_usd": decimal_usd(result.run_balance.spent_usd_micros),
        "refund_due_usd": decimal_usd(result.refund_due_usd_micros),
        "run_held_usd": decimal_usd(result.run_balance.held_usd_micros),
        "submitted": result.bought,
        "duration_s": round(result.duration_s, 3),
        "exit_code": int(code),
        "exit_reasons": [
            {
                "code": int(one.code),
                "kind": one.kind,
                "count": one.count,
                "next_command": one.next_command,
                "advice": one.advice,
            }
            for one in reasons
        ],
        "not_fine": problems_json(result.batches, result.lost),
        "late_charges": [
            {"batch": one.batch, "id": one.key, "prediction_id": one.prediction_id, "attempt_id": one.attempt_id}
            for one in result.late
        ],
        **warnings_json(result.batches),
        **skipped_json(result.skipped),
        "warnings": result.warnings,
    }


# ---------------------------------------------------------------------- lines


def run_lines(
    result: Result, reasons: Sequence[ExitReason], *, preview: bool, real_price_usd_micros: int, real_time: str = ""
) -> list[str]:
    """The summary for people."""
    lines = [batch_line(view, counts_of(view, result)) for view in result.batches]
    lines += [*problem_lines(result.batches, result.lost), *warning_lines(result.batches)]
    lines += skipped_lines(result.skipped)
    lines += [f"{rerun}: left as they are, nobody has agreed" for rerun in result.declined]
    if preview:
        time = f" and take about {real_time}" if real_time else ""
        what = "The real run of all jobs" if result.is_selection else "The real run"
        lines.append(f"Nothing was spent. {what} would cost at most {format_usd(real_price_usd_micros)}{time}.")
    else:
        lines.append(_money_line(result))
        lines += [
            f"  {cap.name}: {format_usd(cap.limit_usd_micros)}, {format_usd(cap.left_usd_micros)} left"
            for cap in result.caps
        ]
    if result.capped:
        lines += sorted({_capped_line(capped) for capped in result.capped})
    if result.refund_due_usd_micros:
        due = format_usd(result.refund_due_usd_micros)
        lines.append(
            f"{due} of what is held may come back as refunds of failed tasks, within hours; nobody waits for them"
        )
    lines += _late_lines(result.late)
    lines += [halt.message for halt in result.halts.values()]
    lines += [f"next: {step}" for step in dict.fromkeys(one.advice or one.next_command for one in reasons)]
    return lines


def batch_line(view: BatchView, counts: Mapping[str, int]) -> str:
    """One batch and its counts."""
    words = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count and name != "total"]
    removed = f"; {jobs_text(view.removed)} no longer in the manifest" if view.removed else ""
    return f"{view.name}: {jobs_text(counts['total'])}: {', '.join(words) or 'none'}{removed}"


def jobs_text(count: int) -> str:
    """So many jobs, in words."""
    return "1 job" if count == 1 else f"{count:,} jobs"


def skipped_lines(skipped: Mapping[str, SkippedRows]) -> list[str]:
    """The first rows of each batch that were left out, and how many there are."""
    lines: list[str] = []
    for batch, rows in skipped.items():
        if rows.count:
            noun = "row is" if rows.count == 1 else "rows are"
            lines.append(f"{batch}: {rows.count:,} {noun} left out (`on_invalid: skip`):")
            lines += [f"  {problem}" for problem in rows.problems[:SHOWN]]
        if len(rows.problems) > SHOWN:
            lines.append("  … and more; see --json")
    return lines


def skipped_json(skipped: Mapping[str, SkippedRows]) -> dict[str, object]:
    """The same for scripts."""
    return {
        "skipped_rows": sum(rows.count for rows in skipped.values()),
        "skipped": [problem.as_json() for rows in skipped.values() for problem in rows.problems],
    }


def _money_line(result: Result) -> str:
    run, total = result.run_balance, result.balance
    held = f", {format_usd(total.held_usd_micros)} held" if total.held_usd_micros else ""
    return f"this run {format_usd(run.committed_usd_micros)}, in all {format_usd(total.spent_usd_micros)} spent{held}"


def _late_lines(late: Sequence[LateCharge]) -> list[str]:
    """Clips that were bought beside those that replaced them: which, and where they are."""
    if not late:
        return []
    noun = "submit that was given up exists" if len(late) == 1 else "submits that were given up exist"
    lines = [f"{len(late):,} {noun} after all: charged, and what no job needs is kept in late/ beside the queue:"]
    lines += [f"  {one.batch}/{one.key}: prediction {one.prediction_id}" for one in late[:SHOWN]]
    if len(late) > SHOWN:
        lines.append(f"  … and {len(late) - SHOWN:,} more; see --json")
    return lines


def _capped_line(capped: Capped) -> str:
    reached, price = capped.reached, capped.price_usd_micros
    enough = reached.cap.limit_usd_micros + price - reached.left_usd_micros
    left, limit = format_usd(max(0, reached.left_usd_micros)), format_usd(reached.cap.limit_usd_micros)
    text = f"cap {reached.cap.name} of {limit} reached: {left} left, the next clip costs {format_usd(price)}"
    if reached.cap.name == KEEP_BALANCE:
        return f"{text}; top the account up, or keep less"
    if reached.cap.name == MAX_SPEND:
        return f"{text}; that was for this run alone"
    return f"{text}; {format_usd(enough)} would be enough for it"
