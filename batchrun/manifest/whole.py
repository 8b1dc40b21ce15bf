"""Whether a picture file has its end: copies are interrupted, and a picture without its end is bought and then refused.

Only the structure is walked, nothing is decoded. What follows the end is nobody's business: phones append further
pictures and padding. A PNG is a list of chunks up to IEND. A JPEG is a list of segments up to the first scan, in whose data
the end marker cannot occur; before it, it can: a header may hold a whole small picture.
"""

_PNG_HEAD_BYTES = 8
_PNG_FRAME_BYTES = 12
"""Length, type and checksum of a chunk."""
_MARK = 0xFF
_END_OF_IMAGE = b"\xff\xd9"
_SCAN = 0xDA
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


def is_whole(kind: str, data: bytes) -> bool:
    """Whether the end is there. `kind` is what the header says: PNG or JPEG."""
    return _has_last_chunk(data) if kind == "PNG" else data.rfind(_END_OF_IMAGE, _first_scan(data)) >= 0


def _has_last_chunk(data: bytes) -> bool:
    at = _PNG_HEAD_BYTES
    while at + _PNG_FRAME_BYTES <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"IEND":
            return True
        if not name.isalpha():  # a copy that broke off may be filled up with zeros
            return False
        at += _PNG_FRAME_BYTES + length
    return False


def _first_scan(data: bytes) -> int:
    at = 2
    while at + 4 <= len(data):
        if data[at] != _MARK or data[at + 1] in (0x00, _MARK):  # padding, and junk that readers pass over
            at += 1
        elif data[at + 1] == _SCAN:
            return at
        elif data[at + 1] in _BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at
