"""The emulator itself: its API without a network, and what only a socket shows."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import av
import numpy as np
import pytest

from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.api import API, Api
from batchrun.emulator.books import Books
from batchrun.emulator.distort import Distortion
from batchrun.emulator.faults import Dice, Fault, parse_faults
from batchrun.emulator.latency import Latency
from batchrun.emulator.reply import RefusedRequestError, Reply
from batchrun.emulator.server import Emulator, render_at
from batchrun.emulator.world import MODEL, Account, World
from tests.clocks import StillClock
from tests.conftest import KEY, emulated, make_picture
from tests.links import PlainLinks

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
            assert fetched.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
        assert emulator.world.tasks == {}


async def until_all_ended(
    emulator: Emulator, session: aiohttp.ClientSession, count: int, key: str = KEY
) -> list[dict[str, object]]:
    """What the list shows once as many predictions stand in it, all of them ended."""
    while True:
        async with session.post(
            f"{emulator.base_url}{API}/predictions", json={}, headers={"Authorization": f"Bearer {key}"}
        ) as listed:
            items = (await listed.json())["data"]["items"]
        if len(items) == count and all(item["status"] in ("completed", "failed") for item in items):
            return items
        await asyncio.sleep(0.01)


def uploaded_picture(emulator: Emulator) -> str:
    ticket_id, ticket = emulator.store.ticket("a.png", 1, "image/png")
    make_picture(emulator.store.upload_path(ticket_id, ticket.name))
    return emulator.store.upload_url(ticket_id)


async def test_late_predictions_and_strangers_get_real_clips(tmp_path: Path) -> None:
    account = Account(late_ms=(30, 60))
    faults = {Fault.SUBMIT_DROP_LATE: 1.0, Fault.STRANGER: 1.0}
    async with emulated(faults, account=account) as emulator, aiohttp.ClientSession() as session:
        ours = INPUTS | {"image": uploaded_picture(emulator)}
        with pytest.raises(aiohttp.ClientError):
            await session.post(
                f"{emulator.base_url}{API}/{MODEL}", json=ours, headers={"Authorization": f"Bearer {KEY}"}
            )
        items = await until_all_ended(emulator, session, 2)
        assert [item["status"] for item in items] == ["completed", "completed"]
        assert emulator.world.submits == [ours]
        (stranger,) = emulator.world.strangers
        assert items[1]["id"] == stranger != items[0]["id"]
        for item in items:
            async with session.get(item["outputs"][0]) as clip:
                assert b"ftyp" in (await clip.read())[:16]


async def test_what_a_preview_does_not_show_is_said_with_its_result() -> None:
    async with emulated() as emulator, aiohttp.ClientSession() as session:
        picture = {"image": uploaded_picture(emulator)}
        for prompt in ("Slow orbit", "Coffee is poured, slow orbit"):
            await session.post(
                f"{emulator.base_url}{API}/{MODEL}",
                json=INPUTS | picture | {"prompt": prompt},
                headers={"Authorization": f"Bearer {KEY}"},
            )
        items = await until_all_ended(emulator, session, 2)
        said = {item["input"]["prompt"]: item.get("warnings") for item in items}
        assert said == {"Slow orbit": None, "Coffee is poured, slow orbit": ["liquids do not flow (poured)"]}


async def test_another_key_behind_the_same_address_sees_its_own_world_only() -> None:
    slow = Account(refund_after_ms=10**9)  # a picture at x.example cannot be fetched, but its charge stays
    other, _ = world_of(balance_usd=7, seed=2, account=slow)
    async with emulated(account=slow, others={"wsk_other": other}) as emulator, aiohttp.ClientSession() as session:
        emulator.world.add_stranger(INPUTS)

        async def asked(key: str, path: str, **more: object) -> dict[str, object]:
            method = "POST" if "json" in more else "GET"
            headers = {"Authorization": f"Bearer {key}"}
            async with session.request(method, f"{emulator.base_url}{API}{path}", headers=headers, **more) as answer:
                return await answer.json()

        picture = {"image": uploaded_picture(emulator)}
        bought = (await asked("wsk_other", f"/{MODEL}", json=INPUTS | picture))["data"]["id"]
        assert (await asked("wsk_other", "/balance"))["data"] == {"balance": 6.75}
        assert (await asked(KEY, "/balance"))["data"] == {"balance": 999.75}
        assert (await asked(KEY, f"/predictions/{bought}"))["code"] == 404
        assert [item["id"] for item in (await asked("wsk_other", "/predictions", json={}))["data"]["items"]] == [bought]
        assert list(emulator.world.tasks) == list(emulator.world.strangers)
        assert (await asked("neither", "/balance"))["code"] == 401
        (item,) = await until_all_ended(emulator, session, 1, "wsk_other")
        assert item["status"] == "completed"


# ---------------------------------------------------------------------- the list


def listed(api: Api, **body: object) -> list[str]:
    return [item["id"] for item in data(ask(api, "POST", "/predictions", body))["items"]]


def test_the_list_lags_and_the_id_does_not() -> None:
    world, clock = world_of(account=Account(list_lag_ms=60_000))
    api = Api(world, PlainLinks())
    first = submit(api)
    clock.advance(59.9)
    second = submit(api)
    assert listed(api) == []
    assert data(ask(api, "GET", f"/predictions/{first}"))["status"] == "completed"
    clock.advance(0.1)
    assert listed(api) == [first]
    clock.advance(59.9)
    assert listed(api) == [second, first]


def test_pages_windows_and_words_of_the_list() -> None:
    world, clock = world_of({Fault.TASK_FAILED: 0.4})
    api = Api(world, PlainLinks())
    ids = []
    for _ in range(25):
        ids.append(submit(api))
        clock.advance(1)
    newest_first = ids[::-1]
    assert listed(api) == newest_first
    assert [listed(api, page=page, page_size=10) for page in (1, 2, 3, 4)] == [
        newest_first[:10], newest_first[10:20], newest_first[20:], [],
    ]  # fmt: skip
    window = {"created_after": "2027-01-15T08:00:05Z", "created_before": "2027-01-15T08:00:07.000000000Z"}
    assert listed(api, **window) == [ids[7], ids[6], ids[5]]
    assert data(ask(api, "POST", "/predictions", window | {"page_size": 1}))["total"] == 3
    failed = [one for one in newest_first if world.tasks[one].status == "failed"]
    assert failed
    assert listed(api, status="failed") == failed
    assert listed(api, model="another/model") == []


def test_a_clock_that_steps_back_leaves_the_list_in_order() -> None:
    world, clock = world_of()
    api = Api(world, PlainLinks())
    first = submit(api)
    clock.advance(-10)
    second = submit(api)
    clock.advance(20)
    assert listed(api) == [first, second]
    assert listed(api, created_after="2027-01-15T08:00:00Z") == [first]


def test_a_list_that_fails_is_empty_or_is_closed() -> None:
    world, _ = world_of()
    api = Api(world, PlainLinks())
    submit(api)
    world.dice.chances = {Fault.LIST_EMPTY: 1.0}
    assert data(ask(api, "POST", "/predictions", {})) == {"page": 1, "total": 0, "items": []}
    world.dice.chances = {Fault.LIST_500: 1.0}
    assert ask(api, "POST", "/predictions", {}).status == 500
    world.dice.chances = {}
    world.account = Account(list_open=False, billing_open=False)
    for path in ("/predictions", "/billings/search"):
        reply = ask(api, "POST", path, {})
        answer = json.loads(reply.body)
        assert (reply.status, answer["code"], answer["data"]) == (403, 403, None)
        assert answer["error_code"] == "permission_denied"
        assert "no permission" in answer["message"]


# ---------------------------------------------------------------------- submits that end badly


def test_a_late_prediction_is_created_and_charged_at_its_own_moment() -> None:
    world, clock = world_of({Fault.SUBMIT_DROP_LATE: 1.0}, speed=1)
    api = Api(world, PlainLinks())
    created: list[int] = []
    world.on_created = lambda task: created.append(clock.now_ms()) or world.rendered(task)
    sent_ms = clock.now_ms()
    assert ask(api, "POST", f"/{MODEL}", INPUTS).cut
    clock.advance(4.9)
    assert (listed(api), world.submits, created, world.books.billed_usd_micros) == ([], [], [], 0)
    clock.advance(200)
    (task_id,) = listed(api)
    task = world.tasks[task_id]
    assert sent_ms + 5_000 <= task.created_ms <= sent_ms + 120_000
    assert (world.submits, created) == ([INPUTS], [clock.now_ms()])
    (row,) = world.books.entries
    assert (row.kind, row.at_ms, row.amount_usd_micros) == ("deduct", task.created_ms, 250_000)
    assert task.started_ms == task.created_ms


def test_a_late_prediction_without_credit_never_comes_and_bad_inputs_are_refused_at_once() -> None:
    world, clock = world_of({Fault.SUBMIT_DROP_LATE: 1.0})
    api = Api(world, PlainLinks())
    assert ask(api, "POST", f"/{MODEL}", INPUTS | {"duration": 7}).status == 400
    assert ask(api, "POST", f"/{MODEL}", INPUTS).cut
    world.books.balance_usd_micros = 249_999
    clock.advance(1000)
    assert listed(api) == []
    assert (world.books.billed_usd_micros, world.submits) == (0, [])


def test_thousands_that_come_late_at_once_come_all() -> None:
    world, clock = world_of({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(concurrency=1, late_ms=(1000, 1000)))
    for _ in range(3000):
        Api(world, PlainLinks()).answer("POST", f"{API}/{MODEL}", {}, json.dumps(INPUTS).encode())
    clock.advance(1)
    world.advance()
    assert [task.status for task in world.tasks.values()] == ["completed"] * 3000


@pytest.mark.parametrize(("fault", "status"), [(Fault.SUBMIT_502_AFTER, 502), (Fault.SUBMIT_504_AFTER, 504)])
def test_a_gateways_page_after_the_charge(fault: Fault, status: int) -> None:
    world, _ = world_of({fault: 1.0})
    reply = ask(Api(world, PlainLinks()), "POST", f"/{MODEL}", INPUTS)
    assert (reply.status, reply.content_type, reply.body[:6]) == (status, "text/html", b"<html>")
    assert (len(world.tasks), world.books.billed_usd_micros) == (1, 250_000)


def test_a_stranger_comes_with_a_submit_whatever_becomes_of_it() -> None:
    world, clock = world_of({Fault.STRANGER: 1.0, Fault.SUBMIT_DROP_BEFORE: 1.0})
    api = Api(world, PlainLinks())
    assert ask(api, "POST", f"/{MODEL}", INPUTS).cut
    (task_id,) = world.strangers
    (item,) = data(ask(api, "POST", "/predictions", {}))["items"]
    assert item["id"] == task_id
    assert item["input"]["image"] == "https://files.example/strangers/0.png"
    assert world.tasks[task_id].created_ms == clock.now_ms()
    assert (world.submits, world.peak_running, world.dice.thrown[Fault.STRANGER]) == ([], 0, 1)


def test_strangers_are_charged_apart_and_need_slots_as_we_do() -> None:
    world, clock = world_of(speed=1, account=Account(concurrency=1), balance_usd=1)
    stranger = world.add_stranger(INPUTS | {"duration": 10})
    ours = world.submit(INPUTS)
    assert (stranger.status, ours.status) == ("processing", "created")
    assert world.submits == [INPUTS]
    assert list(world.strangers) == [stranger.task_id]
    books = world.books
    assert (books.billed_usd_micros, books.strangers_usd_micros, books.ours_usd_micros) == (750_000, 500_000, 250_000)
    world.fail(stranger, 1405, "task failed")
    world.advance()
    assert (books.billed_usd_micros, books.strangers_usd_micros, books.ours_usd_micros) == (250_000, 0, 250_000)
    assert ours.status == "processing"
    with pytest.raises(RefusedRequestError, match="insufficient"):
        world.add_stranger(INPUTS | {"duration": 10}) and world.add_stranger(INPUTS | {"duration": 10})
    clock.advance(3000)
    world.advance()
    assert ours.status == "completed"


# ---------------------------------------------------------------------- money


def test_prices_of_the_account_and_charges_that_differ_from_the_quote() -> None:
    prices = {5: 300_000, 10: 600_000}
    world, _ = world_of(account=Account(price_usd_micros=prices))
    api = Api(world, PlainLinks())

    def quoted(duration_s: int) -> object:
        return data(ask(api, "POST", "/model/price", {"inputs": {"duration": duration_s}}))["discounted_price"]

    assert [quoted(5), quoted(10), quoted(7)] == [0.3, 0.6, 0.3]
    submit(api, duration=10)
    assert world.books.billed_usd_micros == 600_000
    world.account = Account(price_usd_micros=prices, charge_usd_micros={5: 310_000, 10: 620_000})
    assert quoted(5) == 0.3
    task_id = submit(api)
    (row,) = data(ask(api, "POST", "/billings/search", {"prediction_uuids": [task_id]}))["items"]
    assert row["price"] == 0.31
    assert world.books.billed_usd_micros == 910_000


def test_a_refund_comes_at_its_moment_or_never() -> None:
    world, clock = world_of({Fault.TASK_FAILED: 1.0}, speed=1, account=Account(refund_after_ms=3_600_000))
    api = Api(world, PlainLinks())
    back = submit(api)
    clock.advance(3000)
    assert data(ask(api, "GET", f"/predictions/{back}"))["status"] == "failed"
    world.dice.chances = {Fault.TASK_FAILED: 1.0, Fault.REFUND_NEVER: 1.0}
    kept = submit(api)
    clock.advance(86_400)
    world.advance()
    (row,) = world.books.of(back, "refund")
    assert row.at_ms == world.tasks[back].ended_ms + 3_600_000
    assert world.books.of(kept, "refund") == []
    assert (world.tasks[kept].status, world.dice.thrown[Fault.REFUND_NEVER]) == ("failed", 1)
    assert (world.books.billed_usd_micros, world.books.balance_usd_micros) == (250_000, 999_750_000)


def test_the_billing_is_searched_by_time_id_kind_and_page() -> None:
    world, clock = world_of()
    api = Api(world, PlainLinks())
    begin_ms = clock.now_ms()
    ids = []
    for number in range(6):
        world.dice.chances = {Fault.TASK_FAILED: float(number == 2)}
        ids.append(submit(api))
        clock.advance(1)

    def found(**body: object) -> list[str]:
        return [item["prediction"]["uuid"] for item in data(ask(api, "POST", "/billings/search", body))["items"]]

    rows = [ids[0], ids[1], ids[2], ids[2], *ids[3:]]  # the third was charged and refunded at once
    assert found() == rows
    assert found(sort="created_at DESC", page_size=3) == rows[:-4:-1]
    assert found(page=2, page_size=5, sort="created_at ASC") == rows[5:]
    assert found(prediction_uuids=[ids[4], ids[1], "f" * 32]) == [ids[1], ids[4]]
    assert found(prediction_uuids=ids[2:4], billing_type="refund") == found(billing_type="refund") == [ids[2]]
    assert found(billing_type="deduct", sort="created_at DESC") == ids[::-1]
    as_text = {"start_time": str(begin_ms + 3000), "end_time": str(begin_ms + 4000)}
    as_iso = {"start_time": "2027-01-15T08:00:03Z", "end_time": "2027-01-15T09:00:04.000+01:00"}
    assert found(**as_text) == found(**as_iso) == ids[3:5]
    assert found(**as_text, prediction_uuids=[ids[4], ids[5]]) == [ids[4]]
    assert ask(api, "POST", "/billings/search", {"prediction_uuids": ids[0]}).status == 400
    assert ask(api, "POST", "/billings/search", {"start_time": "soon"}).status == 400


# ---------------------------------------------------------------------- time


def test_a_night_does_not_depend_on_who_asks_how_often() -> None:
    faults = {Fault.TASK_FAILED: 0.2, Fault.SUBMIT_DROP_LATE: 0.2, Fault.STRANGER: 0.1, Fault.REFUND_NEVER: 0.3}

    def night(asked_every_s: int | None) -> list[object]:
        account = Account(concurrency=3, refund_after_ms=90_000)
        world, clock = world_of(faults, speed=1, account=account, seed=5)
        api = Api(world, PlainLinks())
        for number in range(30):
            ask(api, "POST", f"/{MODEL}", INPUTS | {"prompt": str(number)})
            for _ in range(20):
                clock.advance(1)
                if asked_every_s is not None and clock.now_ms() // 1000 % asked_every_s == 0:
                    ask(api, "POST", "/predictions", {})
        clock.advance(100_000)
        world.advance()
        return [*world.tasks.values(), *world.books.entries, world.peak_running, world.dice.thrown]

    assert night(None) == night(1) == night(7)


def test_a_task_that_fails_while_it_waits_never_takes_a_slot() -> None:
    world, clock = world_of(speed=1, account=Account(concurrency=1))
    first, second, third = (world.submit(INPUTS) for _ in range(3))
    world.fail(second, 1402, "could not fetch the input image")
    assert (first.status, second.status, third.status) == ("processing", "failed", "created")
    clock.advance(6000)
    world.advance()
    assert (first.status, second.status, third.status) == ("completed", "failed", "completed")
    assert third.started_ms == first.ended_ms
    assert world.books.billed_usd_micros == 500_000


def test_a_clip_that_comes_after_its_task_ended_changes_nothing() -> None:
    world, clock = world_of()
    world.on_created = lambda _: None
    task = world.submit(INPUTS)
    world.advance()
    assert task.status == "processing"  # had its time, and waits for the clip
    world.fail(task, 1401, "the image cannot be read")
    world.rendered(task)
    assert (task.status, task.ended_ms) == ("failed", clock.now_ms())
    other = world.submit(INPUTS)
    world.advance()
    clock.advance(7)
    world.rendered(other)
    assert (other.status, other.ended_ms) == ("completed", clock.now_ms())


def test_a_stuck_task_keeps_its_slot() -> None:
    world, clock = world_of({Fault.TASK_STUCK: 1.0}, account=Account(concurrency=1, overflow_429=True))
    task = world.submit(INPUTS)
    clock.advance(10_000_000)
    with pytest.raises(RefusedRequestError, match="at once"):
        world.submit(INPUTS)
    assert task.status == "processing"


# ---------------------------------------------------------------------- kept in a folder


def test_everything_kept_goes_on_at_the_next_start(tmp_path: Path) -> None:
    clock = StillClock()
    dear = Account(refund_after_ms=60_000, late_ms=(30_000, 30_000), charge_usd_micros={5: 260_000, 10: 520_000})

    def started(account: Account) -> World:
        world = World(clock, Latency(None), Dice({}, 1), account=account, books=Books(10_000_000), folder=tmp_path)
        world.on_created = world.rendered
        return world

    world = started(dear)
    done, stranger = world.submit(INPUTS), world.add_stranger(INPUTS)
    world.on_created = lambda _: None
    running, back, kept = (world.submit(INPUTS) for _ in range(3))
    world.fail(back, 1405, "task failed")
    world.dice.chances = {Fault.REFUND_NEVER: 1.0}
    world.fail(kept, 1405, "task failed")
    world.submit_late(INPUTS)
    clock.advance(10)
    again = started(Account(refund_after_ms=60_000))  # cheaper now: what was charged stays charged
    again.advance()
    ends = ["completed", "completed", "processing", "failed", "failed"]
    assert [task.status for task in again.tasks.values()] == ends
    assert list(again.tasks) == [one.task_id for one in (done, stranger, running, back, kept)]
    assert list(again.strangers) == [stranger.task_id]
    assert (again.books.ours_usd_micros, again.books.strangers_usd_micros) == (4 * 260_000, 260_000)
    clock.advance(50)
    again.advance()
    assert (len(again.tasks), again.submits) == (6, [INPUTS])
    assert (len(again.books.of(back.task_id, "refund")), again.books.of(kept.task_id, "refund")) == (1, [])
    assert again.books.ours_usd_micros == 3 * 260_000 + 250_000
    assert list(started(dear).tasks) == list(again.tasks)


def test_notes_of_an_older_version_are_read(tmp_path: Path) -> None:
    note = {"task_id": "a" * 32, "inputs": INPUTS, "created_ms": 5, "latency_ms": 0, "status": "completed"}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(note) + '\n{"task_id": "b')
    world = World(StillClock(), Latency(None), Dice(), folder=tmp_path)
    assert [task.status for task in world.tasks.values()] == ["completed"]
    assert world.books.billed_usd_micros == 250_000


# ---------------------------------------------------------------------- the fault menu and the clips


def test_every_fault_can_be_asked_for_by_name() -> None:
    asked = ",".join(f"{fault}=0.5" for fault in Fault)
    assert parse_faults(asked) == dict.fromkeys(Fault, 0.5)
    storm = parse_faults("storm")
    assert {Fault.SUBMIT_DROP_LATE, Fault.SUBMIT_504_AFTER, Fault.STRANGER, Fault.LIST_EMPTY} <= set(storm)
    assert not {Fault.TASK_STUCK, Fault.SUBMIT_NO_CREDIT} & set(storm)
    with pytest.raises(ValueError, match="submit_drop_late"):
        parse_faults("drop")


def first_frame(clip: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
        return frame.to_ndarray(format="rgb24").astype(np.float32)


def test_a_first_frame_that_is_not_exactly_the_picture(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "p.png", seed=4, size=(400, 400))

    def start_of(name: str, distortion: Distortion | None) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        render_at(128 * 128, distortion)(picture, Wish(prompt="x"), tmp_path / name)
        return first_frame(tmp_path / name)[:100]  # above the label

    plain = start_of("plain.mp4", None)
    same = start_of("same.mp4", Distortion())
    shifted = start_of("shifted.mp4", Distortion(shift=(20, 0, -20)))
    dark = start_of("dark.mp4", Distortion(brightness=0.8))
    soft = start_of("soft.mp4", Distortion(scale=0.1))
    cropped = start_of("cropped.mp4", Distortion(crop=0.4))
    assert plain.shape == same.shape == shifted.shape == soft.shape == cropped.shape
    assert abs(plain - same).mean() < 1
    red, green, blue = (shifted - plain).mean(axis=(0, 1))
    assert (round(red / 10), round(green / 10), round(blue / 10)) == (2, 0, -2)
    assert 0.75 < dark.mean() / plain.mean() < 0.85
    assert abs(soft - plain).max() > 40  # the edges
    assert abs(soft - plain).mean() < 12
    # the square in the middle grows: the crop looks at less of the picture
    inside = abs(plain - plain[50, 50]).sum(axis=2) < 60
    grown = abs(cropped - plain[50, 50]).sum(axis=2) < 60
    assert grown.sum() > 1.5 * inside.sum()
