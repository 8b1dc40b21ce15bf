"""One job, from the state in which it is found to its end: upload, submit, wait, download, check.

There is no separate way to resume: a claim hands out any unfinished job, and the worker goes on from there.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from batchrun.clock import Clock
from batchrun.errors import LostLeaseError
from batchrun.manifest.catalogue import models
from batchrun.manifest.pictures import Picture, PictureError, read_picture
from batchrun.provider import uploads
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.provider.outcome import (
    Accepted,
    NotFoundError,
    NotSent,
    Prediction,
    Progress,
    ProviderError,
    RefusalKind,
    Refused,
    SubmitOutcome,
    TryLaterError,
    Unknown,
)
from batchrun.queue.failures import FailureKind, may_try_again
from batchrun.queue.records import Attempt, Cap, CapReached, Gone, Job, Started, SubmitRequest, Upload
from batchrun.queue.states import AttemptState, JobState
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.health import Health
from batchrun.run.poller import Poller, StuckError
from batchrun.run.polling import backoff_s
from batchrun.run.retry import failure_kind
from batchrun.run.starter import Starter
from batchrun.video.boxes import BrokenClipError
from batchrun.video.check import ClipFacts, check_clip
from batchrun.video.download import PartFile, download, flush, sha256_of
from batchrun.video.place import OccupiedError, part_path, place, quarantine_path

T = TypeVar("T")

SEND_WITHIN_S = 30.0
"""A POST leaves this soon after its intent is written, or not at all."""
_THROTTLED_S = 65.0
"""A 429 without `Retry-After`: the provider's window is a minute."""
_FREE_TRIES = 8
"""Uploads and downloads of one go; both cost nothing and go on in a later run."""
_DOWNLOADS = 3
"""Fresh downloads of a clip that arrives broken, before it is rejected."""
_PUT_OFF_S = 60.0
_PUT_OFFS = 2
_NEXT_RUN_S = 3600.0
"""A job that was put off more often in one run is left to the next one."""


class Ending(StrEnum):
    """How the worker left a job."""

    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    AGAIN = "again"
    """Queued once more, now or a little later."""
    PUT_OFF = "put off"
    """In flight still; a later look may succeed."""
    CAPPED = "capped"
    GONE = "gone"
    """Another process has it."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker works with; one set a run."""

    queue: Queue
    client: Client
    http: Http
    clock: Clock
    starter: Starter
    poller: Poller
    health: Health
    observer: Observer
    chance: random.Random
    new_id: Callable[[], str]
    caps: Callable[[int], tuple[Cap, ...]]
    """The caps of a batch, by its id."""
    price: Callable[[Job], int]
    """What a job is reserved at: the quote of the day."""
    day: Callable[[int], str]
    """The calendar day of a batch, now."""
    halt: Callable[[RefusalKind, str], None]
    """The account or the key is the problem: start nothing more."""
    capped: Callable[[Job, CapReached], None]
    """A cap left no room for the job."""
    folder: Path
    """The queue's folder: quarantine and history."""
    put_offs: dict[int, int] = field(default_factory=dict)
    """How often each job was put off in this run."""
    keeping: set["asyncio.Task[Any]"] = field(default_factory=set)
    """Facts being written down; a run ends only after them."""


