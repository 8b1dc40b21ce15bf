"""The emulated API over HTTP: two origins on this machine, one for the API and one for files.

Source of every shape: the provider's pages, as far as they are known; where they disagree, the newer one.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from batchrun.emulator.books import PRICE_USD_MICROS
from batchrun.emulator.faults import Fault
from batchrun.emulator.render import AREA_PX, UnreadablePictureError, render
from batchrun.emulator.store import Handler, Store, drop
from batchrun.emulator.world import MODEL, RefusedRequestError, Task, World

_API = "/api/v3"
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
_MAX_PICTURE_BYTES = 10_000_000
_FETCH_TIMEOUT_S = 30.0

Render = Callable[[Path, str, int, Path], None]


@dataclass(slots=True)
class Emulator:
    """A running emulator."""

    world: World
    store: Store
    base_url: str
    key: str | None


def render_at(area_px: int) -> Render:
    """Rendering at a size; tests use a small one."""

    def at_size(picture: Path, prompt: str, duration_s: int, target: Path) -> None:
        render(picture, prompt, duration_s, target, area_px)

    return at_size


@asynccontextmanager
async def serve(
    world: World,
    *,
    port: int = 0,
    key: str | None = None,
    render_clip: Render | None = None,
    show_inputs: bool = True,
) -> AsyncIterator[Emulator]:
    """Run an emulator on this machine for the time of the block.

    Args:
        world: its state.
        port: of the API; 0 takes any free one. Files get any free port.
        key: the only key that is accepted; None accepts every request.
        render_clip: how a picture becomes a clip; blocks, runs in threads.
        show_inputs: whether results and lists echo the inputs (the sources disagree).
    """
    async with AsyncExitStack() as stack:
        folder = world.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batchrun-emulator-")))
        store = Store(folder, world.dice)
        store.base_url = await _listen(stack, store.app(), 0)
        threads = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="render")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        works = await stack.enter_async_context(_Works(world, store, threads, render_clip or render_at(AREA_PX)))
        handlers = _Handlers(world, store, works, key, show_inputs=show_inputs)
        base_url = await _listen(stack, handlers.app(), port)
        handlers.base_url = base_url
        for task in list(world.tasks.values()):
            if task.running:
                works.start(task)
        yield Emulator(world, store, base_url, key)


async def _listen(stack: AsyncExitStack, app: web.Application, port: int) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    return f"http://{host}:{bound}"


class _Works:
    """Renders what was submitted, in threads, while the loop goes on serving."""

    def __init__(self, world: World, store: Store, threads: ThreadPoolExecutor, render_clip: Render) -> None:
        self._world = world
        self._store = store
        self._threads = threads
        self._render = render_clip
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S), trust_env=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def start(self, task: Task) -> None:
        """Begin to work on a task."""
        work = asyncio.create_task(self._work(task), name=f"render {task.task_id}")
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def _work(self, task: Task) -> None:
        target = self._store.output_path(task.task_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        try:
            picture = await self._picture(task)
            await asyncio.get_running_loop().run_in_executor(
                self._threads, self._render, picture, task.inputs["prompt"], task.duration_s, part
            )
        except UnreadablePictureError as error:
            self._world.fail(task, 1401, f"the image cannot be read: {error}")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            self._world.fail(task, 1402, "could not fetch the input image")
        else:
            part.replace(target)
            self._world.rendered(task)

    async def _picture(self, task: Task) -> Path:
        url = task.inputs["image"]
        local = self._store.local_file(url)
        if local is not None:
            local.stat()
            return local
        if self._session is None:
            raise OSError("not running")
        async with self._session.get(url) as response:
            response.raise_for_status()
            data = await response.content.read(_MAX_PICTURE_BYTES + 1)
            while len(data) <= _MAX_PICTURE_BYTES and (more := await response.content.read(_MAX_PICTURE_BYTES)):
                data += more
        if len(data) > _MAX_PICTURE_BYTES:
            raise ValueError("too large")
        path = self._store.folder / "fetched" / task.task_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


class _Handlers:
    """One method a route."""

    def __init__(self, world: World, store: Store, works: _Works, key: str | None, *, show_inputs: bool) -> None:
        self._world = world
        self._store = store
        self._works = works
        self._key = key
        self._show_inputs = show_inputs
        self.base_url = ""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=32 * 1024 * 1024, middlewares=[self._guard])
        app.router.add_post(f"{_API}/{MODEL}", self._submit)
        app.router.add_get(_API + "/predictions/{id}/result", self._result)
        app.router.add_get(_API + "/predictions/{id}", self._result)
        app.router.add_post(f"{_API}/predictions", self._list)
        app.router.add_post(f"{_API}/media/uploads", self._ticket)
        app.router.add_post(f"{_API}/media/upload/binary", self._form)
        app.router.add_get(f"{_API}/balance", self._balance)
        app.router.add_post(f"{_API}/model/price", self._price)
        app.router.add_post(f"{_API}/billings/search", self._billing)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The key, and every refusal as the provider's envelope."""
        if self._key is not None and request.headers.get("Authorization") != f"Bearer {self._key}":
            return _envelope(None, 401, 401, "invalid authentication")
        self._world.advance()
        try:
            return await handler(request)
        except RefusedRequestError as error:
            headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
            return _envelope(None, error.status, error.code, str(error), headers)
        except web.HTTPNotFound:
            return _envelope(None, 404, 404, "not found")

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        fault = self._world.dice.throw(
            Fault.SUBMIT_DROP_BEFORE,
            Fault.SUBMIT_DROP_AFTER,
            Fault.SUBMIT_500,
            Fault.SUBMIT_502_AFTER,
            Fault.SUBMIT_NO_ID,
            Fault.SUBMIT_TRUNCATED,
            Fault.SUBMIT_429,
            Fault.SUBMIT_NO_CREDIT,
        )
        match fault:
            case Fault.SUBMIT_DROP_BEFORE:
                return drop(request)
            case Fault.SUBMIT_500:
                return _envelope(None, 500, 500, "internal error")
            case Fault.SUBMIT_429:
                raise RefusedRequestError(429, 429, "too many requests, please try again later", 1)
            case Fault.SUBMIT_NO_CREDIT:
                raise RefusedRequestError(400, 1407, "insufficient credits")
        task = self._world.submit(await _json(request))
        self._works.start(task)
        answer = _envelope(self._shown(task))
        match fault:
            case Fault.SUBMIT_DROP_AFTER:
                return drop(request)
            case Fault.SUBMIT_502_AFTER:
                return web.Response(status=502, text=_HTML, content_type="text/html")
            case Fault.SUBMIT_NO_ID:
                return _envelope({"status": "created", "outputs": []})
            case Fault.SUBMIT_TRUNCATED:
                return _truncated(answer)
        return answer

    async def _result(self, request: web.Request) -> web.StreamResponse:
        fault = self._world.dice.throw(
            Fault.POLL_500, Fault.POLL_DROP, Fault.POLL_HTML, Fault.POLL_TRUNCATED, Fault.POLL_404
        )
        task = self._world.tasks.get(request.match_info["id"])
        if task is None or fault is Fault.POLL_404:
            return _envelope(None, 404, 404, "Prediction not found")
        match fault:
            case Fault.POLL_500:
                return _envelope(None, 500, 500, "internal error")
            case Fault.POLL_DROP:
                return drop(request)
            case Fault.POLL_HTML:
                return web.Response(text=_HTML, content_type="text/html")
            case Fault.POLL_TRUNCATED:
                return _truncated(_envelope(self._shown(task)))
        return _envelope(self._shown(task))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        page, size = int(body.get("page", 1)), min(100, int(body.get("page_size", 100)))
        after, before = _moment_ms(body.get("created_after")), _moment_ms(body.get("created_before"))
        found = [
            task
            for task in sorted(self._world.tasks.values(), key=lambda task: -task.created_ms)
            if body.get("model") in (None, MODEL)
            and body.get("status") in (None, task.status)
            and (after is None or task.created_ms >= after)
            and (before is None or task.created_ms <= before)
        ]
        items = [self._shown(task) for task in found[(page - 1) * size : page * size]]
        return _envelope({"page": page, "total": len(found), "items": items})

    async def _ticket(self, request: web.Request) -> web.StreamResponse:
        if self._world.dice.throw(Fault.TICKET_500):
            return _envelope(None, 500, 500, "internal error")
        body = await _json(request)
        name, size_bytes = str(body.get("filename", "")), int(body.get("size", 0))
        ticket_id, ticket = self._store.ticket(name, size_bytes, str(body.get("content_type")))
        url = self._store.upload_url(ticket_id)
        return _envelope(
            {
                "type": "image",
                "download_url": url,
                "filename": name,
                "size": size_bytes,
                "upload": {
                    "method": "PUT",
                    "url": url,
                    "headers": {"Content-Type": ticket.content_type, "If-None-Match": "*"},
                    "expires_at": _rfc3339(self._world.clock.now_ms() + 600_000),
                },
            }
        )

    async def _form(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        field = form.get("file")
        if not isinstance(field, web.FileField):
            raise RefusedRequestError(400, 1400, "missing parameter: file")
        data = field.file.read()
        ticket_id, ticket = self._store.ticket(field.filename, len(data), field.content_type)
        path = self._store.upload_path(ticket_id, ticket.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        url = self._store.upload_url(ticket_id)
        return _envelope({"type": "image", "download_url": url, "filename": ticket.name, "size": len(data)})

    async def _balance(self, _: web.Request) -> web.StreamResponse:
        return _envelope({"balance": self._world.books.balance_usd_micros / 1e6})

    async def _price(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        duration_s = (body.get("inputs") or {}).get("duration", 5)
        price = PRICE_USD_MICROS.get(duration_s, PRICE_USD_MICROS[5]) / 1e6
        quote = {"model_id": body.get("model_id"), "price": price, "discounted_price": price, "discount_rate": 100}
        return _envelope(quote | {"currency": "USD"})

    async def _billing(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        wanted = body.get("prediction_uuids")
        rows = [
            entry
            for entry in self._world.books.entries
            if (not wanted or entry.prediction_id in wanted) and body.get("billing_type") in (None, entry.kind)
        ]
        if str(body.get("sort", "")).endswith("DESC"):
            rows.reverse()
        page, size = int(body.get("page", 1)), min(100, int(body.get("page_size", 10)))
        items = [
            {
                "uuid": f"{entry.number:032x}",
                "billing_type": entry.kind,
                "price": entry.amount_usd_micros / 1e6,
                "created_at": _rfc3339(entry.at_ms),
                "prediction": {"uuid": entry.prediction_id, "model_uuid": MODEL},
            }
            for entry in rows[(page - 1) * size : page * size]
        ]
        return _envelope({"page": page, "total": len(rows), "items": items})

    def _shown(self, task: Task) -> dict[str, Any]:
        """A prediction as the API shows it."""
        completed = task.status == "completed"
        inference_ms = (task.ended_ms or 0) - (task.started_ms or 0) if completed else 0
        shown: dict[str, Any] = {
            "id": task.task_id,
            "model": MODEL,
            "status": task.status,
            "created_at": _rfc3339(task.created_ms, digits=9),
            "urls": {"get": f"{self.base_url}{_API}/predictions/{task.task_id}/result"},
            "outputs": [self._store.output_url(task.task_id)] if completed else [],
            "has_nsfw_contents": [False] if completed else None,
            "error": task.error,
            "code": task.code,
            "timings": {"inference": inference_ms},
        }
        return shown | ({"input": task.inputs} if self._show_inputs else {})


def _envelope(
    data: object, status: int = 200, code: int = 200, message: str = "success", headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response({"code": code, "message": message, "data": data}, status=status, headers=headers)


def _truncated(answer: web.Response) -> web.Response:
    text = answer.text or ""
    return web.Response(text=text[: len(text) // 2], content_type="application/json")


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        raise RefusedRequestError(400, 1401, "the body must be a JSON object")
    return body


def _moment_ms(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise RefusedRequestError(400, 1401, "invalid time") from None


def _rfc3339(now_ms: int, digits: int = 3) -> str:
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}{'0' * (digits - 3)}Z"
