"""The emulator itself: its API without a network, and what only a socket shows."""

import json
import subprocess
import sys
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from batchrun.emulator.api import API, Api, PlainLinks, Reply
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.world import MODEL, Account, World
from tests.clocks import StillClock
from tests.conftest import KEY, emulated

INPUTS = {"prompt": "It turns", "image": "https://x.example/a.png", "duration": 5}


def world_of(
    faults: Mapping[Fault, float] | None = None,
    *,
    account: Account | None = None,
    speed: float | None = None,
    balance_usd: int = 1000,
    seed: int = 1,
) -> tuple[World, StillClock]:
    """A world whose clips are there at once, on a clock that stands still."""
    clock = StillClock()
    world = World(
        clock,
        Latency(speed),
        Dice(dict(faults or {}), seed),
        account=account or Account(),
        books=Books(balance_usd * 1_000_000),
        seed=seed,
    )
    world.on_created = world.rendered
    return world, clock


def ask(api: Api, method: str, path: str, body: object = None, key: str | None = None) -> Reply:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return api.answer(method, API + path, headers, json.dumps(body).encode() if body is not None else b"")


def data(reply: Reply) -> dict[str, object]:
    assert reply.status == 200
    return json.loads(reply.body)["data"]


def submit(api: Api, **more: object) -> str:
    return str(data(ask(api, "POST", f"/{MODEL}", INPUTS | more))["id"])


# ---------------------------------------------------------------------- without a network


def test_the_api_loads_no_network() -> None:
    code = "import sys, batchrun.emulator.api; print(sorted({'aiohttp', 'av', 'PIL', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_one_prediction_from_ticket_to_bill() -> None:
    world, clock = world_of(speed=1)
    api = Api(world, PlainLinks(), base_url="https://api.example")
    ticket = data(ask(api, "POST", "/media/uploads", {"filename": "a.png", "size": 9, "content_type": "image/png"}))
    assert ticket["download_url"] == ticket["upload"]["url"] == "https://files.example/uploads/0000000000000001/a.png"
    quote = data(ask(api, "POST", "/model/price", {"model_id": MODEL, "inputs": {"duration": 10}}))
    assert quote["discounted_price"] == 0.5
    task_id = submit(api, image=ticket["download_url"])
    shown = data(ask(api, "GET", f"/predictions/{task_id}/result?x=1"))
    assert (shown["status"], shown["outputs"]) == ("processing", [])
    assert shown["urls"] == {"get": f"https://api.example{API}/predictions/{task_id}/result"}
    clock.advance(3000)
    for path in (f"/predictions/{task_id}/result", f"/predictions/{task_id}"):
        shown = data(ask(api, "GET", path))
        assert (shown["status"], shown["outputs"]) == ("completed", [f"https://files.example/outputs/{task_id}.mp4"])
    assert [item["id"] for item in data(ask(api, "POST", "/predictions", {}))["items"]] == [task_id]
    assert data(ask(api, "GET", "/balance"))["balance"] == 999.75
    (row,) = data(ask(api, "POST", "/billings/search", {"prediction_uuids": [task_id]}))["items"]
    assert (row["billing_type"], row["price"]) == ("deduct", 0.25)


def test_the_same_world_answers_the_same() -> None:
    def night(seed: int) -> list[Reply]:
        world, clock = world_of(dict.fromkeys((Fault.SUBMIT_DROP_AFTER, Fault.POLL_500), 0.3), speed=1, seed=seed)
        api = Api(world, PlainLinks())
        replies = []
        for number in range(40):
            replies.append(ask(api, "POST", f"/{MODEL}", INPUTS | {"prompt": str(number)}))
            clock.advance(20)
            replies += [ask(api, "GET", f"/predictions/{task_id}") for task_id in list(world.tasks)[-3:]]
        return replies

    assert night(1) == night(1) != night(2)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", b"", 404, 404),
        ("GET", "/predictions/" + "0" * 32, b"", 404, 404),
        ("GET", "/model/price", b"", 405, 405),
        ("POST", f"/{MODEL}", b"[1]", 400, 1401),
        ("POST", f"/{MODEL}", b"\xff", 400, 1401),
        ("POST", f"/{MODEL}", b'{"prompt": "x"}', 400, 1400),
        ("POST", "/predictions", b'{"page": "first"}', 400, 1401),
        ("POST", "/predictions", b'{"created_after": "yesterday"}', 400, 1401),
        ("POST", "/media/uploads", b'{"size": -1}', 400, 1401),
    ],
)
def test_every_refusal_is_an_envelope(method: str, path: str, body: bytes, status: int, code: int) -> None:
    world, _ = world_of()
    reply = Api(world, PlainLinks()).answer(method, API + path, {}, body)
    answer = json.loads(reply.body)
    assert (reply.status, answer["code"], answer["data"]) == (status, code, None)
    assert world.tasks == {}


def test_a_cut_connection_is_said_and_a_pause_is_a_header() -> None:
    world, _ = world_of({Fault.SUBMIT_DROP_BEFORE: 1.0})
    api = Api(world, PlainLinks())
    assert ask(api, "POST", f"/{MODEL}", INPUTS).cut
    world.dice.chances = {Fault.SUBMIT_429: 1.0}
    reply = ask(api, "POST", f"/{MODEL}", INPUTS)
    assert (reply.cut, reply.status, reply.headers["Retry-After"], world.tasks) == (False, 429, "1", {})


def test_every_answer_is_dated_by_the_worlds_clock() -> None:
    world, clock = world_of()
    api = Api(world, PlainLinks(), key=KEY)
    for key in (KEY, "wrong"):
        clock.advance(86_400)
        reply = ask(api, "GET", "/balance", key=key)
        assert parsedate_to_datetime(reply.headers["Date"]).timestamp() * 1000 == clock.now_ms()
        assert reply.headers["Date"].endswith(" GMT")


# ---------------------------------------------------------------------- over a socket


async def test_the_date_over_http_is_the_worlds_too() -> None:
    async with emulated() as emulator, aiohttp.ClientSession() as session:
        emulator.world.clock = StillClock()
        async with session.get(f"{emulator.base_url}{API}/balance") as refused:
            assert (refused.status, refused.headers["Date"]) == (401, "Fri, 15 Jan 2027 08:00:00 GMT")
        form = aiohttp.FormData()
        form.add_field("file", b"not looked at", filename="a.png", content_type="image/png")
        address = f"{emulator.base_url}{API}/media/upload/binary"
        async with session.post(address, data=form, headers={"Authorization": f"Bearer {KEY}"}) as taken:
            assert taken.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
            url = (await taken.json())["data"]["download_url"]
        async with session.get(url) as fetched:
            assert await fetched.read() == b"not looked at"
