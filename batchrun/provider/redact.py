"""The key does not come back in with an answer that repeats it, in whatever writing (design, promise 7). Pure."""

import re
from collections.abc import Mapping

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_HIDDEN = "***"


def redacted(text: str, secret: str) -> str:
    """The text without the secret, also where that is written with JSON's escapes."""
    if not secret:
        return text
    text = text.replace(secret, _HIDDEN)
    if "\\" in text and secret in (plain := _ESCAPE.sub(_unescaped, text)):
        return plain.replace(secret, _HIDDEN)
    return text


def redacted_value(value: object, secret: str) -> object:
    """The same for every text in a value as JSON gives it, names included. Raises RecursionError."""
    if isinstance(value, str):
        return redacted(value, secret)
    if isinstance(value, list):
        return [redacted_value(item, secret) for item in value]
    if isinstance(value, Mapping):
        return {redacted(name, secret): redacted_value(item, secret) for name, item in value.items()}
    return value


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else found[2]
