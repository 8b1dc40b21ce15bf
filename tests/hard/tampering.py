"""A server between a run and the emulator that may change what the emulator answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import aiohttp
from aiohttp import web

from batchrun.emulator.server import Emulator

_PASSED_ON = ("authorization", "content-type")


class Said(NamedTuple):
    """One answer of the emulator, and to which path."""

    path: str
    status: int
    body: bytes
    headers: dict[str, str]


Tamper = Callable[[Said], Said]


@dataclass(frozen=True)
class Middleman:
    """Where it listens, in the place of the emulator."""

    base_url: str


@asynccontextmanager
async def tampered(emulator: Emulator, tamper: Tamper) -> AsyncIterator[Middleman]:
    """Passes every request on, and what `tamper` makes of the answer back."""
    app = web.Application(client_max_size=2**26)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        app.router.add_route("*", "/{tail:.*}", partial(_pass_on, session, emulator.base_url, tamper))
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            yield Middleman(f"http://127.0.0.1:{port}")
        finally:
            await runner.cleanup()


async def _pass_on(session: aiohttp.ClientSession, base_url: str, tamper: Tamper, request: web.Request) -> web.Response:
    headers = {name: value for name, value in request.headers.items() if name.lower() in _PASSED_ON}
    asked = session.request(request.method, base_url + request.path_qs, data=await request.read(), headers=headers)
    async with asked as answer:
        said = tamper(Said(request.path, answer.status, await answer.read(), {}))
    return web.Response(
        status=said.status, body=said.body, headers={"Content-Type": "application/json", **said.headers}
    )
