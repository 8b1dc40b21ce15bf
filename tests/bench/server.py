"""A provider that costs next to nothing: the API's endpoints by hand on sockets, clips ready-made, so that only its clients
are measured. `python -m tests.bench.server` prints its address and serves until its standard input ends.

It keeps its own watch on the clients: polls, how late they learn of an end, how long each prediction took.
"""

import asyncio
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from statistics import fmean
from typing import Any

from tests.sim.night import clips

API = "/api/v3"
MODEL = "kwaivgi/kling-v1.6-i2v-standard"
_JSON = "application/json"
_FREE_BOX_HEAD = 8
_OF_A_JOB = frozenset({"ticket", "put", "submit", "poll", "download"})
Answer = tuple[int, str, bytes]
"""Status, content type, body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How the provider is for one measurement."""

    median_s: float = 0.0
    """Of log-normal latencies; 0 answers with the first poll."""
    sigma: float = 0.42
    at_most_s: float = math.inf
    clip_bytes: int = 0
    """The clip is padded up to so many."""
    seed: int = 1


@dataclass(slots=True)
class Task:
    """One prediction, by CLOCK_MONOTONIC, which all processes of a machine share."""

    body: bytes
    created_at: str
    begun_s: float
    ends_s: float
    seen_s: float | None = None
    """When a client was first told of the end."""


@dataclass(slots=True)
class Provider:
    """The account, and what its clients do."""

    base_url: str = ""
    terms: Terms = field(default_factory=Terms)
    tasks: dict[str, Task] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    first_s: float = 0.0
    last_s: float = 0.0
    """The first and the last request that belongs to a job: without the start and the end of a client."""
    marked_s: float = 0.0
    looked_at: dict[str, float] = field(default_factory=dict)
    """Predictions from before the mark, and when each was asked about first since then."""
    clip: bytes = b""
    _ended: int = 0
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _chance: random.Random = field(default_factory=random.Random)

    def reset(self, terms: Terms) -> None:
        """Forget everything; the same seed draws the same latencies in the order of the submits."""
        self.terms, self.tasks, self.counts, self._ended = terms, {}, {}, 0
        self.first_s = self.last_s = 0.0
        self._chance = random.Random(terms.seed)
        self.clip = padded(clips()[5], terms.clip_bytes)
        self.mark()

    def mark(self) -> None:
        """From here on polls are first ones again."""
        self.marked_s, self.looked_at = time.monotonic(), {}

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """One request."""
        if method == "GET":
            return self._looked_up(path)
        if method == "PUT":
            return self._counted("put", b"", "text/plain")
        posts: dict[str, Callable[[bytes], Answer]] = {
            f"{API}/{MODEL}": self._submit,
            f"{API}/media/uploads": self._ticket,
            f"{API}/predictions": self._list,
            f"{API}/billings/search": self._billing,
            f"{API}/model/price": lambda _: self._told("price", {"price": 0.25, "discounted_price": 0.25}),
            "/bench/reset": self._reset,
        }
        found = posts.get(path)
        return found(body) if found is not None else (404, _JSON, b'{"code":404,"message":"not found","data":null}')

    def _looked_up(self, path: str) -> Answer:
        if path.startswith(f"{API}/predictions/"):
            return self._result(path.removeprefix(f"{API}/predictions/").removesuffix("/result"))
        if path.startswith("/outputs/"):
            return self._counted("download", self.clip, "video/mp4")
        if path == f"{API}/balance":
            return self._told("balance", {"balance": 1_000_000.0})
        if path == "/bench/figures":
            return 200, _JSON, json.dumps(self.figures()).encode()
        if path == "/bench/now":
            return 200, _JSON, json.dumps(self.now()).encode()
        if path == "/bench/mark":
            self.mark()
            return 200, _JSON, b"{}"
        return 404, _JSON, b'{"code":404,"message":"not found","data":null}'

    def _submit(self, body: bytes) -> Answer:
        now_s, task_id = time.monotonic(), f"p{next(self._numbers):015x}"
        self.tasks[task_id] = task = Task(body, _rfc3339(time.time()), now_s, now_s + self._draw_s())
        return self._counted("submit", _enveloped(self._shown(task_id, task, is_over=False)))

    def _draw_s(self) -> float:
        terms = self.terms
        if terms.median_s <= 0:
            return 0.0
        return min(self._chance.lognormvariate(math.log(terms.median_s), terms.sigma), terms.at_most_s)

    def _result(self, task_id: str) -> Answer:
        now_s = time.monotonic()
        task = self.tasks.get(task_id)
        if task is None:
            return 404, _JSON, b'{"code":404,"message":"Prediction not found","data":null}'
        if task.begun_s < self.marked_s:
            self.looked_at.setdefault(task_id, now_s)
        is_over = now_s >= task.ends_s
        if is_over and task.seen_s is None:
            task.seen_s = now_s
            self._ended += 1
        return self._counted("poll", _enveloped(self._shown(task_id, task, is_over=is_over)))

    def _shown(self, task_id: str, task: Task, *, is_over: bool) -> bytes:
        status, outputs, took_ms = "processing", "", 0
        if is_over:
            status, outputs = "completed", f'"{self.base_url}/outputs/{task_id}.mp4"'
            took_ms = int((task.ends_s - task.begun_s) * 1000)
        return (
            f'{{"id":"{task_id}","model":"{MODEL}","status":"{status}","created_at":"{task.created_at}",'
            f'"outputs":[{outputs}],"error":"","code":0,"timings":{{"inference":{took_ms}}},"input":'
        ).encode() + b"%s}" % task.body

    def _ticket(self, body: bytes) -> Answer:
        asked = json.loads(body)
        url = f"{self.base_url}/files/{next(self._numbers):016x}/{asked['filename']}"
        kind = asked.get("content_type", "application/octet-stream")
        place = {"method": "PUT", "url": url, "headers": {"Content-Type": kind}}
        return self._told("ticket", {"download_url": url, "filename": asked["filename"], "upload": place})

    def _list(self, body: bytes) -> Answer:
        asked = json.loads(body)
        page, size = asked.get("page", 1), min(asked.get("page_size", 100), 100)
        after, before = asked.get("created_after", ""), asked.get("created_before", "9")
        found = [one for one in reversed(self.tasks.items()) if after <= one[1].created_at <= before]
        now_s = time.monotonic()
        items = [
            self._shown(task_id, task, is_over=now_s >= task.ends_s)
            for task_id, task in found[(page - 1) * size : page * size]
        ]
        head = f'{{"page":{page},"total":{len(found)},"items":['.encode()
        return self._counted("list", _enveloped(head + b",".join(items) + b"]}"))

    def _billing(self, body: bytes) -> Answer:
        asked = json.loads(body)
        ids = [one for one in asked.get("prediction_uuids") or [] if one in self.tasks]
        items = [
            {
                "billing_type": "deduct",
                "price": 0.25,
                "created_at": self.tasks[one].created_at,
                "prediction": {"uuid": one, "model_uuid": MODEL},
            }
            for one in ids
        ]
        return self._told("billing", {"page": 1, "total": len(items), "items": items})

    def _reset(self, body: bytes) -> Answer:
        self.reset(Terms(**json.loads(body)))
        return 200, _JSON, b"{}"

    def now(self) -> dict[str, Any]:
        """What can be told without looking at every task."""
        return {
            "counts": self.counts,
            "running": len(self.tasks) - self._ended,
            "looked_at_s": list(self.looked_at.values()),
        }

    def figures(self) -> dict[str, Any]:
        """What the clients did since the reset, by the server's own watch."""
        ended = [task for task in self.tasks.values() if task.seen_s is not None]
        delays = sorted((task.seen_s or 0.0) - task.ends_s for task in ended) or [0.0]
        begun = [task.begun_s for task in self.tasks.values()]
        return {
            "counts": self.counts,
            "wall_s": self.last_s - self.first_s,
            "mean_delay_s": fmean(delays),
            "p95_delay_s": delays[int(0.95 * (len(delays) - 1))],
            "took_s": [task.ends_s - task.begun_s for task in self.tasks.values()],
            "first_submit_s": min(begun, default=None),
            "last_seen_s": max((task.seen_s or 0.0 for task in ended), default=None),
        }

    def connected(self) -> None:
        """A new connection was made."""
        self.counts["connection"] = self.counts.get("connection", 0) + 1

    def _told(self, name: str, data: Mapping[str, object]) -> Answer:
        return self._counted(name, _enveloped(json.dumps(data).encode()))

    def _counted(self, name: str, body: bytes, kind: str = _JSON) -> Answer:
        self.counts[name] = self.counts.get(name, 0) + 1
        if name in _OF_A_JOB:
            self.last_s = time.monotonic()
            self.first_s = self.first_s or self.last_s
        return 200, kind, body


