"""The way to the provider without sockets: the client's own requests, answered by the emulated API, late or never."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from batchrun.emulator.api import Api
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.outputs import OUTPUT_FAULTS, Served, serve_output
from batchrun.provider.http import Http, PaidBody, RawAnswer
from batchrun.provider.outcome import TryLaterError
from batchrun.provider.wire import retry_after_s
from tests.sim.machine import Process, SimClock

_NEVER_S = 10.0**7
BASE_URL = "http://127.0.0.1:9"


class Writer:
    """What the body of a request is handed to."""

    transport = None

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data


class SimHttp(Http):
    """Everything of the real one but the socket."""

    def __init__(self, key: str | None, clock: SimClock, api: Api, process: Process, net: "Net") -> None:
        super().__init__(BASE_URL, key, clock)
        self._sim_clock = clock
        self._api = api
        self._process = process
        self._net = net

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def _whole(
        self,
        method: str,
        url: str,
        body: Any,  # noqa: ANN401  # as aiohttp takes them
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        exact_headers: bool = False,
    ) -> RawAnswer:
        path = urlsplit(url).path
        name = _endpoint(method, path)
        async with self._sim_clock.timeout(timeout_s):
            await self._process.gate(f"request.before {name}")
            data = await _bytes_of(body)
            await self._net.travel()
            if url.startswith(BASE_URL):
                reply = self._api.answer(method, path, headers, data)
                if reply.stall:
                    await asyncio.sleep(_NEVER_S)
                status, answer, more, cut = reply.status, reply.body, reply.headers, reply.cut
            else:
                fault = self._net.dice.throw(Fault.PUT_500, Fault.PUT_DROP)  # a file's place: it is put there
                status, answer, more, cut = 500 if fault is Fault.PUT_500 else 200, b"", {}, fault is Fault.PUT_DROP
            await self._process.gate(f"request.after {name}")
            await self._net.travel()
            if cut or self._net.loses(name):
                raise aiohttp.ServerDisconnectedError
            await self._process.gate(f"answer.after {name}")
        wait_s = retry_after_s(more.get("Retry-After"), self._sim_clock.now_ms())
        return RawAnswer(status, answer, wait_s, more.get("Date"), self._key or "")

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        await self._process.gate("request.before download")
        await self._net.travel()
        if self._net.loses("download"):
            raise TryLaterError("download: the connection was cut")
        await self._process.gate("answer.after download")
        clip = self._net.clips[self._net.duration_of(url)]
        served = serve_output(clip, headers, self._net.dice.throw(*OUTPUT_FAULTS))
        if served is None:
            await asyncio.sleep(_NEVER_S)
            return
        yield served.status, {**served.headers, "Content-Length": str(len(served.body))}, _pieces(served)


class Net:
    """Delays and lost answers, by chance."""

    def __init__(
        self, chance: random.Random, clips: Mapping[int, bytes], durations: Mapping[str, int], dice: Dice
    ) -> None:
        self._chance = chance
        self.dice = dice
        self._durations = durations
        self.clips = clips
        self.lossy: dict[str, float] = {}
        """By endpoint: how likely an answer is lost on its way."""
        self.slow_s = 0.2

    async def travel(self) -> None:
        await asyncio.sleep(self._chance.random() * self.slow_s)

    def loses(self, name: str) -> bool:
        share = self.lossy.get(name, 0.0)
        return share > 0 and self._chance.random() < share

    def duration_of(self, url: str) -> int:
        return self._durations[urlsplit(url).path.rsplit("/", 1)[1].removesuffix(".mp4")]


async def _bytes_of(body: Any) -> bytes:  # noqa: ANN401  # as aiohttp takes them
    if isinstance(body, PaidBody):
        writer = Writer()
        await body.write(writer)  # type: ignore[arg-type]  # a writer that only gathers
        return writer.data
    return body or b""


async def _pieces(served: Served) -> AsyncIterator[bytes]:
    yield served.sent
    if served.is_cut:
        raise TryLaterError("download: ServerDisconnectedError")


def _endpoint(method: str, path: str) -> str:
    last = path.rstrip("/").rsplit("/", 1)[-1]
    if method == "PUT":
        return "put"
    if last == "result":
        return "poll"
    names = {"predictions": "list", "uploads": "ticket", "search": "billing", "balance": "balance", "price": "price"}
    return names.get(last, "submit")
