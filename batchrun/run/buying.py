"""From a queued job to a prediction of ours: picture, upload, turn in line, the one POST, its answer on disk."""

import asyncio
from dataclasses import replace

from batchrun.errors import BatchrunError
from batchrun.manifest.catalogue import models
from batchrun.manifest.pictures import PictureChangedError, PictureError, read_same_picture
from batchrun.provider import uploads
from batchrun.provider.outcome import (
    Accepted,
    NotAllowedError,
    NotSent,
    Prediction,
    ProviderError,
    RefusalKind,
    Refused,
    RefusedError,
    SubmitOutcome,
    Unknown,
)
from batchrun.queue.answers import Recorded
from batchrun.queue.failures import FailureKind
from batchrun.queue.records import (
    Attempt,
    CapReached,
    CapsChanged,
    Closed,
    Job,
    Missed,
    Started,
    SubmitDecision,
    SubmitRequest,
    TooManyUnknown,
    TwinFirst,
    Upload,
)
from batchrun.queue.states import AttemptState, JobState
from batchrun.run.copying import copy_twin, wait_for_twin
from batchrun.run.events import Kind
from batchrun.run.halts import Halt, HaltKind, halt_of_refusal
from batchrun.run.mistakes import described
from batchrun.run.quotes import Quote, halt_of_dearer
from batchrun.run.retry import NOT_SENT, UPLOAD, throttled_wait_s
from batchrun.run.saving import SaveGuard, halt_of_disk
from batchrun.run.sent import inputs_of
from batchrun.run.tools import Carried, Ending
from batchrun.video.place import OccupiedError, check_names, is_foreign

_SUFFIX = {"image/jpeg": ".jpg", "image/png": ".png"}


async def buy(carried: Carried) -> Ending | None:
    """Buy the job's clip when it is its turn. None when its prediction is running now."""
    job = carried.job
    # First: a copy that was stopped between its rename and its record stands there already, and is ours.
    if (ending := await copy_twin(carried)) is not None:
        return ending
    if (ending := await _without_place(carried)) is not None:
        return ending
    if carried.tools.price(job) > job.price_usd_micros > 0:  # not seen at the start: it was at the provider then
        quote = Quote(job.revision.model, job.revision.duration_s, carried.tools.price(job), job.price_usd_micros)
        carried.tools.halt(halt_of_dearer(quote))
        await carried.tools.queue.release(job)
        return Ending.CLOSED
    start_by_ms = carried.tools.start_by_ms(job)
    if start_by_ms is not None and carried.tools.clock.now_ms() > start_by_ms:
        return await _step_back(carried, Missed())
    if (reached := await _cap_in_the_way(carried)) is not None:
        carried.tools.capped(job, reached)
        await carried.tools.queue.release(job)
        return Ending.CAPPED
    try:
        upload = await _upload(carried)
    except PictureChangedError as error:
        return await _plan_again(carried, str(error))
    except (PictureError, RefusedError) as error:
        return await _fail_unbought(carried, FailureKind.PICTURE_UNUSABLE, str(error))
    except NotAllowedError:
        raise
    except ProviderError as error:
        return await carried.put_off("upload_failed", str(error))
    return await _start(carried, _request(carried, upload))


async def _without_place(carried: Carried) -> Ending | None:
    """The job's end for now where its clip could not be saved; None when it can."""
    job = carried.job
    try:
        unsaved = await asyncio.to_thread(_no_place, job, carried.tools.saves)
    except OccupiedError:
        message = f"{job.output} exists and was not written by this queue; move it away, then run again"
        return await _fail_unbought(carried, FailureKind.OUTPUT_OCCUPIED, message)
    except OSError as error:  # of this one name: the folder as a whole is the guard's business
        text = f"nothing is bought for {job.output}, where no clip could be saved: {error.strerror or error}"
        return await carried.put_off("disk", text, passes=False)
    if unsaved is not None:
        carried.tools.halt(unsaved)
        await carried.tools.queue.release(job)
        return Ending.CLOSED
    return None


def _no_place(job: Job, saves: SaveGuard) -> Halt | None:
    """Why no clip could be saved in the job's folder. Blocks. Raises OccupiedError, OSError: only its name is the trouble."""
    if is_foreign(job.output, job.placed_sha256):
        raise OccupiedError
    unsaved = saves.halt(job.output)
    if unsaved is not None:
        return unsaved
    try:
        check_names(job.output)
    except NotADirectoryError as error:  # the folder went away since it was looked at
        return halt_of_disk(job.output, error)
    return None


