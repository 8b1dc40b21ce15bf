"""First frames: learnt from clips whose picture is known, and looked at when nothing else tells whose a clip is.

Image-to-video starts from the given picture (design, section 4a). The arithmetic is in `video.likeness`, the decision
in `run.frames`; here are the files and the downloads. Whatever cannot be looked at leaves the case undecided.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from batchrun.clock import Clock
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.provider.outcome import NotFoundError, Prediction, Progress, RefusedError, UnsafeUrlError
from batchrun.queue.records import Job, OpenSubmit, Revision
from batchrun.queue.store import Queue
from batchrun.run.evidence import Verdict
from batchrun.run.frames import Candidate, Threshold, Wanted, learn, match
from batchrun.run.sweeps import Sweep
from batchrun.video.boxes import BrokenClipError
from batchrun.video.download import Download, sha256_of
from batchrun.video.looks import FirstFrame, Look, NoLookError, first_frame, look_of_picture

ENOUGH_PAIRS = 60
"""Pictures that a queue learns from; more teach nothing and cost time."""
MAX_PICTURES = 20_000
MAX_CANDIDATES = 100
_MAX_CLIP_BYTES = 200_000_000


@dataclass(slots=True)
class LookBook:
    """What a queue has learnt. One a run."""

    queue: Queue
    _known: set[str] | None = None
    """Digests of the pictures that it has learnt from."""

    async def add(self, job: Job, attempt_id: str, clip: Path) -> None:
        """Learn from a checked clip, as long as there is something to learn. Never fails."""
        path, sha256 = job.revision.image_path, job.revision.image_sha256
        if path is None or sha256 is None:
            return
        if self._known is None:
            self._known = await self.queue.doubts.look_digests()
        if sha256 in self._known or len(self._known) >= ENOUGH_PAIRS:
            return
        self._known.add(sha256)  # before the work: many clips are finished at once
        pair = await asyncio.to_thread(_pair, path, sha256, clip)
        if pair is not None:
            await self.queue.doubts.record_look(attempt_id, sha256, pair[0].to_bytes(), pair[1].to_bytes())

    async def threshold(self) -> Threshold | None:
        """What the pairs teach; None while it is too little."""
        rows = await self.queue.doubts.looks(ENOUGH_PAIRS)
        pairs = [(Look.from_bytes(picture), Look.from_bytes(frame)) for _, picture, frame in rows]
        return await asyncio.to_thread(learn, pairs)


@dataclass(slots=True)
class FirstFrames:
    """Looks at the clips of predictions that may be ours. One a run; each clip is fetched once."""

    queue: Queue
    client: Client
    http: Http
    clock: Clock
    book: LookBook
    folder: Path
    _frames: dict[str, FirstFrame | None] = field(default_factory=dict)
    _looks: dict[Path, Look | None] = field(default_factory=dict)

    async def match(self, submits: Sequence[OpenSubmit], verdict: Verdict, sweep: Sweep) -> Mapping[str, str]:
        """See `reconcile.Matcher`."""
        names = {name for names in verdict.unclear.values() for name in names}
        threshold = await self.book.threshold() if 0 < len(names) <= MAX_CANDIDATES else None
        if threshold is None:
            return {}
        pictures = await self.queue.doubts.known_pictures()
        if len(pictures) > MAX_PICTURES:
            return {}
        requests = {one.sha256: one.requests for one in pictures}
        looks = [await self._wanted(submit, requests) for submit in submits]
        wanted = [one for one in looks if one is not None]
        if len(wanted) < len(looks):
            return {}  # a submit whose picture cannot be looked at may own any of the candidates
        candidates = await self._candidates([one for one in sweep.listed if one.prediction_id in names])
        if candidates is None or not wanted:
            return {}
        known = {one.picture_sha256 for one in wanted}
        others: dict[str, Look] = {}
        for one in pictures:
            look = await self._look(one.path)
            if look is None:
                return {}  # a picture that cannot be looked at may be a look-alike
            if one.sha256 not in known:
                others[one.sha256] = look
        found = await asyncio.to_thread(match, wanted, candidates, others, threshold)
        # Only where the list left it open: what is proven otherwise, or may still be answered, is not touched.
        return {name: prediction for name, prediction in found.items() if prediction in verdict.unclear.get(name, ())}

    async def _wanted(self, submit: OpenSubmit, requests: Mapping[str, int]) -> Wanted | None:
        path, sha256 = submit.revision.image_path, submit.revision.image_sha256
        if path is None or sha256 is None or not await asyncio.to_thread(_is_still, path, sha256):
            return None
        look = await self._look(path)
        return (
            None
            if look is None
            else Wanted(
                attempt_id=submit.attempt_id,
                picture=look,
                picture_sha256=sha256,
                duration_s=submit.revision.duration_s,
                is_ambiguous=requests.get(sha256, 0) != 1,
            )
        )

    async def _candidates(self, listed: Sequence[Prediction]) -> list[Candidate] | None:
        """Those that have a clip; None while one is still worked on: it may be the one."""
        if any(one.progress is Progress.RUNNING for one in listed):
            return None
        found: list[Candidate] = []
        for one in listed:
            if one.prediction_id not in self._frames:
                self._frames[one.prediction_id] = await self._frame(one)
            frame = self._frames[one.prediction_id]
            if frame is not None:
                found.append(Candidate(prediction_id=one.prediction_id, frame=frame.look, duration_s=frame.duration_s))
        return found

    async def _frame(self, prediction: Prediction) -> FirstFrame | None:
        """None where there is no clip to look at. Raises TryLaterError."""
        if prediction.progress is not Progress.COMPLETED:
            return None
        part = self.folder / "looks" / f"{prediction.prediction_id}.{self.queue.run_id}.part"
        try:
            outputs = prediction.outputs or (await self.client.result(prediction.prediction_id)).outputs
            if not outputs:
                return None
            await Download(self.clock, self.http.stream, part, _MAX_CLIP_BYTES).fetch(outputs[0])
            return await asyncio.to_thread(first_frame, part)
        except (NotFoundError, RefusedError, UnsafeUrlError, BrokenClipError, OSError):
            return None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    async def _look(self, path: Path) -> Look | None:
        if path not in self._looks:
            self._looks[path] = await asyncio.to_thread(_look_or_none, path)
        return self._looks[path]


def sent_picture(revision: Revision) -> Path | None:
    """The picture, where it is a file that still has the content that was sent. Blocks."""
    path, sha256 = revision.image_path, revision.image_sha256
    return path if path is not None and sha256 is not None and _is_still(path, sha256) else None


def _pair(picture: Path, sha256: str, clip: Path) -> tuple[Look, Look] | None:
    """Blocks."""
    try:
        if not _is_still(picture, sha256):
            return None
        return look_of_picture(picture), first_frame(clip).look
    except (NoLookError, BrokenClipError):
        return None


def _look_or_none(path: Path) -> Look | None:
    try:
        return look_of_picture(path)
    except NoLookError:
        return None


def _is_still(path: Path, sha256: str) -> bool:
    """Whether the file still has the content that was sent. Blocks."""
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False
