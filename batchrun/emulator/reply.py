"""What the emulated API answers with: statuses, envelopes, moments as text. Pure; no network, no clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import Any

_HTML = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer, before any network."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """The connection is cut without an answer; the rest means nothing then."""
    stall: bool = False
    """No answer comes, and the connection stays."""


class RefusedRequestError(Exception):
    """The request is refused: HTTP status, envelope code, message, and what else the provider says about it."""

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        retry_after_s: int | None = None,
        error_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.error_code = error_code
        """The provider's word for a missing permission."""


def envelope(data: object, status: int = 200, code: int = 200, message: str = "success") -> Reply:
    """Data in the wrapping that every JSON answer has."""
    return Reply(status=status, body=json.dumps({"code": code, "message": message, "data": data}).encode())


def refusal(error: RefusedRequestError) -> Reply:
    """A refusal in the same wrapping."""
    body = {"code": error.code, "message": str(error), "data": None}
    if error.error_code is not None:
        body["error_code"] = error.error_code
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
    return Reply(status=error.status, body=json.dumps(body).encode(), headers=headers)


def html_page(status: int) -> Reply:
    """A gateway's page, whatever was asked for."""
    return Reply(status=status, body=_HTML, content_type="text/html")


def truncated(reply: Reply) -> Reply:
    """The first half of an answer."""
    return replace(reply, body=reply.body[: len(reply.body) // 2])


# ---------------------------------------------------------------------- reading and writing


def json_object(body: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        RefusedRequestError: anything else, with 400.
    """
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RefusedRequestError(400, 1401, "the body must be a JSON object")
    return value


def whole_number(body: Mapping[str, Any], name: str, default: int) -> int:
    """A number of a body, not negative.

    Raises:
        RefusedRequestError: anything else, with 400.
    """
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RefusedRequestError(400, 1401, f"invalid parameter: {name}")
    return value


def moment_ms(value: object) -> int | None:
    """An ISO 8601 moment, UTC where it names no zone, in milliseconds since 1970; None for none.

    Raises:
        RefusedRequestError: anything else, with 400.
    """
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise RefusedRequestError(400, 1401, "invalid time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def millis_or_moment_ms(value: object) -> int | None:
    """Milliseconds since 1970 as text or number, or an ISO 8601 moment: the billing's page and the clients differ.

    Raises:
        RefusedRequestError: anything else, with 400.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else moment_ms(value)


def rfc3339(at_ms: int, digits: int = 3) -> str:
    """A moment as the API writes it, with as many fractional digits."""
    return f"{_to_the_second(at_ms // 1000)}.{at_ms % 1000:03d}{'0' * (digits - 3)}Z"


def http_date(at_ms: int) -> str:
    """A moment as the `Date` header has it, such as `Sun, 22 Nov 2026 11:12:47 GMT`."""
    return _dated(at_ms // 1000)


# Remembered: a simulation writes the same few seconds hundreds of thousands of times.


@lru_cache(4096)
def _to_the_second(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S}"


@lru_cache(16)
def _dated(at_s: int) -> str:
    return formatdate(at_s, usegmt=True)
