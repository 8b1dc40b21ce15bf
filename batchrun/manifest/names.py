"""Names that become file names: job ids, batch names, campaign names."""

import re
import unicodedata

MAX_NAME_BYTES = 200
_FORBIDDEN = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def check_name(name: str) -> str:
    """The name in NFC, when every file system takes it as one plain file name.

    Raises:
        ValueError: saying which character or form is in the way.
    """
    name = unicodedata.normalize("NFC", name)
    if not name:
        raise ValueError("must not be empty")
    if found := _FORBIDDEN.search(name):
        raise ValueError(
            f"{name!r} holds {found.group()!r}, which is not allowed in a file name; use letters, digits, - _ ."
        )
    if name.startswith((".", " ", "~")) or name.endswith((".", " ")):
        raise ValueError(f"{name!r} must not start with a dot, a blank or ~, nor end with a dot or a blank")
    if _RESERVED.fullmatch(name):
        raise ValueError(f"{name!r} is a device name on some systems; choose another")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"{name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes")
    return name


def fold(name: str) -> str:
    """What two names have in common when a file system cannot tell them apart (case, composed letters)."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
