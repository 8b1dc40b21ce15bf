"""A downloaded file as a container with one video stream: nothing in it is believed, and whatever is wrong has one type."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchrun.video.boxes import BrokenClipError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MAX_PIXELS = 4096 * 2304
"""Of a frame: what 4K needs. A decoder keeps up to 17 of them, 14 MB each."""


def packets_of(container: "InputContainer", stream: "VideoStream") -> Iterator["Packet[VideoStream]"]:
    """The stream's packets; the last one is empty and brings out the frames that are left.

    PyAV's own iterator keeps memory for ever when it is left before its end and not closed, which `container.decode`,
    hiding it, never does.
    """
    packets: Any = container.demux(stream)
    with closing(packets):
        yield from packets


def frames_of(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    """The stream's frames in the order of their times."""
    for packet in packets_of(container, stream):
        yield from packet.decode()


@contextmanager
def opened_video(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The first video stream of a file, to be decoded on this thread.

    Raises:
        BrokenClipError: no video, frames of an absurd size, or, also from inside the block, what cannot be decoded.
    """
    import av  # noqa: PLC0415  # 30 MB of codecs: `batchrun --help` does not need them

    try:
        with av.open(str(path), mode="r", format="mov", timeout=60.0, metadata_errors="ignore") as container:
            # A stream of a codec that nobody knows has no decoder, whatever the types say
            streams = [one for one in container.streams.video if getattr(one, "codec_context", None) is not None]
            if not streams:
                raise BrokenClipError("the file holds no video that can be decoded")
            codec = streams[0].codec_context
            if not (codec.width > 0 and codec.height > 0 and codec.width * codec.height <= _MAX_PIXELS):
                raise BrokenClipError(f"the video's size {codec.width}×{codec.height} is not plausible")
            codec.thread_count = 1  # clips are looked at side by side, as many as there are cores
            codec.options = {"max_pixels": str(_MAX_PIXELS)}  # frames may be larger than the header says
            yield container, streams[0]
    except (av.error.FFmpegError, OSError) as error:
        raise BrokenClipError(f"the clip cannot be decoded: {error.strerror or error}") from error