class Connection(asyncio.Protocol):
    """As much of HTTP/1.1 as well-behaved clients need: lengths, kept connections, `100 Continue` never asked for."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._provider.connected()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next_request()) is not None:
            status, kind, body = self._provider.answer(*request)
            head = (
                f"HTTP/1.1 {status} {'OK' if status < 300 else 'Not Found'}\r\nContent-Type: {kind}\r\n"
                f'Content-Length: {len(body)}\r\nDate: {formatdate(usegmt=True)}\r\nETag: "{len(body)}"\r\n\r\n'
            )
            assert self._transport is not None
            self._transport.write(head.encode() + body)

    def _next_request(self) -> tuple[str, str, bytes] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[:end]).decode("latin-1")
        first, *lines = head.split("\r\n")
        length = next((int(line[15:]) for line in lines if line[:15].lower() == "content-length:"), 0)
        if len(self._buffer) < end + 4 + length:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        method, path, _ = first.split(" ", 2)
        return method, path, body


def padded(clip: bytes, size_bytes: int) -> bytes:
    """The same clip as large as a real one: an empty box of ISO 14496-12 behind it."""
    rest = size_bytes - len(clip)
    return clip if rest < _FREE_BOX_HEAD else clip + rest.to_bytes(4, "big") + b"free" + bytes(rest - _FREE_BOX_HEAD)


def _enveloped(data: bytes) -> bytes:
    return b'{"code":200,"message":"success","data":%s}' % data


def _rfc3339(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def serve() -> None:
    """Until standard input ends: with whoever started it, however that one ends."""
    provider = Provider()
    provider.reset(Terms())
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(provider), "127.0.0.1", 0, backlog=10_000
    )
    provider.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(provider.base_url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
