"""The queue as the rest of the program sees it: open it, ask it, tell it. One method a question or a fact."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from batchrun.clock import Clock
from batchrun.errors import StorageError
from batchrun.manifest.spool import chunks
from batchrun.queue import answers, leases, views
from batchrun.queue.access import Access
from batchrun.queue.answers import Recorded
from batchrun.queue.doubts import Doubts
from batchrun.queue.identity import identify
from batchrun.queue.leases import ClaimScope, Lease, guarded
from batchrun.queue.ledger import Books, up_to_date
from batchrun.queue.manifests import Manifests
from batchrun.queue.processes import is_gone, this_host
from batchrun.queue.records import (
    Balance,
    Identity,
    Job,
    Pace,
    Scope,
    SubmitDecision,
    SubmitRequest,
    Took,
    Upload,
)
from batchrun.queue.rescue import Rescue
from batchrun.queue.rows import job_of, took_of
from batchrun.queue.script import Database, Script, ScriptFactory, ask, ask_one, run_all
from batchrun.queue.sqlite import SqliteDatabase
from batchrun.queue.states import JobState
from batchrun.queue.submits import Moment, begin_submits
from batchrun.queue.twins import Twins
from batchrun.queue.wishes import Granted, JobName, Verb, grant

T = TypeVar("T")


class Connect(Protocol):
    """Opens a database, made and brought to the newest version when needed."""

    async def __call__(self, path: Path, *, create: bool) -> Database:
        """See `SqliteDatabase.open`."""


LEASE_MS = 60_000
"""A run that has not renewed its lease for so long is taken to be dead."""

_CLOCKS_DIFFER_MS = 900_000
"""So far apart may the clocks of living runs be; a lease from a clock that was set back by more has no owner."""
PATIENCE_MS = 300_000
"""A run waits this long for jobs that are put off; what is put off for longer is for a later run."""
FAR_FUTURE_MS = 2**53


class Queue:
    """One queue, opened by one process as one run."""

    def __init__(self, database: Database, clock: Clock, identity: Identity, path: Path, run_id: str) -> None:
        self._access = Access(database, clock, Rescue(path.resolve(), run_id))
        self._clock = clock
        self._books = Books()
        self._base = str(path.resolve().parent)
        self.path = path
        self.doubts = Doubts(self._access, self.real_path)
        self.twins = Twins(self._access, self.real_path, run_id)
        self.manifests = Manifests(self._access, self.stored_path, self.real_text, run_id)
        self.identity = identity
        self.run_id = run_id

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Clock,
        *,
        kind: str,
        origin: str | None,
        create: bool = True,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
        connect: Connect = SqliteDatabase.open,
    ) -> "Queue":
        """Open the queue file, made when needed.

        Args:
            path: the SQLite file.
            clock: where time comes from.
            kind: `paid` or `preview`; must be what the queue was made for.
            origin: the API's origin, which must be the queue's; None to only look.
            create: whether to make the file when there is none.
            new_id: makes ids that are unique in the world.
            connect: the database's adapter.

        Raises:
            QueueError: it belongs to another kind or origin, or cannot be used.
            StorageError: it cannot be read or written.
        """
        database = await connect(path, create=create)
        try:
            identity = await identify(database, path, kind, origin, new_id, clock.now_ms())
        except BaseException:
            await database.close()
            raise
        return cls(database, clock, identity, path, new_id())

    async def close(self) -> None:
        """Write what waits, then close."""
        await self._access.close()

    # ------------------------------------------------------------------ runs and leases

    async def start_run(self) -> list[Path]:
        """Say that this process works on the queue now, and book what earlier ones could not: files that never can be.

        Raises:
            StorageError: the disk is full, or what was rescued cannot be booked.
        """
        try:
            await asyncio.to_thread(self._access.rescue.prepare)
        except OSError as error:
            raise StorageError(f"no room beside the queue {self.path}: {error.strerror}") from error
        aside = await self._access.replay()
        lease, host = self._lease(), this_host()
        await self._access.write("end_lost_runs", latest_ms=lease.lease_until_ms + _CLOCKS_DIFFER_MS)
        for row in await self.read(lambda: ask("living_runs_here", host=host, now_ms=lease.now_ms, run_id=self.run_id)):
            if is_gone(row["pid"]):
                await self._access.write("end_run", run_id=row["run_id"])
        await self._access.write("start_run", host=host, pid=os.getpid(), **asdict(lease))
        return aside

    async def renew_run(self) -> None:
        """Keep the leases of this run alive. Raises StorageError when the run's row is gone."""
        if not await self._access.write("renew_run", **asdict(self._lease())):
            raise StorageError("this run is no longer known to the queue; was the file replaced? Start again")

    async def say_waiting(self, text: str | None) -> None:
        """What this run waits for just now, for whoever looks at the queue."""
        await self._access.write("say_waiting", run_id=self.run_id, waiting=text)

    async def end_run(self) -> None:
        """Give everything back."""
        await self._access.run(self._end_run)

    def _end_run(self) -> Script[None]:
        yield from ask("release_all", run_id=self.run_id)
        yield from ask("end_run", run_id=self.run_id)

    def _lease(self) -> Lease:
        now_ms = self._clock.now_ms()
        return Lease(self.run_id, now_ms, now_ms + LEASE_MS)

    # ------------------------------------------------------------------ paths

    def stored_path(self, path: Path) -> str:
        """A path as the queue stores it: relative to the queue's folder, so that both can move together."""
        return os.path.relpath(path, self._base)

    def real_path(self, stored: str) -> Path:
        """The path on this machine of what the queue stores."""
        return Path(self.real_text(stored))

    def real_text(self, stored: str) -> str:
        """The same as text, for a million of them."""
        return os.path.normpath(os.path.join(self._base, stored))  # noqa: PTH118  # text to text

    # ------------------------------------------------------------------ claims

    async def claim_paid(
        self, batch_ids: Sequence[int], count: int, *, put_off_too: bool, busy: Collection[int] = ()
    ) -> list[Job]:
        """Lease up to `count` jobs in flight that nobody works on, also those that are put off when asked for.

        Without those in `busy`: this run still works on them, though their lease was taken away.
        """
        lease = self._lease()
        ready_ms = FAR_FUTURE_MS if put_off_too else self._clock.now_ms()
        rows = await self._access.run(lambda: leases.claim_paid(batch_ids, lease, count, ready_ms, busy))
        return [job_of(row, self.real_path) for row in rows]

    async def claim_queued(self, scopes: Sequence[ClaimScope], count: int, *, busy: Collection[int] = ()) -> list[Job]:
        """Lease up to `count` jobs to be bought next, without those in `busy`."""
        lease = self._lease()
        rows = await self._access.run(lambda: leases.claim_queued(scopes, lease, count, busy))
        return [job_of(row, self.real_path) for row in rows]

    async def read_job(self, job_id: int) -> Job:
        """The job as it stands now."""
        row = await self._access.read(lambda: ask_one("read_job", job_id=job_id))
        if row is None:
            raise LookupError(f"the queue has no job {job_id}")
        return job_of(row, self.real_path)

    async def choose(self, batch_id: int, keys: Sequence[str]) -> None:
        """These are among the jobs that this run is asked for."""
        rows = [{"run_id": self.run_id, "batch_id": batch_id, "key": key} for key in keys]
        await self._access.run(lambda: run_all("choose", rows))

    async def choose_anew(self, batch_id: int) -> None:
        """Forget what this run was asked for before and has not bought."""
        await self._access.write("choose_anew", batch_id=batch_id, run_id=self.run_id)

    async def chosen(self, batch_ids: Sequence[int]) -> views.Chosen:
        """How the jobs stand that this run was asked for."""
        patience_ms = self._clock.now_ms() + PATIENCE_MS
        return await self.read(lambda: views.chosen(batch_ids, self.run_id, patience_ms))

    async def something_left(self, paid: Mapping[int, bool], scopes: Sequence[ClaimScope]) -> bool:
        """Whether a job is left that will be ready within `PATIENCE_MS`; see `leases.something_left`."""
        now_ms = self._clock.now_ms()
        return await self.read(lambda: leases.something_left(paid, scopes, now_ms, PATIENCE_MS, self.run_id))

    async def release(self, job: Job) -> None:
        """Give the lease back; the state stays."""
        await self._access.write("release", job_id=job.job_id, run_id=self.run_id)

    async def put_off(self, job: Job, not_before_ms: int, kind: str, message: str) -> None:
        """Give the lease back until later, with the reason."""
        await self._access.write(
            "job_put_off",
            job_id=job.job_id,
            run_id=self.run_id,
            not_before_ms=not_before_ms,
            kind=kind,
            message=message,
        )

    async def count_outdated_in_flight(self, batch_ids: Sequence[int]) -> int:
        """How many jobs of these batches are still busy with what their manifest no longer asks for."""
        found = 0
        for batch_id in batch_ids:
            row = await self.read(partial(ask_one, "outdated_in_flight", batch_id=batch_id))
            found += row["jobs"] if row else 0
        return found

    async def outdate(self, job: Job) -> None:
        """The job asks for something else than was planned: it waits for the next plan. Raises LostLeaseError."""
        await self._guarded("job_outdated", job_id=job.job_id)

    # ------------------------------------------------------------------ submit

    async def record_upload(self, job: Job, upload: Upload) -> None:
        """The picture lies at the provider for this attempt to come."""
        await self._access.write(
            "record_upload",
            attempt_id=upload.attempt_id,
            job_id=job.job_id,
            revision_id=job.revision.revision_id,
            url=upload.url,
            now_ms=upload.uploaded_ms,
        )

    async def begin_submits(
        self, requests: Sequence[SubmitRequest], pace: Pace, server_ahead_ms: int | None = None
    ) -> list[SubmitDecision]:
        """Reserve and write the intent for as many requests as slots, rate and caps allow."""
        moment, books = Moment(self._clock.now_ms(), self._clock.boot_s(), server_ahead_ms), self._books
        decisions, self._books = await self._access.run(
            lambda: begin_submits(requests, pace, books, self.run_id, moment)
        )
        return decisions

    async def fail_unbought(self, job: Job, kind: str, message: str) -> None:
        """The job cannot be bought: its picture is unusable. Raises LostLeaseError."""
        await self._guarded("job_failed_unbought", job_id=job.job_id, kind=kind, message=message)

    # ------------------------------------------------------------------ answers

    async def record_accepted(self, attempt_id: str, prediction_id: str, status_word: str) -> Recorded:
        """See `answers.record_accepted`."""
        recorded = await self._access.answer("accepted", attempt_id, prediction_id, status_word)
        assert isinstance(recorded, Recorded)  # noqa: S101  # what the script returns
        return recorded

    async def record_nothing_created(
        self, attempt_id: str, state: str, code: int | None, message: str, retry_ms: int | None, kind: str
    ) -> bool:
        """See `answers.record_nothing_created`."""
        return bool(await self._access.answer("nothing_created", attempt_id, state, code, message, retry_ms, kind))

    async def record_unknown(self, attempt_id: str, message: str) -> bool:
        """See `answers.record_unknown`."""
        return bool(await self._access.answer("unknown", attempt_id, message))

    async def record_completed(self, attempt_id: str, status_word: str, output_url: str | None) -> bool:
        """See `answers.record_completed`."""
        return bool(await self._access.answer("completed", attempt_id, status_word, output_url))

    async def record_failed(
        self, attempt_id: str, status_word: str, code: int | None, message: str, retry_ms: int | None, kind: str
    ) -> bool:
        """See `answers.record_failed`."""
        return bool(await self._access.answer("failed", attempt_id, status_word, code, message, retry_ms, kind))

    async def record_output_url(self, attempt_id: str, output_url: str) -> None:
        """The provider has handed out a fresh address for the clip."""
        await self._access.write("attempt_output_url", attempt_id=attempt_id, output_url=output_url)

    # ------------------------------------------------------------------ latencies

    async def record_latency(self, took: Took) -> None:
        """How long a prediction took, for the polling of later ones."""
        await self._access.write(
            "record_latency",
            model=took.model,
            duration_s=took.duration_s,
            place=took.place,
            took_ms=took.took_ms,
            now_ms=self._clock.now_ms(),
        )

    async def latencies(self) -> list[Took]:
        """What was recorded lately, oldest first."""
        return [took_of(row) for row in await self.read(lambda: ask("read_latencies"))]

    # ------------------------------------------------------------------ the file

    async def file_ready(self, job: Job, sha256: str, size_bytes: int, facts: str) -> None:
        """The part file is whole and checked: written down before it gets its name. Raises LostLeaseError."""
        await self._guarded(
            "job_file_ready",
            job_id=job.job_id,
            attempt_id=_attempt_id(job),
            sha256=sha256,
            size_bytes=size_bytes,
            facts=facts,
        )

    async def finish(self, job: Job) -> None:
        """The clip stands under its name, flushed to disk. Raises LostLeaseError."""
        await self._guarded("job_done", job_id=job.job_id, attempt_id=_attempt_id(job))

    async def reject(self, job: Job, kind: str, message: str, facts: str | None = None) -> None:
        """The clip is paid but fails its checks; `facts` are what was read of it. Raises LostLeaseError."""
        params = {"job_id": job.job_id, "attempt_id": _attempt_id(job), "kind": kind}
        await self._guarded("job_rejected", message=message, facts=facts, **params)

    async def lose(self, job: Job, message: str) -> None:
        """The clip is paid and cannot be had any more. Raises LostLeaseError."""
        params = {"job_id": job.job_id, "attempt_id": _attempt_id(job), "kind": "retention", "message": message}
        now_ms = self._clock.now_ms()
        await self._access.run(lambda: answers.record_lost(params | {"run_id": self.run_id, "now_ms": now_ms}))

    async def grant(self, verb: Verb, jobs: Sequence[JobName]) -> list[Granted]:
        """What a person asks of single jobs; see `wishes.grant`."""
        now_ms = self._clock.now_ms()
        return await self._access.run(lambda: grant(verb, jobs, now_ms))

    # ------------------------------------------------------------------ views

    async def balance(self, scope: Scope) -> Balance:
        """What is held and spent in a scope now."""
        before = self._books
        books = await self.read(lambda: up_to_date(before))
        return books.balance(scope)

    async def batches(self) -> list[views.BatchName]:
        """Every batch of the queue, without its jobs."""
        return await self.read(views.batch_names)

    async def batch_views(self, *, chosen_only: bool = False) -> list[views.BatchView]:
        """Every batch of the queue with its counts; of the jobs that this run was asked for, where that is asked."""
        now_ms, chosen_by = self._clock.now_ms(), self.run_id if chosen_only else None
        return await self.read(lambda: views.batch_views(now_ms, chosen_by))

    async def living_runs(self) -> list[views.RunView]:
        """The runs that work on the queue now."""
        now_ms = self._clock.now_ms()
        host, runs = this_host(), await self.read(lambda: views.living_runs(now_ms))
        return [run for run in runs if not (run.host == host and is_gone(run.pid))]

    async def jobs(self, batch_id: int, states: Collection[JobState] = tuple(JobState)) -> AsyncIterator[views.JobView]:
        """The jobs of a batch in these states, in the manifest's order; read a thousand at a time."""
        ids = await self.read(lambda: views.job_ids(batch_id, states))
        for some in chunks(ids):
            for job in await self.read(partial(views.job_views, some, self.real_path)):
                yield job

    async def read(self, script: ScriptFactory[T]) -> T:
        """Any script that only looks."""
        return await self._access.read(script)

    # ------------------------------------------------------------------ helpers

    async def _guarded(self, statement: str, /, **params: object) -> None:
        now_ms = self._clock.now_ms()
        await self._access.run(lambda: guarded(statement, run_id=self.run_id, now_ms=now_ms, **params))


def _attempt_id(job: Job) -> str:
    if job.attempt is None:
        raise ValueError(f"job {job.key} has no attempt")
    return job.attempt.attempt_id