class Worker:
    """Carries one job."""

    def __init__(self, tools: Tools, job: Job) -> None:
        self._tools = tools
        self._job = job
        self._fresh_url = False
        """The output's address came from the provider in this run; those of earlier runs may have expired."""

    async def carry(self) -> Ending:
        """Work on the job until there is nothing left to do for it now.

        Cancelling is safe at every await: what the provider answered is written down first.
        """
        try:
            while True:
                ending = await self._step()
                if ending is not None:
                    return ending
        except LostLeaseError as error:
            self._tell(Kind.LEASE_LOST, str(error))
            return Ending.GONE

    async def _step(self) -> Ending | None:
        match self._job.state:
            case JobState.QUEUED:
                return await self._buy()
            case JobState.SUBMITTING:
                return await self._left_behind()
            case JobState.RUNNING:
                return await self._wait()
            case JobState.DOWNLOADING:
                return await self._collect()
            case _:
                await self._tools.queue.release(self._job)
                return Ending.UNKNOWN

    # ------------------------------------------------------------------ buy

    async def _buy(self) -> Ending | None:
        job = self._job
        if await asyncio.to_thread(job.output.exists) and job.placed_sha256 is None:
            message = f"{job.output} exists and was not written by this queue; move it away, then run again"
            return await self._fail_unbought(FailureKind.OUTPUT_OCCUPIED, message)
        try:
            upload = await self._upload()
        except PictureError as error:
            return await self._fail_unbought(FailureKind.PICTURE_UNUSABLE, str(error))
        except ProviderError as error:
            return await self._put_off("upload_failed", str(error))
        request = self._request(upload)
        decision = await self._tools.starter.start(request)
        match decision:
            case Started():
                return await self._submit(request)
            case CapReached():
                self._tools.capped(job, decision)
                await self._tools.queue.release(job)
                return Ending.CAPPED
            case Gone():
                return Ending.GONE
            case _:
                raise TypeError(f"unexpected decision {decision!r}")

    def _request(self, upload: Upload) -> SubmitRequest:
        job, tools = self._job, self._tools
        return SubmitRequest(
            job_id=job.job_id,
            batch_id=job.batch_id,
            revision_id=job.revision.revision_id,
            attempt_id=upload.attempt_id,
            price_usd_micros=tools.price(job),
            image_url=upload.url,
            priority=job.priority,
            caps=tools.caps(job.batch_id),
            day=tools.day(job.batch_id),
        )

    async def _upload(self) -> Upload:
        """The picture where the provider can read it, under a name that belongs to the attempt to come."""
        job, tools = self._job, self._tools
        now_ms = tools.clock.now_ms()
        if job.revision.image_url is not None:
            return Upload(attempt_id=tools.new_id(), url=job.revision.image_url, uploaded_ms=now_ms)
        if job.upload is not None and now_ms - job.upload.uploaded_ms < uploads.MAX_AGE_MS:
            return job.upload
        picture, data = await asyncio.to_thread(_planned_picture, job)
        attempt_id = tools.new_id()
        name = f"br-{tools.queue.identity.queue_id}-{attempt_id}{_SUFFIX[picture.content_type]}"
        url = await self._free(lambda: uploads.upload(tools.client, name, data, picture.content_type))
        upload = Upload(attempt_id=attempt_id, url=url, uploaded_ms=tools.clock.now_ms())
        await tools.queue.record_upload(job, upload)
        self._tell(Kind.UPLOADED)
        return upload

    async def _submit(self, request: SubmitRequest) -> Ending | None:
        """The one POST of the attempt. Whatever comes back is written down, also when the run is being stopped."""
        send_by_boot_s = self._tools.clock.boot_s() + SEND_WITHIN_S
        self._tell(Kind.INTENT, usd_micros=request.price_usd_micros)
        try:
            outcome = await self._tools.client.submit(self._job.revision.model, self._inputs(request), send_by_boot_s)
        except asyncio.CancelledError:
            await self._keep(self._record(request, Unknown("stopped while the provider had not answered")))
            raise
        self._tell(Kind.ANSWERED)
        return await self._keep(self._record(request, outcome))

    def _inputs(self, request: SubmitRequest) -> Mapping[str, object]:
        """The documented fields only; what is empty is left out."""
        revision = self._job.revision
        inputs: dict[str, object] = {
            "prompt": revision.prompt,
            "image": request.image_url,
            "guidance_scale": revision.guidance_hundredths / 100,
            "duration": revision.duration_s,
        }
        if revision.negative_prompt:
            inputs["negative_prompt"] = revision.negative_prompt
        return inputs

    async def _record(self, request: SubmitRequest, outcome: SubmitOutcome) -> Ending | None:
        queue, attempt_id = self._tools.queue, request.attempt_id
        match outcome:
            case Accepted(prediction):
                await queue.record_accepted(attempt_id, prediction.prediction_id, prediction.status_word)
                self._tools.health.worked()
                self._tell(Kind.ACCEPTED, prediction.prediction_id)
                self._job = replace(
                    self._job, state=JobState.RUNNING, attempt=self._attempt(request, prediction.prediction_id)
                )
                return None
            case Refused():
                return await self._refused(attempt_id, outcome)
            case NotSent(message):
                self._tools.health.failed(message)
                retry_ms = self._tools.clock.now_ms() + int(1000 * backoff_s(2, self._tools.chance.random(), None))
                await queue.record_nothing_created(attempt_id, AttemptState.VOID, None, message, retry_ms, "not_sent")
                self._tell(Kind.NOT_SENT, message)
            case Unknown(message):
                await queue.record_unknown(attempt_id, message)
                self._tell(Kind.UNKNOWN, message)
                return Ending.UNKNOWN
        self._tools.starter.slot_freed()
        return Ending.AGAIN

    async def _refused(self, attempt_id: str, refused: Refused) -> Ending:
        tools, now_ms = self._tools, self._tools.clock.now_ms()
        message = f"refused with {refused.code}: {refused.message}"
        retry_ms: int | None = now_ms
        if refused.kind is RefusalKind.REQUEST:
            retry_ms = None
        elif refused.kind is RefusalKind.THROTTLED:
            spread = 1 + tools.chance.random() / 10
            delay_s = refused.retry_after_s if refused.retry_after_s is not None else _THROTTLED_S * spread
            retry_ms = now_ms + int(delay_s * 1000)
            tools.starter.hold(delay_s)
        else:
            tools.halt(refused.kind, message)
        await tools.queue.record_nothing_created(
            attempt_id, AttemptState.REFUSED, refused.code, message, retry_ms, FailureKind.REFUSED
        )
        tools.starter.slot_freed()
        self._tell(Kind.REFUSED, message)
        return Ending.FAILED if retry_ms is None else Ending.AGAIN

    async def _left_behind(self) -> Ending:
        """An earlier run died between writing the intent and writing the answer: nobody knows what became of it."""
        job = self._job
        await self._tools.queue.record_unknown(_attempt(job).attempt_id, "the run ended while the submit was under way")
        self._tell(Kind.UNKNOWN, "left behind by a run that died")
        return Ending.UNKNOWN

    async def _fail_unbought(self, kind: FailureKind, message: str) -> Ending:
        await self._tools.queue.fail_unbought(self._job, kind, message)
        self._tell(Kind.FAILED, message)
        return Ending.FAILED

    # ------------------------------------------------------------------ wait

    async def _wait(self) -> Ending | None:
        attempt = _attempt(self._job)
        try:
            prediction = await self._tools.poller.wait(
                attempt.prediction_id or "", attempt.submitted_ms, lambda _: None
            )
        except StuckError as error:
            return await self._put_off("stuck", f"{error}; its money stays held")
        return await self._keep(self._ended(attempt, prediction))

    async def _ended(self, attempt: Attempt, prediction: Prediction) -> Ending | None:
        queue, starter = self._tools.queue, self._tools.starter
        if prediction.progress is Progress.COMPLETED and prediction.outputs:
            await queue.record_completed(attempt.attempt_id, prediction.status_word, prediction.outputs[0])
            starter.slot_freed()
            self._tell(Kind.COMPLETED)
            self._fresh_url = True
            self._job = replace(
                self._job,
                state=JobState.DOWNLOADING,
                attempt=replace(attempt, state=AttemptState.COMPLETED, output_url=prediction.outputs[0]),
            )
            return None
        kind = failure_kind(prediction.status_word, prediction.code)
        message = prediction.error or f"the provider says {prediction.status_word!r} without a clip"
        if prediction.code:
            message = f"{message} (code {prediction.code})"
        if kind is FailureKind.NO_CREDIT:
            self._tools.halt(RefusalKind.CREDIT, message)
        again = may_try_again(kind, self._job.failed_attempts + 1)
        retry_ms = self._tools.clock.now_ms() + 1000 if again else None
        await queue.record_failed(attempt.attempt_id, prediction.status_word, prediction.code, message, retry_ms, kind)
        starter.slot_freed()
        self._tell(Kind.TASK_FAILED, message)
        return Ending.AGAIN if again else Ending.FAILED

    # ------------------------------------------------------------------ collect

    async def _collect(self) -> Ending:
        """Download, check and place the clip that is paid for."""
        job = self._job
        part = part_path(job.output, _attempt(job).attempt_id)
        try:
            if not await asyncio.to_thread(_ready_from_before, job, part):
                await self._fetch_and_check(part)
            return await self._place(part)
        except BrokenClipError as error:
            return await self._reject(part, str(error))
        except ProviderError as error:
            return await self._put_off("download_failed", str(error))
        except OccupiedError as error:
            return await self._put_off(FailureKind.OUTPUT_OCCUPIED, str(error))
        except OSError as error:
            return await self._put_off("disk", f"{job.output} cannot be written: {error.strerror or error}")

    async def _fetch_and_check(self, part: Path) -> None:
        """A whole, checked part file whose digest is on record."""
        for downloads in range(1, _DOWNLOADS + 1):
            got = await self._free(lambda: self._download(part))
            self._tell(Kind.DOWNLOADED)
            try:
                facts = await asyncio.to_thread(_checked, got, self._job.revision.duration_s)
            except BrokenClipError:
                if downloads == _DOWNLOADS:
                    raise
                continue
            await self._tools.queue.file_ready(self._job, got.sha256, got.size_bytes, facts.as_json())
            self._job = replace(self._job, file_sha256=got.sha256)
            self._tell(Kind.CHECKED)
            return

    async def _download(self, part: Path) -> PartFile:
        """From the known address, or from a fresh one where that does not work any more."""
        attempt, tools = _attempt(self._job), self._tools
        if self._fresh_url and attempt.output_url:
            try:
                return await download(tools.http.stream, attempt.output_url, part)
            except NotFoundError:
                self._fresh_url = False
        prediction = await tools.client.result(attempt.prediction_id or "")
        if not prediction.outputs:
            raise TryLaterError("download: the provider names no output any more")
        url = prediction.outputs[0]
        if url != attempt.output_url:
            await tools.queue.record_output_url(attempt.attempt_id, url)
            self._job = replace(self._job, attempt=replace(attempt, output_url=url))
        self._fresh_url = True
        try:
            return await download(tools.http.stream, url, part)
        except NotFoundError as error:
            raise TryLaterError(str(error)) from error

    async def _place(self, part: Path) -> Ending:
        job = self._job
        history = self._tools.folder / "history" / job.batch / f"{job.key}.{(job.placed_sha256 or '')[:12]}.mp4"
        return await self._keep(self._place_and_finish(part, history))

    async def _place_and_finish(self, part: Path, history: Path) -> Ending:
        job = self._job
        await asyncio.to_thread(place, part, job.output, job.file_sha256 or "", job.placed_sha256, history)
        self._tell(Kind.PLACED)
        await self._tools.queue.finish(job)
        self._tell(Kind.DONE)
        return Ending.DONE

    async def _reject(self, part: Path, message: str) -> Ending:
        job = self._job
        kept = quarantine_path(self._tools.folder, job.batch, job.key, _attempt(job).attempt_id)
        await asyncio.to_thread(_keep_rejected, part, kept)
        await self._tools.queue.reject(job, FailureKind.BROKEN_CLIP, f"{message}; kept as {kept}")
        self._tell(Kind.REJECTED, message)
        return Ending.REJECTED

    # ------------------------------------------------------------------ helpers

    async def _keep(self, fact: Coroutine[Any, Any, T]) -> T:
        """Carry a fact to the end, also when the worker is cancelled meanwhile."""
        task = asyncio.create_task(fact)
        self._tools.keeping.add(task)
        task.add_done_callback(self._tools.keeping.discard)
        return await asyncio.shield(task)

    async def _free(self, request: Callable[[], Any]) -> Any:  # noqa: ANN401  # the request's own value
        """A request that costs nothing, tried again with growing pauses."""
        tools = self._tools
        for tries in range(1, _FREE_TRIES + 1):
            try:
                value = await request()
            except TryLaterError as error:
                tools.health.failed(str(error))
                if tries == _FREE_TRIES:
                    raise
                await tools.clock.sleep(backoff_s(tries, tools.chance.random(), error.retry_after_s))
            else:
                tools.health.worked()
                return value
        raise AssertionError("unreachable")

    async def _put_off(self, kind: str, message: str) -> Ending:
        tools, job_id = self._tools, self._job.job_id
        tools.put_offs[job_id] = tools.put_offs.get(job_id, 0) + 1
        delay_s = _PUT_OFF_S if tools.put_offs[job_id] <= _PUT_OFFS else _NEXT_RUN_S
        not_before_ms = tools.clock.now_ms() + int(delay_s * 1000)
        await self._tools.queue.put_off(self._job, not_before_ms, kind, message)
        self._tell(Kind.PUT_OFF, message)
        return Ending.PUT_OFF

    def _attempt(self, request: SubmitRequest, prediction_id: str) -> Attempt:
        return Attempt(
            attempt_id=request.attempt_id,
            state=AttemptState.RUNNING,
            prediction_id=prediction_id,
            submitted_ms=self._tools.clock.now_ms(),
            output_url=None,
            price_usd_micros=request.price_usd_micros,
        )

    def _tell(self, kind: Kind, detail: str = "", usd_micros: int = 0) -> None:
        self._tools.observer(Event(kind, self._job.batch, self._job.key, detail, usd_micros=usd_micros))


_SUFFIX = {"image/jpeg": ".jpg", "image/png": ".png"}


def _attempt(job: Job) -> Attempt:
    if job.attempt is None:
        raise ValueError(f"job {job.key} in state {job.state} has no attempt")
    return job.attempt


def _planned_picture(job: Job) -> tuple[Picture, bytes]:
    """The picture's bytes, when they are still those that were planned. Blocks."""
    path, revision = job.revision.image_path, job.revision
    if path is None:
        raise PictureError("the job has no picture file")
    picture, data = read_picture(path, models()[revision.model].picture)
    if picture.sha256 != revision.image_sha256:
        raise PictureError(f"{path} changed since the manifest was read; run again")
    return picture, data


def _checked(part: PartFile, duration_s: int) -> ClipFacts:
    facts = check_clip(part.path, duration_s)
    flush(part.path)
    return facts


def _ready_from_before(job: Job, part: Path) -> bool:
    """An earlier run has checked the file and was stopped before or after giving it its name. Blocks."""
    if job.file_sha256 is None:
        return False
    return any(path.exists() and sha256_of(path) == job.file_sha256 for path in (part, job.output))


def _keep_rejected(part: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    part.replace(kept)
