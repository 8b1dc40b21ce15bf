"""A local picture to a URL that the provider can read: a ticket and a PUT, or the older form where there are no tickets."""

import re
from collections.abc import Mapping
from typing import Any

from batchrun.provider.client import Client
from batchrun.provider.outcome import NotFoundError, TryLaterError, UnsafeUrlError
from batchrun.provider.wire import url_of

MAX_AGE_MS = 24 * 3_600_000
"""An upload older than this is made again, although the provider keeps files for seven days."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


async def upload(client: Client, filename: str, data: bytes, content_type: str) -> str:
    """The URL at which the provider can read the bytes. Costs nothing and may be repeated under a new name.

    Raises:
        TryLaterError, NotAllowedError, RefusedError, UnsafeUrlError.
    """
    try:
        ticket = await client.upload_ticket(filename, len(data), content_type)
    except NotFoundError:
        return await client.upload_form(filename, data, content_type)
    place = ticket.get("upload")
    url = url_of(ticket.get("download_url"))
    if not isinstance(place, Mapping) or url is None or not url.startswith(("https://", "http://")):
        raise TryLaterError("upload: the ticket names no place for the file")
    await client.upload_put(_put_url(place), data, _headers(place))
    return url


def _put_url(place: Mapping[str, Any]) -> str:
    url = url_of(place.get("url"))
    if place.get("method", "PUT") != "PUT" or url is None:
        raise TryLaterError("upload: the ticket asks for something other than a PUT")
    return url


def _headers(place: Mapping[str, Any]) -> dict[str, str]:
    headers = place.get("headers") or {}
    if not isinstance(headers, Mapping) or any(str(name).lower() == "authorization" for name in headers):
        raise UnsafeUrlError("upload: the ticket asks for credentials")
    found = {str(name): str(value) for name, value in headers.items()}
    if not all(_HEADER_NAME.fullmatch(name) and value.isprintable() for name, value in found.items()):
        raise UnsafeUrlError("upload: the ticket asks for headers that cannot be sent")
    return found
