"""The emulated API over HTTP: two origins on this machine, one for the API and one for files.

What is answered is decided in `api`; here are sockets, the rendering in threads, and nothing else.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from batchrun.emulator.animate.plan import UnreadablePictureError, Wish
from batchrun.emulator.api import API, Api, uploaded
from batchrun.emulator.distort import Distortion
from batchrun.emulator.faults import CLIP_FAULTS
from batchrun.emulator.pages import PATHS, Pages
from batchrun.emulator.render import AREA_PX, render
from batchrun.emulator.reply import RefusedRequestError, Reply, envelope, http_date
from batchrun.emulator.spoil import spoilt
from batchrun.emulator.store import Store, drop
from batchrun.emulator.world import Task, World

_MAX_PICTURE_BYTES = 10_000_000
_FETCH_TIMEOUT_S = 30.0
_OWN_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,250}")
_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4"}

Render = Callable[[Path, Wish, Path], Sequence[str]]
"""Writes the clip of a picture, and says what of the wish it does not show."""


class PortError(Exception):
    """Nobody can listen on the port; the text says why."""


@dataclass(slots=True)
class Emulator:
    """A running emulator."""

    world: World
    store: Store
    base_url: str
    key: str | None


def render_at(area_px: int, distortion: Distortion | None = None) -> Render:
    """Rendering at a size (tests use a small one), and with what a real model changes, where that is wanted."""

    def at_size(picture: Path, wish: Wish, target: Path) -> Sequence[str]:
        return render(picture, wish, target, area_px, distortion)

    return at_size


@asynccontextmanager
async def serve(
    world: World,
    *,
    port: int = 0,
    key: str | None = None,
    render_clip: Render | None = None,
    ready_clips: Mapping[int, bytes] | None = None,
    show_inputs: bool = True,
    others: Mapping[str, World] | None = None,
) -> AsyncIterator[Emulator]:
    """Run an emulator on this machine for the time of the block.

    Args:
        world: its state, the clock of every answer, and the folder of all files.
        port: of the API; 0 takes any free one. Files get any free port.
        key: the only key that is accepted; None accepts every request.
        render_clip: how a picture becomes a clip; blocks, runs in threads.
        ready_clips: by length in seconds, a clip for every picture: nothing is rendered, and uploads are not kept.
        show_inputs: whether results and lists echo the inputs (the sources disagree).
        others: further accounts behind the same address, by their key: each sees its own world only. Worlds
            with a seed need one each: equal seeds make equal ids, and files are kept by id.

    Raises:
        PortError: the port cannot be had.
    """
    async with AsyncExitStack() as stack:
        folder = world.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batchrun-emulator-")))
        store = Store(folder, world.dice, keeps_uploads=ready_clips is None)
        store.base_url = await _listen(stack, store.app(), 0, world)
        threads = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="render")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        works = await stack.enter_async_context(_Works(store, threads, render_clip or render_at(AREA_PX), ready_clips))
        apis = {one: Api(other, store, key=one, show_inputs=show_inputs) for one, other in (others or {}).items()}
        api = Api(world, store, key=key, show_inputs=show_inputs, others=apis)
        base_url = await _listen(stack, _Skin(api, store, Pages(world, store)).app(), port, world)
        for one in (api, *apis.values()):
            one.base_url = base_url
        for each in (world, *(others or {}).values()):
            stack.callback(setattr, each, "on_created", each.on_created)
            each.on_created = partial(works.start, each)
            for task in list(each.tasks.values()):
                if task.running:
                    works.start(each, task)
        yield Emulator(world, store, base_url, key)


async def _listen(stack: AsyncExitStack, app: web.Application, port: int, world: World) -> str:
    async def date(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = http_date(world.clock.now_ms())  # not aiohttp's own, which is the machine's

    app.on_response_prepare.append(date)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", port)
    try:
        await site.start()
    except OSError as error:
        raise PortError(error.strerror) from error
    host, bound = runner.addresses[0][:2]
    return f"http://{host}:{bound}"


class _Works:
    """Renders what was submitted, in threads, while the loop goes on serving."""

    def __init__(
        self, store: Store, threads: ThreadPoolExecutor, render_clip: Render, ready_clips: Mapping[int, bytes] | None
    ) -> None:
        self._store = store
        self._threads = threads
        self._render = render_clip
        self._ready_clips = ready_clips
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

    def start(self, world: World, task: Task) -> None:
        """Begin to work on a task."""
        work = asyncio.create_task(self._work(world, task), name=f"render {task.task_id}")
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def _work(self, world: World, task: Task) -> None:
        target = self._store.output_path(task.task_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        try:
            not_shown = await self._make(world, task, part)
        except UnreadablePictureError as error:
            world.fail(task, 1401, f"the image cannot be read: {error}")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            world.fail(task, 1402, "could not fetch the input image")
        else:
            part.replace(target)
            task.warnings = list(not_shown)
            world.rendered(task)

    async def _make(self, world: World, task: Task, part: Path) -> Sequence[str]:
        if self._ready_clips is not None:
            await asyncio.to_thread(part.write_bytes, self._ready_clips[task.duration_s])
            return ()
        picture = await self._picture(task)
        fault = world.dice.throw(*CLIP_FAULTS)
        render = self._render if fault is None else spoilt(fault, task.task_id)
        return await asyncio.get_running_loop().run_in_executor(self._threads, render, picture, _wish(task), part)

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


def _wish(task: Task) -> Wish:
    return Wish(
        prompt=task.inputs["prompt"],
        negative_prompt=task.inputs.get("negative_prompt", ""),
        guidance=task.inputs.get("guidance_scale", 0.5),
        duration_s=task.duration_s,
    )


class _Skin:
    """Requests to bytes for the API, its replies to answers; the one upload that is no JSON; and the books for people."""

    def __init__(self, api: Api, store: Store, pages: Pages) -> None:
        self._api = api
        self._store = store
        self._pages = pages

    def app(self) -> web.Application:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_post(f"{API}/media/upload/binary", self._form)
        for path in PATHS:
            app.router.add_get(path, self._page)
        app.router.add_get("/clips/{name}", self._clip)
        app.router.add_get("/pictures/{name}", self._picture)
        app.router.add_route("*", "/{path:.*}", self._any)
        return app

    async def _page(self, request: web.Request) -> web.StreamResponse:
        _check_host(request)
        return await _sent(request, self._pages.answer(request.path, request.query))

    async def _clip(self, request: web.Request) -> web.StreamResponse:
        """A clip as it is: what a browser fetches plays no faults."""
        _check_host(request)
        return _file(self._store.folder / "outputs", request.match_info["name"])

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        _check_host(request)
        return _file(self._store.folder / "uploads", request.match_info["name"])

    async def _any(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return await _sent(request, self._api.answer(request.method, request.path, request.headers, body))

    async def _form(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        api = self._api.of(request.headers)
        return await _sent(request, api.guarded(request.headers, lambda: self._stored(form.get("file"))))

    def _stored(self, field: object) -> Reply:
        if not isinstance(field, web.FileField):
            raise RefusedRequestError(400, 1400, "missing parameter: file")
        data = field.file.read()
        ticket_id, ticket = self._store.ticket(field.filename, len(data), field.content_type)
        path = self._store.upload_path(ticket_id, ticket.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return envelope(uploaded(self._store.upload_url(ticket_id), ticket.name, len(data)))


def _check_host(request: web.Request) -> None:
    """Pages of other servers, whose names may be made to lead here, may not read the books."""
    if URL(f"http://{request.host}").host not in _OWN_NAMES:
        raise web.HTTPForbidden(text="ask for 127.0.0.1 or localhost")


def _file(folder: Path, name: str) -> web.StreamResponse:
    """A file of a folder; never taken for anything but a picture or a clip."""
    path = folder / name
    if not _FILE_NAME.fullmatch(name) or not path.is_file():
        raise web.HTTPNotFound(text="no such file")
    kind = _KINDS.get(path.suffix.lower(), "application/octet-stream")
    return web.FileResponse(path, headers={"Content-Type": kind, "X-Content-Type-Options": "nosniff"})


async def _sent(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.stall:
        await asyncio.Event().wait()  # until the server is closed
    if reply.cut:
        return drop(request)
    return web.Response(
        status=reply.status, body=reply.body, headers=reply.headers, content_type=reply.content_type, charset="utf-8"
    )
