"""HTTP sessions, the key's guard, and the one place where aiohttp's errors become ours.

Two kinds of request: to the API's own origin, with the key and never following a redirect; and to other hosts (storage,
outputs), without the key. Nothing here retries.
"""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from yarl import URL

import batchrun
from batchrun.clock import Clock
from batchrun.provider.outcome import RefusedError, TryLaterError, UnsafeUrlError
from batchrun.provider.redact import redacted
from batchrun.provider.urls import check_follow_up, is_loopback
from batchrun.provider.wire import http_date_ms, retry_after_s

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 60.0
# A server may close an idle connection just as a request leaves on it. Servers close after five seconds at the earliest,
# so a connection this young is safe, and bursts still share connections.
_KEEPALIVE_S = 2.0
_USER_AGENT = f"batchrun/{batchrun.__version__}"
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Status, headers of interest and the whole body."""

    status: int
    body: bytes
    retry_after_s: float | None
    date: str | None
    secret: str = field(default="", repr=False)
    """What must not be read out of the body."""


class PaidBody(BytesPayload):
    """The body of a submit: knows whether a byte of it was handed over, and refuses to leave too late.

    The check is the last step before the write, on a clock that runs on while the machine sleeps: a process that was
    frozen between writing its intent and sending must not buy what another one may have taken over.
    """

    def __init__(self, data: bytes, clock: Clock, send_by_boot_s: float) -> None:
        super().__init__(data, content_type="application/json")
        self._clock = clock
        self._send_by_boot_s = send_by_boot_s
        self._transport: asyncio.WriteTransport | None = None
        self.started = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the body over, once and in time."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """See `write`."""
        if self.started:
            raise RuntimeError("a paid request is sent once")
        if self._clock.boot_s() > self._send_by_boot_s:
            raise TooLateError
        self.started = True
        self._transport = getattr(writer, "transport", None)
        await super().write_with_length(writer, content_length)

    def abort(self) -> None:
        """Drop the connection with whatever still waits in its buffers."""
        if self._transport is not None:
            self._transport.abort()


class TooLateError(Exception):
    """The time in which the submit had to leave is over."""


class Http:
    """The sessions of one run."""

    def __init__(self, base_url: str, key: str | None, clock: Clock, *, connections: int = 100) -> None:
        self.base_url = base_url
        self.is_local = is_loopback(base_url)
        self._key = key
        self._clock = clock
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._paid_session: aiohttp.ClientSession | None = None
        self._dated: tuple[int, float] | None = None

    async def __aenter__(self) -> Self:
        """Open the sessions."""
        self._session = self._opened(aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEPALIVE_S))
        # What a server or a proxy says on a connection that nobody has asked anything, the next request on it takes for
        # its answer: a refusal would void a submit that was taken. So each of them has a connection of its own.
        self._paid_session = self._opened(aiohttp.TCPConnector(limit=self._connections, force_close=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        for session in (self._session, self._paid_session):
            if session is not None:
                await session.close()

    @staticmethod
    def _opened(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _USER_AGENT},
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
            trust_env=False,  # it would also send passwords from ~/.netrc; proxies are looked up below
        )

    async def api(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,  # noqa: ANN401  # bytes, form or payload, as aiohttp takes them
        headers: Mapping[str, str] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> RawAnswer:
        """One request to the API, with the key. A redirect is an answer like any other, never followed.

        Raises:
            aiohttp.ClientError, TimeoutError: for `translated` or the submit to interpret.
        """
        auth = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        answer = await self._whole(method, self.base_url + path, body, {**(headers or {}), **auth}, timeout_s)
        date_ms = http_date_ms(answer.date)
        if date_ms is not None:
            self._dated = date_ms, self._clock.boot_s()
        return answer

    @property
    def server_ahead_ms(self) -> int | None:
        """The API's clock less ours now, from its last `Date` and the time since on a clock that never steps."""
        if self._dated is None:
            return None
        date_ms, boot_s = self._dated
        return date_ms + int((self._clock.boot_s() - boot_s) * 1000) - self._clock.now_ms()

    async def put(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> RawAnswer:
        """The bytes to a storage host, with exactly these headers and without the key."""
        _safe(url, api_is_local=self.is_local)
        with translated("upload"):
            return await self._whole("PUT", url, body, headers, timeout_s, exact_headers=True)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """GET from any safe host, without the key, following safe redirects: status, headers and the body in pieces.

        The bytes are those that were sent: a host's wrong `Content-Encoding` must not stand between us and a clip.

        Raises:
            TryLaterError: the network.
            UnsafeUrlError: an address that must not be followed.
        """
        for _ in range(MAX_REDIRECTS + 1):
            with translated("download"):
                response = await self._client.get(
                    _safe(url, api_is_local=self.is_local),
                    headers=dict(headers),
                    allow_redirects=False,
                    auto_decompress=False,
                    proxy=proxy_for(url),
                )
            try:
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    yield response.status, response.headers, _pieces(response.content)
                    return
                url = _joined(url, response.headers["Location"])
            finally:
                response.close()
        raise UnsafeUrlError(f"more than {MAX_REDIRECTS} redirects")

    async def _whole(
        self,
        method: str,
        url: str,
        body: Any,  # noqa: ANN401
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        exact_headers: bool = False,
    ) -> RawAnswer:
        async with (
            self._clock.timeout(timeout_s),
            self._client_for(body).request(
                method,
                _exact(url),
                data=body,
                headers=dict(headers),
                allow_redirects=False,
                proxy=proxy_for(url),
                skip_auto_headers=("Content-Type", "User-Agent") if exact_headers else (),
            ) as response,
        ):
            data = await _bounded(response.content)
            wait_s = retry_after_s(response.headers.get("Retry-After"), self._clock.now_ms())
            return RawAnswer(response.status, data, wait_s, response.headers.get("Date"), self._key or "")

    def without_key(self, text: str) -> str:
        """A text that may hold the key, for logs and database."""
        return redacted(text, self._key or "")

    @property
    def _client(self) -> aiohttp.ClientSession:
        return self._client_for(None)

    def _client_for(self, body: object) -> aiohttp.ClientSession:
        session = self._paid_session if isinstance(body, PaidBody) else self._session
        if session is None:
            raise RuntimeError("use Http as a context manager")
        return session


def _exact(url: str) -> URL:
    """The URL as it was given: signed addresses must not be re-encoded."""
    return URL(url, encoded=True)


def _safe(url: str, *, api_is_local: bool) -> URL:
    try:
        return _exact(check_follow_up(url, api_is_local=api_is_local))
    except ValueError as error:
        raise UnsafeUrlError("the provider named an address that cannot be read") from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise UnsafeUrlError("the provider redirects to an address that cannot be read") from error


async def _pieces(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The body, with the network's errors translated and nobody else's."""
    while True:
        with translated("download"):
            piece = await content.readany()
        if not piece:
            return
        yield piece


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in content.iter_any():
        size_bytes += len(piece)
        if size_bytes > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


class translated:  # noqa: N801  # reads as a word: with translated("upload")
    """The one table from aiohttp's errors to ours, for requests that may be asked again."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise what the caller can act on."""
        if isinstance(error, TimeoutError):
            raise TryLaterError(f"{self._doing}: no answer in time") from error
        # A plain ValueError is what yarl, idna and the encoding of a request's head raise for an address; a certificate
        # that is not believed is one as well (ssl.CertificateError), and says nothing of what was asked.
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            raise RefusedError(f"{self._doing}: the address cannot be used") from error
        if isinstance(error, (aiohttp.ClientError, OSError)):
            raise TryLaterError(f"{self._doing}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """What went wrong, without addresses or headers: those may carry signatures."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port} ({error.os_error.strerror or error.os_error})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL; never for this machine itself."""
    if is_loopback(url):
        return None
    parts = URL(url)
    if urllib.request.proxy_bypass(parts.host or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