async def _cap_in_the_way(carried: Carried) -> CapReached | None:
    """A look before anything is uploaded; what counts is decided where the money is reserved."""
    job, tools = carried.job, carried.tools
    price = tools.price(job)
    for cap in tools.caps(job.batch_id):
        left = cap.limit_usd_micros - (await tools.queue.balance(cap.scope)).committed_usd_micros
        if price > left:
            return CapReached(cap, left)
    return None


async def _start(carried: Carried, request: SubmitRequest) -> Ending | None:
    """Wait in line, and buy or step back."""
    decision = await carried.tools.starter.start(request)
    if isinstance(decision, Started):
        # From here on nothing is lost when the worker is cancelled: the POST and its record are one fact.
        return await carried.keep(_submit(carried, request, decision))
    if isinstance(decision, TwinFirst):
        return await wait_for_twin(carried)
    return await _step_back(carried, decision)


async def _step_back(carried: Carried, decision: SubmitDecision) -> Ending:
    """The job is not bought now; why not may concern others."""
    job, tools = carried.job, carried.tools
    ending = Ending.GONE
    match decision:
        case CapReached():
            tools.capped(job, decision)
            ending = Ending.CAPPED
        case CapsChanged():
            tools.reread(job)
            ending = Ending.OUTDATED if tools.plans_again else Ending.CLOSED
        case Missed():
            tools.halt(Halt(HaltKind.DEADLINE, f"{job.batch}/{job.key} would most likely not be ready by the deadline"))
            ending = Ending.CLOSED
        case TooManyUnknown(count):
            submits, settled = ("1 submit", "it is") if count == 1 else (f"{count} submits", "some of them are")
            message = f"{submits} with unknown outcome: nothing new is bought until {settled} settled"
            tools.halt(Halt(HaltKind.TOO_MANY_UNKNOWN, message))
            ending = Ending.CLOSED
        case Closed():
            ending = Ending.CLOSED
    await tools.queue.release(job)
    return ending


def _request(carried: Carried, upload: Upload) -> SubmitRequest:
    job, tools = carried.job, carried.tools
    return SubmitRequest(
        job_id=job.job_id,
        batch_id=job.batch_id,
        revision_id=job.revision.revision_id,
        attempt_id=upload.attempt_id,
        price_usd_micros=tools.price(job),
        image_url=upload.url,
        priority=job.priority,
        caps=tools.caps(job.batch_id),
        caps_read=tools.caps_read(job.batch_id),
        zone=tools.zone(job.batch_id),
        start_by_ms=tools.start_by_ms(job),
        spurned=carried.spurned,
    )


async def _upload(carried: Carried) -> Upload:
    """The picture where the provider can read it, under a name that belongs to the attempt to come."""
    job, tools = carried.job, carried.tools
    now_ms = tools.clock.now_ms()
    if job.revision.image_url is not None:
        return Upload(attempt_id=tools.new_id(), url=job.revision.image_url, uploaded_ms=now_ms)
    if job.upload is not None and now_ms - job.upload.uploaded_ms < uploads.MAX_AGE_MS:
        return job.upload
    content_type, data = await asyncio.to_thread(_planned_picture, job)
    attempt_id = tools.new_id()
    name = f"br-{tools.queue.identity.queue_id}-{attempt_id}{_SUFFIX[content_type]}"
    url = await carried.free(lambda: uploads.upload(tools.client, name, data, content_type), UPLOAD)
    upload = Upload(attempt_id=attempt_id, url=url, uploaded_ms=tools.clock.now_ms())
    await tools.queue.record_upload(job, upload)
    carried.tell(Kind.UPLOADED)
    return upload


def _planned_picture(job: Job) -> tuple[str, bytes]:
    """The picture's content type and bytes, when they are still those that were planned. Blocks."""
    path, sha256 = job.revision.image_path, job.revision.image_sha256
    if path is None or sha256 is None:
        raise PictureError("the job has no picture file")
    return read_same_picture(path, sha256, models()[job.revision.model].picture)


async def _plan_again(carried: Carried, message: str) -> Ending:
    """Another picture is another request: the plan says whether, and for how much, it is bought."""
    if not carried.tools.plans_again:
        return await _fail_unbought(carried, FailureKind.PICTURE_UNUSABLE, f"{message}, again and again; run again")
    await carried.tools.queue.outdate(carried.job)
    carried.tell(Kind.NOTE, f"{message}: it is planned again")
    return Ending.OUTDATED


async def _submit(carried: Carried, request: SubmitRequest, started: Started) -> Ending | None:
    """The one POST of the attempt, and what came back, written down."""
    carried.tell(Kind.INTENT, usd_micros=request.price_usd_micros)
    try:
        outcome = await carried.tools.client.submit(
            carried.job.revision.model, inputs_of(carried.job.revision, request.image_url), started.send_by_boot_s
        )
    except BatchrunError:
        raise
    except Exception as error:
        await _unforeseen(carried, request.attempt_id, error)
        raise
    carried.tell(Kind.ANSWERED)
    return await _record(carried, request, outcome)


