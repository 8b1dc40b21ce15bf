"""How the storage host answers a GET of a finished clip: whole, the rest of it, or with one of the menu's faults. Pure."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from batchrun.emulator.faults import Fault

OUTPUT_FAULTS = (
    Fault.OUTPUT_404,
    Fault.OUTPUT_503,
    Fault.OUTPUT_DROP,
    Fault.OUTPUT_HTML,
    Fault.OUTPUT_SHORT,
    Fault.OUTPUT_STALL,
)
_REST = re.compile(r"bytes=(?P<first>\d{1,15})-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answer. With `is_cut` the connection breaks in the middle of the body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False

    @property
    def sent(self) -> bytes:
        """What really comes of the body."""
        return self.body[: len(self.body) // 2] if self.is_cut else self.body


def serve_output(data: bytes, asked: Mapping[str, str], fault: Fault | None) -> Served | None:
    """The answer to a GET, or None when none ever comes.

    Args:
        data: the clip.
        asked: the request's headers; `Range` and `If-Range` are looked at (RFC 9110, section 14).
        fault: what goes wrong.
    """
    match fault:
        case Fault.OUTPUT_STALL:
            return None
        case Fault.OUTPUT_404:
            return Served(status=404, body=b"no such output")
        case Fault.OUTPUT_503:
            return Served(status=503, body=b"slow down", headers={"Retry-After": "1"})
        case Fault.OUTPUT_HTML:
            page = b"<html><body>Something went wrong</body></html>"
            return Served(status=200, body=page, headers={"Content-Type": "text/html"})
        case Fault.OUTPUT_SHORT:
            data = data[: len(data) // 2]
    return _part(data, asked, is_cut=fault is Fault.OUTPUT_DROP)


def _part(data: bytes, asked: Mapping[str, str], *, is_cut: bool) -> Served:
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Content-Type": "video/mp4", "ETag": etag, "Accept-Ranges": "bytes"}
    rest = _REST.fullmatch(asked.get("Range", ""))
    if rest is None or asked.get("If-Range", etag) != etag:
        return Served(status=200, body=data, headers=headers, is_cut=is_cut)
    first = int(rest["first"])
    if first >= len(data):
        return Served(status=416, body=b"", headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
    return Served(status=206, body=data[first:], headers=headers, is_cut=is_cut)
