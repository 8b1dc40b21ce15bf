"""The client against the emulator, one fault at a time, over real HTTP."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from batchrun.clock import SystemClock
from batchrun.emulator.faults import Fault
from batchrun.emulator.world import Account
from batchrun.provider import uploads
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.provider.outcome import (
    Accepted,
    NotAllowedError,
    NotFoundError,
    NotSent,
    Progress,
    RefusalKind,
    Refused,
    RefusedError,
    TryLaterError,
    Unknown,
    UnsafeUrlError,
)
from tests.conftest import KEY, emulated, make_picture

MODEL = "kwaivgi/kling-v1.6-i2v-standard"
CLOCK = SystemClock()
SOON = 1e18


@asynccontextmanager
async def client_of(base_url: str, key: str | None = KEY) -> AsyncIterator[Client]:
    async with Http(base_url, key, CLOCK) as http:
        yield Client(http, CLOCK)


async def picture_url(client: Client, tmp_path: Path) -> str:
    data = make_picture(tmp_path / "p.png").read_bytes()
    return await uploads.upload(client, "br-q-a.png", data, "image/png")


def inputs(url: str, **more: object) -> dict[str, object]:
    return {"prompt": "It turns", "image": url, "guidance_scale": 0.5, "duration": 5, **more}


async def ended(client: Client, prediction_id: str) -> Progress:
    while (prediction := await client.result(prediction_id)).progress is Progress.RUNNING:
        await asyncio.sleep(0.01)
    return prediction.progress


async def test_upload_submit_result_and_bill(tmp_path: Path) -> None:
    async with emulated() as emulator, client_of(emulator.base_url) as client:
        before = await client.balance()
        url = await picture_url(client, tmp_path)
        outcome = await client.submit(MODEL, inputs(url), SOON)
        assert isinstance(outcome, Accepted)
        prediction_id = outcome.prediction.prediction_id
        assert await ended(client, prediction_id) is Progress.COMPLETED
        assert before - await client.balance() == 250_000
        (row,) = await client.billing([prediction_id])
        assert (row.kind, row.amount_usd_micros) == ("deduct", 250_000)
        now_ms = CLOCK.now_ms()
        (page,) = [page async for page in client.listed(MODEL, now_ms - 60_000, now_ms + 60_000)]
        (listed,) = page.predictions
        assert page.unreadable == 0
        assert (listed.prediction_id, listed.inputs["image"]) == (prediction_id, url)
        assert await client.price(MODEL, inputs(url, duration=10)) == 500_000
        assert emulator.store.keys_seen == 0


@pytest.mark.parametrize(
    ("fault", "created"),
    [
        (Fault.SUBMIT_DROP_BEFORE, 0),
        (Fault.SUBMIT_DROP_AFTER, 1),
        (Fault.SUBMIT_DROP_LATE, 0),
        (Fault.SUBMIT_500, 0),
        (Fault.SUBMIT_502_AFTER, 1),
        (Fault.SUBMIT_504_AFTER, 1),
        (Fault.SUBMIT_NO_ID, 1),
        (Fault.SUBMIT_TRUNCATED, 1),
    ],
)
async def test_a_submit_that_proves_nothing_is_unknown_and_sent_once(
    tmp_path: Path, fault: Fault, created: int
) -> None:
    async with emulated({fault: 1.0}) as emulator, client_of(emulator.base_url) as client:
        url = await picture_url(client, tmp_path)
        assert isinstance(await client.submit(MODEL, inputs(url), SOON), Unknown)
        assert emulator.world.dice.thrown == {fault: 1}
        assert len(emulator.world.tasks) == created


async def test_throttled_with_the_servers_own_pause(tmp_path: Path) -> None:
    async with emulated(account=Account(per_minute=1)) as emulator, client_of(emulator.base_url) as client:
        url = await picture_url(client, tmp_path)
        assert isinstance(await client.submit(MODEL, inputs(url), SOON), Accepted)
        outcome = await client.submit(MODEL, inputs(url), SOON)
        assert isinstance(outcome, Refused)
        assert outcome.kind is RefusalKind.THROTTLED
        assert 50 < (outcome.retry_after_s or 0) <= 60


@pytest.mark.parametrize("more", [{"duration": 7}, {"guidance_scale": 2}, {"seed": 1}, {"prompt": ""}])
async def test_bad_inputs_are_refused(tmp_path: Path, more: dict[str, object]) -> None:
    async with emulated() as emulator, client_of(emulator.base_url) as client:
        url = await picture_url(client, tmp_path)
        outcome = await client.submit(MODEL, inputs(url, **more), SOON)
        assert isinstance(outcome, Refused)
        assert outcome.kind is RefusalKind.REQUEST
        assert emulator.world.tasks == {}


async def test_no_credit_and_a_wrong_key(tmp_path: Path) -> None:
    async with emulated(balance_usd=0.1) as emulator:
        async with client_of(emulator.base_url) as client:
            url = await picture_url(client, tmp_path)
            outcome = await client.submit(MODEL, inputs(url), SOON)
            assert isinstance(outcome, Refused)
            assert outcome.kind is RefusalKind.CREDIT
        async with client_of(emulator.base_url, "wrong") as client:
            outcome = await client.submit(MODEL, inputs(url), SOON)
            assert isinstance(outcome, Refused)
            assert outcome.kind is RefusalKind.KEY
            with pytest.raises(NotAllowedError):
                await client.balance()


async def test_nothing_leaves_after_its_time(tmp_path: Path) -> None:
    async with emulated() as emulator, client_of(emulator.base_url) as client:
        url = await picture_url(client, tmp_path)
        outcome = await client.submit(MODEL, inputs(url), CLOCK.boot_s() - 0.001)
        assert isinstance(outcome, NotSent)
        assert "was the machine asleep?" in outcome.message
        assert emulator.world.submits == []


async def test_a_provider_that_cannot_be_reached_created_nothing() -> None:
    async with client_of("http://127.0.0.1:9") as client:
        outcome = await client.submit(MODEL, inputs("https://x.example/a.png"), SOON)
        assert isinstance(outcome, NotSent)
        assert "cannot connect to 127.0.0.1:9" in outcome.message
        with pytest.raises(TryLaterError):
            await client.balance()


@pytest.mark.parametrize("fault", [Fault.POLL_500, Fault.POLL_DROP, Fault.POLL_HTML, Fault.POLL_TRUNCATED])
async def test_a_poll_that_fails_may_be_asked_again(fault: Fault) -> None:
    async with emulated({fault: 1.0}) as emulator, client_of(emulator.base_url) as client:
        url = "https://x.invalid/a.png"
        outcome = await client.submit(MODEL, inputs(url), SOON)
        assert isinstance(outcome, Accepted)
        with pytest.raises(TryLaterError):
            await client.result(outcome.prediction.prediction_id)


async def test_a_poll_of_an_unknown_id_is_not_found() -> None:
    async with emulated() as emulator, client_of(emulator.base_url) as client:
        with pytest.raises(NotFoundError):
            await client.result("0" * 32)


# ---------------------------------------------------------------------- servers that do what the emulator does not


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def scripted(handler: Handler) -> AsyncIterator[str]:
    """A server with one answer for everything."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def test_redirects_are_never_followed_with_the_key() -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(f"{request.method} {request.path} {'Authorization' in request.headers}")
        return web.Response(status=307, headers={"Location": "/other"})

    async with scripted(elsewhere) as base_url, client_of(base_url) as client:
        assert isinstance(await client.submit(MODEL, inputs("https://x.example/a.png"), SOON), Unknown)
        with pytest.raises(TryLaterError):
            await client.balance()
    assert seen == [f"POST /api/v3/{MODEL} True", "GET /api/v3/balance True"]


