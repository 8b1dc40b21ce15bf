"""What `done` means: the clip decodes to its end and is as long as was asked."""

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from batchrun.video.boxes import BrokenClipError, walk_boxes

_TOLERANCE_S = 0.35
_TOLERANCE = 0.1
_MAX_FRAMES = 100_000
_MAX_SIDE_PX = 16_384


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was read from a whole clip."""

    duration_s: float
    frames: int
    width_px: int
    height_px: int
    fps: float
    codec: str

    def as_json(self) -> str:
        """For the queue."""
        return json.dumps(asdict(self))


def check_clip(path: Path, asked_duration_s: int) -> ClipFacts:
    """Walk the boxes, decode every frame, compare the duration. Blocks for up to seconds: run it in a thread.

    Raises:
        BrokenClipError: cut, damaged, no video, or of another length.
    """
    walk_boxes(path)
    facts = _decode(path)
    if not is_as_long(facts.duration_s, asked_duration_s):
        raise BrokenClipError(f"the clip is {facts.duration_s:.2f} s long, {asked_duration_s} s were bought")
    return facts


def is_as_long(duration_s: float, asked_duration_s: int) -> bool:
    """Whether a clip of this duration is what was asked for."""
    return abs(duration_s - asked_duration_s) <= _TOLERANCE_S + _TOLERANCE * asked_duration_s


def _decode(path: Path) -> ClipFacts:
    import av  # noqa: PLC0415  # 30 MB of codecs: `batchrun --help` does not need them

    try:
        with av.open(str(path), mode="r", format="mov", timeout=60.0) as container:
            if not container.streams.video:
                raise BrokenClipError("the file holds no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            width_px, height_px = stream.codec_context.width, stream.codec_context.height
            if not (0 < width_px <= _MAX_SIDE_PX and 0 < height_px <= _MAX_SIDE_PX):
                raise BrokenClipError(f"the video's size {width_px}×{height_px} is not plausible")
            frames, first_s, last_s = 0, None, 0.0
            for frame in container.decode(stream):
                # libavcodec hides damage and goes on; the flag tells
                if frame.is_corrupt:
                    raise BrokenClipError(f"frame {frames + 1} is damaged")
                frames += 1
                last_s = float(frame.time or 0.0)
                first_s = last_s if first_s is None else first_s
                if frames > _MAX_FRAMES:
                    raise BrokenClipError(f"the clip has more than {_MAX_FRAMES} frames")
            declared, rate = stream.frames, stream.average_rate or Fraction(0)
            codec = stream.codec_context.name
    except av.error.FFmpegError as error:
        raise BrokenClipError(f"the clip cannot be decoded: {error.strerror or error}") from error
    if frames == 0 or first_s is None:
        raise BrokenClipError("the clip holds no frame that can be decoded")
    if declared and frames < declared:
        raise BrokenClipError(f"the clip holds {frames} of the {declared} frames it declares")
    frame_s = 1 / float(rate) if rate else 0.0
    return ClipFacts(round(last_s - first_s + frame_s, 3), frames, width_px, height_px, round(float(rate), 3), codec)
