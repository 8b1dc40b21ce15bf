"""URLs of pictures: the provider fetches them, so they must be such as it can reach. Nobody is asked for an address here."""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

_MAX_URL_CHARS = 2048
_SHOWN_CHARS = 120
_SCHEME = re.compile(r"(?![a-z]:[\\/])[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_ORIGIN = re.compile(r"[^:]*:(?://[^/?#]*)?")
_ACCEPTED = "write a public https:// URL, or a file beside the manifest"


def is_url(image: str) -> bool:
    """Whether an `image:` is no path."""
    return _SCHEME.match(image) is not None


def url_problem(url: str, *, is_local: bool) -> str | None:
    """What is wrong with a picture's URL. `is_local`: the API is on this machine, and may fetch from it."""
    if len(url) > _MAX_URL_CHARS or not url.isprintable() or " " in url:
        return f"the URL must be printable, without blanks and at most {_MAX_URL_CHARS} characters"
    found = _ORIGIN.match(url)
    origin = found[0] if found else url
    if problem := _origin_problem(origin):
        return problem
    if is_local or (problem := _unreachable(origin)) is None:
        return None
    return f"{_short(url)!r} {problem}; {_ACCEPTED}"


def _short(url: str) -> str:
    return url if len(url) <= _SHOWN_CHARS else url[:_SHOWN_CHARS] + "…"


@lru_cache(10_000)
def _origin_problem(origin: str) -> str | None:
    """What is wrong up to the host and its port: the pictures of a catalog share a few."""
    try:
        parts = urlsplit(origin)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{origin[:80]!r} is not a URL that can be read"
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}: is not accepted; write a file beside the manifest or an https:// URL"
    if not host:
        return f"{origin[:80]!r} names no host"
    if parts.username or parts.password:
        return "a picture's URL must not carry a user name or password: the provider must be able to fetch it without"
    return None


@lru_cache(10_000)
def _unreachable(origin: str) -> str | None:
    parts = urlsplit(origin)
    if parts.scheme != "https":
        return "is not https"
    if _is_private((parts.hostname or "").rstrip(".")):
        return "is an address of this machine or of a private network, and the provider cannot fetch it"
    return None


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_global
