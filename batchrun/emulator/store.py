"""The second origin of the emulator: where uploads are put and outputs are fetched. Never sees a key."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from batchrun.emulator.distort import random_picture
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.outputs import OUTPUT_FAULTS, serve_output

MAX_UPLOAD_BYTES = 200 * 1024 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_UPLOAD = re.compile(r"/uploads/(?P<ticket>[0-9a-f]{16})/(?P<name>[A-Za-z0-9._-]{1,200})")


@dataclass(slots=True)
class Ticket:
    """A place that was promised to an upload."""

    name: str
    size_bytes: int
    content_type: str
    done: bool = False


@dataclass(slots=True)
class Store:
    """Files on disk, by the path of their URL."""

    folder: Path
    dice: Dice
    base_url: str = ""
    keeps_uploads: bool = True
    """Whether pictures are written down; where nobody looks at them they need not fill a disk."""
    tickets: dict[str, Ticket] = field(default_factory=dict)
    keys_seen: int = 0
    """Requests that carried credentials: must stay 0."""
    sent_bytes: int = 0
    """Of outputs."""

    def ticket(self, name: str, size_bytes: int, content_type: str) -> tuple[str, Ticket]:
        """Promise a place."""
        ticket_id = secrets.token_hex(8)
        self.tickets[ticket_id] = Ticket(name, size_bytes, content_type)
        return ticket_id, self.tickets[ticket_id]

    def place_upload(self, name: str, size_bytes: int, content_type: str) -> str:
        """Promise a place: its URL."""
        return self.upload_url(self.ticket(name, size_bytes, content_type)[0])

    def upload_url(self, ticket_id: str) -> str:
        """Where the file of a ticket is put, and read."""
        return f"{self.base_url}/uploads/{ticket_id}/{self.tickets[ticket_id].name}"

    def upload_path(self, ticket_id: str, name: str) -> Path:
        """The file of an upload."""
        return self.folder / "uploads" / f"{ticket_id}-{name}"

    def output_path(self, task_id: str) -> Path:
        """The clip of a task."""
        return self.folder / "outputs" / f"{task_id}.mp4"

    def output_url(self, task_id: str) -> str:
        """Where the clip of a task is fetched."""
        return f"{self.base_url}/outputs/{task_id}.mp4"

    def stranger_picture(self, number: int) -> str:
        """A picture that is none of ours, as if it had been uploaded: its URL."""
        ticket_id, ticket = self.ticket(f"stranger-{number}.png", 0, "image/png")
        ticket.done = True
        path = self.upload_path(ticket_id, ticket.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        random_picture(number).save(path)
        return self.upload_url(ticket_id)

    def local_file(self, url: str) -> Path | None:
        """The file behind one of our own upload addresses."""
        parts = urlsplit(url)
        own = parts.hostname == urlsplit(self.base_url).hostname  # the port may be that of an earlier start
        found = _UPLOAD.fullmatch(parts.path)
        return self.upload_path(found["ticket"], found["name"]) if own and found else None

    def app(self) -> web.Application:
        """The second origin's routes."""
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES, middlewares=[self._watch_keys])
        app.router.add_put("/uploads/{ticket}/{name}", self._put)
        app.router.add_get("/uploads/{ticket}/{name}", self._get_upload)
        app.router.add_get("/outputs/{task}.mp4", self._get_output)
        return app

    @web.middleware
    async def _watch_keys(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.keys_seen += "Authorization" in request.headers
        return await handler(request)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        match self.dice.throw(Fault.PUT_500, Fault.PUT_DROP):
            case Fault.PUT_500:
                return web.Response(status=500, text="storage trouble")
            case Fault.PUT_DROP:
                return drop(request)
        ticket = self.tickets.get(request.match_info["ticket"])
        if ticket is None or "Authorization" in request.headers:
            return web.Response(status=403, text="signature does not match")
        if request.headers.get("Content-Type") != ticket.content_type or request.headers.get("If-None-Match") != "*":
            return web.Response(status=403, text="signed headers are missing")
        if ticket.done:
            return web.Response(status=412, text="exists already")
        data = await request.read()
        if len(data) != ticket.size_bytes:
            return web.Response(status=400, text="size differs from the ticket's")
        if self.keeps_uploads:
            path = self.upload_path(request.match_info["ticket"], ticket.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        ticket.done = True
        return web.Response(status=200)

    async def _get_upload(self, request: web.Request) -> web.StreamResponse:
        path = self.local_file(f"{self.base_url}{request.path}")
        return web.FileResponse(path) if path is not None and path.exists() else web.Response(status=404)

    async def _get_output(self, request: web.Request) -> web.StreamResponse:
        task_id = request.match_info["task"]
        path = self.output_path(task_id)
        if not _NAME.fullmatch(task_id) or not path.exists():
            return web.Response(status=404, text="no such output")
        served = serve_output(path.read_bytes(), request.headers, self.dice.throw(*OUTPUT_FAULTS))
        if served is None:
            await asyncio.Event().wait()  # until the server is closed
            return drop(request)
        self.sent_bytes += len(served.sent)
        headers = {**served.headers, "Content-Length": str(len(served.body))}
        response = web.StreamResponse(status=served.status, headers=headers)
        await response.prepare(request)
        await response.write(served.sent)
        if served.is_cut:
            return drop(request)
        await response.write_eof()
        return response


def drop(request: web.Request) -> web.Response:
    """Cut the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
