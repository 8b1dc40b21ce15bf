"""Which addresses may be asked, and which may be followed when the provider names them."""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from batchrun.errors import UsageError
from batchrun.provider.outcome import UnsafeUrlError

DEFAULT_BASE_URL = "https://api.wavespeed.ai"
_DEFAULT_PORT = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Scheme, host and port, always with the port: `https://api.wavespeed.ai:443`."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or _DEFAULT_PORT.get(parts.scheme, 0)}"


def check_base_url(url: str) -> str:
    """The API's address without a trailing slash or API path.

    Raises:
        UsageError: not https (or http on this machine), or with more than an origin in it.
    """
    clean = url.strip().rstrip("/").removesuffix("/api/v3")
    try:
        parts = urlsplit(clean)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"WAVESPEED_BASE_URL {url!r} is not a URL; write one such as {DEFAULT_BASE_URL}") from None
    if not host or parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"the API's address (WAVESPEED_BASE_URL) must be a plain origin such as {DEFAULT_BASE_URL}")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(clean)):
        raise UsageError(
            f"WAVESPEED_BASE_URL {url!r}: the key is sent there, so only https:// is accepted (http:// on this machine)"
        )
    return clean


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine itself."""
    return _is_this_machine(urlsplit(url).hostname or "")


@lru_cache
def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_follow_up(url: str, *, api_is_local: bool) -> str:
    """The URL, when it may be followed: https, or http on this machine when the API itself is there; no credentials.

    Raises:
        UnsafeUrlError: anything else.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnsafeUrlError(f"the provider named an address that cannot be read: {url[:200]!r}") from None
    safe_scheme = parts.scheme == "https" or (parts.scheme == "http" and api_is_local and is_loopback(url))
    if not safe_scheme or not host or parts.username or parts.password:
        raise UnsafeUrlError(f"the provider named an address that is not safe to follow: {parts.scheme}://{host}")
    return url