async def test_the_key_stays_out_of_uploads_and_downloads(tmp_path: Path) -> None:
    headers: list[str | None] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        headers.append(request.headers.get("Authorization"))
        await request.read()
        return web.Response(status=200, body=b"x")

    async with scripted(storage) as base_url, Http(base_url, KEY, CLOCK) as http:
        await http.put(f"{base_url}/a?sig=%2Fx", b"data", {"Content-Type": "image/png"}, 5)
        async with http.stream(f"{base_url}/b", {}) as (status, _, pieces):
            assert (status, b"".join([piece async for piece in pieces])) == (200, b"x")
    assert headers == [None, None]


async def test_an_answer_that_nobody_asked_for_is_not_the_answer_to_a_submit() -> None:
    """A refusal that a server sends of itself while a connection idles; the submit that came next was taken."""
    taken, strayed = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET"):
                    said(writer, {"data": {"balance": 1}})
                    said_later = asyncio.get_running_loop().call_later
                    said_later(0.01, said, writer, {"code": 429, "message": "too many"})
                    said_later(0.02, strayed.set)
                else:
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))
                    taken.set()
                    said(writer, {"data": {"id": "abcd1234", "status": "created"}})
        writer.close()

    def said(writer: asyncio.StreamWriter, changed: dict[str, object]) -> None:
        body = json.dumps({"code": 200, "message": "ok"} | changed).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        assert await client.balance() == 1_000_000
        await strayed.wait()
        outcome = await client.submit(MODEL, inputs("https://x.example/a.png"), SOON)
        assert isinstance(outcome, Accepted)
        assert taken.is_set()


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
async def test_a_download_comes_as_it_was_sent(encoding: str) -> None:
    async def mislabelled(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"a clip", headers={"Content-Encoding": encoding})

    async with scripted(mislabelled) as base_url, Http(base_url, KEY, CLOCK) as http:
        async with http.stream(f"{base_url}/a", {}) as (_, headers, pieces):
            assert b"".join([piece async for piece in pieces]) == b"a clip"
        assert headers["Content-Encoding"] == encoding


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate that nobody believes")
async def test_a_certificate_that_is_not_believed_is_the_networks_trouble(tmp_path: Path) -> None:
    """An expired one, or a clock that is wrong: it goes away, and no picture is to blame."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run(["openssl", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
    async with server, client_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(TryLaterError, match="certificate"):
            await client.balance()
        with pytest.raises(TryLaterError, match="certificate"):
            await picture_url(client, tmp_path)
        assert isinstance(await client.submit(MODEL, inputs("https://x.example/a.png"), SOON), NotSent)


async def test_unsafe_redirects_of_a_download_are_refused() -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://cdn.example/a.mp4"})

    async with scripted(elsewhere) as base_url, Http(base_url, KEY, CLOCK) as http:
        with pytest.raises(UnsafeUrlError):
            async with http.stream(f"{base_url}/a", {}):
                pass


async def test_endless_redirects_end() -> None:
    async def around(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/again"})

    async with scripted(around) as base_url, Http(base_url, KEY, CLOCK) as http:
        with pytest.raises(UnsafeUrlError, match="redirects"):
            async with http.stream(f"{base_url}/a", {}):
                pass


async def test_an_answer_without_end_is_cut_off() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(200):
                await response.write(b"x" * 1_000_000)
        except ConnectionResetError:
            pass
        return response

    async with scripted(flood) as base_url, client_of(base_url) as client:
        with pytest.raises(TryLaterError):
            await client.balance()


async def test_where_there_are_no_tickets_the_older_upload_is_used(tmp_path: Path) -> None:
    async def old(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/binary"):
            form = await request.post()
            field = form["file"]
            assert isinstance(field, web.FileField)
            data = {"download_url": f"https://cdn.example/{field.filename}", "size": len(field.file.read())}
            return web.json_response({"code": 200, "message": "success", "data": data})
        return web.json_response({"code": 404, "message": "not found", "data": None}, status=404)

    async with scripted(old) as base_url, client_of(base_url) as client:
        assert await picture_url(client, tmp_path) == "https://cdn.example/br-q-a.png"


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ({"method": "POST", "url": "{base}/x", "headers": {}}, TryLaterError),
        ({"method": "PUT", "headers": {}}, TryLaterError),
        (None, TryLaterError),
        ({"method": "PUT", "url": "http://storage.example/x", "headers": {}}, UnsafeUrlError),
        ({"method": "PUT", "url": "{base}/x", "headers": {"Authorization": "AWS4 x"}}, UnsafeUrlError),
    ],
)
async def test_strange_tickets_are_asked_for_again_and_unsafe_ones_refused(
    tmp_path: Path, place: dict[str, object] | None, kind: type[Exception]
) -> None:
    async def ticket(request: web.Request) -> web.StreamResponse:
        base = f"http://{request.host}"
        shown = {
            key: value.format(base=base) if isinstance(value, str) else value for key, value in (place or {}).items()
        }
        data = {"download_url": "https://cdn.example/a.png", "upload": shown or None}
        return web.json_response({"code": 200, "message": "success", "data": data})

    async with scripted(ticket) as base_url, client_of(base_url) as client:
        with pytest.raises(kind):
            await picture_url(client, tmp_path)


async def test_a_file_that_the_provider_does_not_like_is_refused_and_not_asked_again(tmp_path: Path) -> None:
    """Source: the official client's tests: HTTP 200 with envelope code 500 and a word about the file type."""

    async def picky(_: web.Request) -> web.StreamResponse:
        return web.json_response({"code": 500, "message": "unsupported file type", "data": None})

    async with scripted(picky) as base_url, client_of(base_url) as client:
        with pytest.raises(RefusedError, match="unsupported file type"):
            await picture_url(client, tmp_path)


async def test_a_submit_is_never_repeated_on_a_connection_that_the_server_closed() -> None:
    """A kept-alive connection that dies under a POST: the answer is unknown, and the POST is not sent again."""
    posts = 0

    async def once(request: web.Request) -> web.StreamResponse:
        nonlocal posts
        if request.method == "GET":
            return web.json_response({"code": 200, "message": "", "data": {"balance": 1}})
        posts += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with scripted(once) as base_url, client_of(base_url) as client:
        await client.balance()
        assert isinstance(await client.submit(MODEL, inputs("https://x.example/a.png"), SOON), Unknown)
    assert posts == 1
