"""Runs, leases and claims: who works on what. Only a claim takes over an expired lease."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from batchrun.errors import LostLeaseError
from batchrun.queue.script import Row, Script, ask, ask_one


@dataclass(frozen=True, slots=True)
class ClaimScope:
    """One batch to claim from, and the price below which a job may be claimed."""

    batch_id: int
    price_below_usd_micros: int
    cheapest_usd_micros: int = 0
    """No job of the batch costs less."""
    chosen_only: bool = False
    """Only the jobs that this run was asked for."""

    @property
    def may_hold_something(self) -> bool:
        """Whether any job can be below the bound."""
        return self.price_below_usd_micros > self.cheapest_usd_micros


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a run holds what it claims. A claim renews the lease of everything that the run holds."""

    run_id: str
    now_ms: int
    lease_until_ms: int


def claim_paid(
    batch_ids: Sequence[int], lease: Lease, count: int, ready_ms: int, busy: Collection[int]
) -> Script[list[Row]]:
    """Lease jobs that are in flight, that no living run works on, and that are put off until `ready_ms` at most."""
    found: list[Row] = []
    for batch_id in batch_ids:
        found += yield from ask(
            "claimable_paid",
            batch_id=batch_id,
            run_id=lease.run_id,
            now_ms=lease.now_ms,
            ready_ms=ready_ms,
            count=count - len(found),
        )
    return (yield from _lease([row["job_id"] for row in found[:count] if row["job_id"] not in busy], lease))


def claim_queued(scopes: Sequence[ClaimScope], lease: Lease, count: int, busy: Collection[int]) -> Script[list[Row]]:
    """Lease the jobs to be bought next: highest priority first over all batches, then the manifests' order."""
    candidates: list[list[tuple[int, int, int, int]]] = []
    for order, scope in enumerate(scopes):
        rows = yield from ask(
            "claimable_queued",
            batch_id=scope.batch_id,
            run_id=lease.run_id,
            price_below_usd_micros=scope.price_below_usd_micros,
            now_ms=lease.now_ms,
            count=count,
            chosen_by=lease.run_id if scope.chosen_only else None,
        )
        candidates.append([(-row["priority"], order, row["position"], row["job_id"]) for row in rows])
    first = [job_id for *_, job_id in heapq.merge(*candidates) if job_id not in busy][:count]
    return (yield from _lease(first, lease))


def _lease(job_ids: Sequence[int], lease: Lease) -> Script[list[Row]]:
    if job_ids:
        yield from ask("renew_run", run_id=lease.run_id, lease_until_ms=lease.lease_until_ms)
    jobs: list[Row] = []
    for job_id in job_ids:
        yield from ask("take_lease", job_id=job_id, run_id=lease.run_id)
        row = yield from ask_one("read_job", job_id=job_id)
        if row is not None:
            jobs.append(row)
    return jobs


def guarded(statement: str, /, **params: object) -> Script[None]:
    """A transition that names the lease holder: no row changed means that the lease is lost.

    Raises:
        LostLeaseError: another run has taken the job over, or the job has moved on.
    """
    rows = yield from ask(statement, **params)
    if not rows:
        raise LostLeaseError(f"{statement}: job {params.get('job_id')} is no longer held by this run")


def something_left(
    paid: Mapping[int, bool], scopes: Sequence[ClaimScope], now_ms: int, patience_ms: int, run_id: str
) -> Script[bool]:
    """Whether a job is left that is ready soon enough: in flight in `paid`, or to be bought in `scopes`.

    Args:
        paid: batches, and whether the run is asked for each; of others what a living run holds is its own business.
        scopes: what is bought.
        now_ms: says which runs live.
        patience_ms: what is put off for longer than this is not waited for.
        run_id: this run.
    """
    for batch_id, is_asked_for in paid.items():
        row = yield from ask_one(
            "paid_left",
            batch_id=batch_id,
            is_asked_for=is_asked_for,
            now_ms=now_ms,
            patience_ms=now_ms + patience_ms,
            run_id=run_id,
        )
        if row and row["something"]:
            return True
    for scope in scopes:
        row = yield from ask_one(
            "queued_left",
            batch_id=scope.batch_id,
            price_below_usd_micros=scope.price_below_usd_micros,
            patience_ms=now_ms + patience_ms,
            run_id=run_id,
            chosen_by=run_id if scope.chosen_only else None,
        )
        if row and row["something"]:
            return True
    return False
