"""What `done` means: the clip is whole and as long as was asked; and what of it a person should look at."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batchrun.manifest.jobs import Checks
from batchrun.video.boxes import BrokenClipError, walk_boxes
from batchrun.video.container import frames_of, opened_video
from batchrun.video.duration import is_as_long, longest_s
from batchrun.video.looks import Look, NoLookError, look_of_picture
from batchrun.video.poster import write_poster
from batchrun.video.signs import SIDE, Thumbnail, in_words, is_black, signs_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MAX_FPS = 240
_COMPARED_PIXELS = 480 * 270
"""Smaller clips are no model's but our own server's when asked for; its mark covers too much of them to compare."""
_SAMPLE_S = 0.25
_BEGINNING_S = 1.0


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was read from a whole clip."""

    duration_s: float
    frames: int
    width_px: int
    height_px: int
    fps: float
    codec: str
    checks: Checks
    """How closely it was looked at."""
    warnings: tuple[str, ...] = ()
    """What looks wrong (`signs.Sign`)."""
    not_shown: tuple[str, ...] = ()
    """What was asked for and a preview cannot show, as its maker says. Nothing is wrong with the clip."""

    def as_json(self) -> str:
        """For the queue."""
        return json.dumps(asdict(self))


class WarnedClipError(BrokenClipError):
    """The clip is whole, looks wrong, and `strict` was asked for: fetching it again will not change it."""

    def __init__(self, facts: ClipFacts) -> None:
        self.facts = facts
        super().__init__(f"checks: strict, and the clip looks wrong: {in_words(facts.warnings)}")