async def _unforeseen(carried: Carried, attempt_id: str, error: Exception) -> None:
    """Whether the POST has left nobody knows. Said at once: a submit that waits for its answer keeps all others waiting."""
    message = f"the submit met an {described(error, carried.tools.http.without_key)}"
    if await carried.tools.queue.record_unknown(attempt_id, message):
        carried.tell(Kind.UNKNOWN, message)
        carried.tools.starter.slot_freed()


async def _record(carried: Carried, request: SubmitRequest, outcome: SubmitOutcome) -> Ending | None:
    tools, attempt_id = carried.tools, request.attempt_id
    match outcome:
        case Accepted(prediction):
            return await _accepted(carried, request, prediction)
        case Refused():
            return await _refused(carried, attempt_id, outcome)
        case NotSent(message):
            tools.health.failed(message)
            retry_ms = tools.clock.now_ms() + int(1000 * NOT_SENT.wait_s(1, tools.chance.random()))
            await tools.queue.record_nothing_created(attempt_id, AttemptState.VOID, None, message, retry_ms, "not_sent")
            carried.tell(Kind.NOT_SENT, message)
            tools.starter.slot_freed()
            return Ending.AGAIN
        case Unknown(message):
            return await _unknown(carried, attempt_id, message)


async def _accepted(carried: Carried, request: SubmitRequest, prediction: Prediction) -> Ending | None:
    """The answer may come so late that the attempt was given up meanwhile: it is recorded all the same."""
    tools, attempt_id, prediction_id = carried.tools, request.attempt_id, prediction.prediction_id
    recorded = await tools.queue.record_accepted(attempt_id, prediction_id, prediction.status_word)
    tools.health.worked()
    tools.starter.accepted()
    tools.starter.slot_freed()
    if recorded is Recorded.TAKEN:
        message = f"the provider answered with prediction {prediction_id}, which belongs to another attempt"
        return await _unknown(carried, attempt_id, message)
    if recorded is Recorded.SECOND:
        text = f"the provider made a second prediction of one submit, {prediction_id}; ask its support for the money"
        carried.tell(Kind.NOTE, text)
        return Ending.GONE
    if recorded in (Recorded.LATE_RUNNING, Recorded.LATE_APART):
        carried.tell(Kind.LATE, f"prediction {prediction_id} was created after all")
        return Ending.GONE
    carried.tell(Kind.ACCEPTED, prediction_id)
    carried.job = replace(carried.job, state=JobState.RUNNING, attempt=_running(carried, request, prediction_id))
    return None


async def _unknown(carried: Carried, attempt_id: str, message: str) -> Ending:
    await carried.tools.queue.record_unknown(attempt_id, message)
    carried.tools.health.failed(message)
    carried.tell(Kind.UNKNOWN, message)
    carried.tools.starter.slot_freed()
    return Ending.UNKNOWN


def _running(carried: Carried, request: SubmitRequest, prediction_id: str) -> Attempt:
    return Attempt(
        attempt_id=request.attempt_id,
        prediction_id=prediction_id,
        submitted_ms=carried.tools.clock.now_ms(),
        server_ahead_ms=carried.tools.client.server_ahead_ms,
        output_url=None,
    )


async def _refused(carried: Carried, attempt_id: str, refused: Refused) -> Ending:
    tools, now_ms = carried.tools, carried.tools.clock.now_ms()
    message = f"refused with {refused.code}: {refused.message}"
    retry_ms: int | None = now_ms
    if refused.kind is RefusalKind.REQUEST:
        retry_ms = None
    elif refused.kind is RefusalKind.THROTTLED:
        delay_s = throttled_wait_s(refused.retry_after_s, tools.chance.random())
        retry_ms = now_ms + int(delay_s * 1000)
        tools.starter.throttled(delay_s)
    else:
        tools.halt(halt_of_refusal(refused.kind, message))
    await tools.queue.record_nothing_created(
        attempt_id, AttemptState.REFUSED, refused.code, message, retry_ms, FailureKind.REFUSED
    )
    tools.starter.slot_freed()
    carried.tell(Kind.FAILED if retry_ms is None else Kind.REFUSED, message)
    return Ending.FAILED if retry_ms is None else Ending.AGAIN


async def _fail_unbought(carried: Carried, kind: FailureKind, message: str) -> Ending:
    await carried.tools.queue.fail_unbought(carried.job, kind, message)
    carried.tell(Kind.FAILED, message)
    return Ending.FAILED