def check_clip(
    path: Path,
    asked_duration_s: int,
    checks: Checks = Checks.FULL,
    *,
    picture: Callable[[], Path | None] = lambda: None,
    poster: Path | None = None,
) -> ClipFacts:
    """Walk the boxes, read the header, decode every frame on this thread. Blocks for up to seconds.

    Args:
        path: the clip.
        asked_duration_s: the length that was bought, seconds.
        checks: `quick` believes the header where it says how many frames there are, and decodes no more than a poster.
        picture: finds the product's, where it is a file that is still what was sent; asked when it is compared.
        poster: where one frame is kept as WebP when the clip is accepted; that it cannot be is no failure.

    Raises:
        WarnedClipError: `strict`, and something looks wrong.
        BrokenClipError: cut, damaged, no video, of another length, or larger than any clip on offer.
    """
    walk_boxes(path)
    with opened_video(path) as (container, stream):
        declared = _declared(container, stream)
        if checks is Checks.QUICK and declared.frames and declared.duration_s:
            _check_duration(declared.duration_s, asked_duration_s)
            seen = _Seen() if poster is None else _header_only(container, stream)
        else:
            seen = _decoded(container, stream, asked_duration_s, declared)
        facts = _facts(stream, seen, declared, checks, _warnings(stream, seen, picture))
    if checks is Checks.STRICT and facts.warnings:
        raise WarnedClipError(facts)
    if poster is not None and seen.poster is not None:
        write_poster(seen.poster, poster)
    return facts


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the header says; 0 where it says nothing."""

    frames: int
    duration_s: float
    fps: float


def _declared(container: "InputContainer", stream: "VideoStream") -> _Declared:
    duration_s = 0.0
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / 1_000_000
    return _Declared(stream.frames, max(0.0, duration_s), float(stream.average_rate or 0))


def _check_duration(duration_s: float, asked_duration_s: int) -> None:
    if not is_as_long(duration_s, asked_duration_s):
        raise BrokenClipError(f"the clip is {duration_s:.2f} s long, {asked_duration_s} s were bought")


@dataclass(slots=True)
class _Seen:
    """What one pass over the frames keeps: counts, times, thumbnails, and the frame that will be the poster."""

    middle_s: float = 0.0
    frames: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    thumbnails: list[Thumbnail] = field(default_factory=list)
    beginning: int = 0
    """How many of the thumbnails are of the first second."""
    poster: "VideoFrame | None" = None
    _poster_rank: tuple[bool, float] = (True, float("inf"))
    _next_sample_s: float = float("-inf")

    def wants_sample(self, at_s: float) -> bool:
        """Whether the frame at this time is looked at."""
        if at_s < self._next_sample_s:
            return False
        self._next_sample_s = at_s + _SAMPLE_S - 1e-3
        return True

    def sample(self, frame: "VideoFrame", thumbnail: Thumbnail, at_s: float) -> None:
        """Look at a frame. The poster is the one nearest to the middle that is not black."""
        self.thumbnails.append(thumbnail)
        self.beginning += at_s <= self.first_s + _BEGINNING_S
        rank = (is_black(thumbnail), abs(at_s - self.first_s - self.middle_s))
        if self.poster is None or rank < self._poster_rank:
            self.poster, self._poster_rank = frame, rank


def _decoded(container: "InputContainer", stream: "VideoStream", asked_duration_s: int, declared: _Declared) -> _Seen:
    from av.video.reformatter import VideoReformatter  # noqa: PLC0415  # heavy: see `container`

    shrink = VideoReformatter()
    seen = _Seen(asked_duration_s / 2)
    most_s = longest_s(asked_duration_s)
    for frame in frames_of(container, stream):
        # libavcodec hides damage and goes on; the flag tells
        if frame.is_corrupt:
            raise BrokenClipError(f"frame {seen.frames + 1} is damaged")
        seen.last_s = float(frame.time or 0.0)
        if seen.frames == 0:
            seen.first_s = seen.last_s
        seen.frames += 1
        if seen.last_s - seen.first_s > most_s:
            _check_duration(max(declared.duration_s, seen.last_s - seen.first_s), asked_duration_s)
        if seen.frames > most_s * _MAX_FPS:
            raise BrokenClipError(f"the clip has more than {_MAX_FPS} frames a second: not plausible")
        if seen.wants_sample(seen.last_s):
            small = shrink.reformat(frame, SIDE, SIDE, "rgb24", interpolation="AREA", threads=1)
            seen.sample(frame, np.asarray(small.to_ndarray(), np.uint8), seen.last_s)
    if seen.frames == 0:
        raise BrokenClipError("the clip holds no frame that can be decoded")
    if seen.frames < declared.frames:
        raise BrokenClipError(f"the clip holds {seen.frames} of the {declared.frames} frames it declares")
    _check_duration(_duration_s(seen, declared), asked_duration_s)
    return seen


def _duration_s(seen: _Seen, declared: _Declared) -> float:
    return seen.last_s - seen.first_s + (1 / declared.fps if declared.fps else 0.0)


def _header_only(container: "InputContainer", stream: "VideoStream") -> _Seen:
    """Nothing but a poster: the key frame before the middle, where it can be had."""
    import av  # noqa: PLC0415  # heavy: see `container`

    seen = _Seen()
    try:
        container.seek((stream.duration or 0) // 2, stream=stream)
        seen.poster = next(frames_of(container, stream), None)
    except av.error.FFmpegError:
        seen.poster = None
    return seen


def _warnings(stream: "VideoStream", seen: _Seen, picture: Callable[[], Path | None]) -> tuple[str, ...]:
    if not seen.thumbnails:
        return ()
    look: Look | None = None
    is_comparable = stream.codec_context.width * stream.codec_context.height >= _COMPARED_PIXELS
    if is_comparable and (path := picture()) is not None:
        with suppress(NoLookError):
            look = look_of_picture(path)
    return signs_of(seen.thumbnails, look, seen.beginning)


def _facts(
    stream: "VideoStream", seen: _Seen, declared: _Declared, checks: Checks, warnings: tuple[str, ...]
) -> ClipFacts:
    return ClipFacts(
        duration_s=round(_duration_s(seen, declared) if seen.frames else declared.duration_s, 3),
        frames=seen.frames or declared.frames,
        width_px=stream.codec_context.width,
        height_px=stream.codec_context.height,
        fps=round(declared.fps, 3),
        codec=stream.codec_context.name,
        checks=checks,
        warnings=warnings,
    )
