"""Odd echoes, clocks, storages and neighbours: nothing is bought twice, nothing that is paid for is given up."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from batchrun.emulator.faults import Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.world import Account
from batchrun.errors import ExitCode, StorageError
from batchrun.provider.client import API
from batchrun.provider.http import Http, RawAnswer
from batchrun.run.events import Kind
from batchrun.run.halts import HaltKind
from batchrun.run.stop import Stop
from tests.conftest import Shop, Watcher, emulated, make_picture, run_shop, surroundings
from tests.hard.tampering import Said, Tamper, tampered
from tests.run.test_doubts import change, resolve
from tests.run.test_session import code_of, counts

PROMPT = "A long prompt that says much about the mug and its steam"
Inputs = dict[str, Any]


def leave_now(when: Kind = Kind.ACCEPTED) -> tuple[Stop, Watcher]:
    """A run that ends as soon as this has happened."""
    stop, watcher = Stop(), Watcher()

    def leave(_: object) -> None:
        stop.ask()
        stop.ask()

    watcher.on[when] = leave
    return stop, watcher


def other_manifest(shop: Shop) -> Path:
    """Of the same queue, with one job."""
    make_picture(shop.folder / "pics" / "other.png", 55)
    path = shop.folder / "other.yaml"
    path.write_text(
        f"version: 1\nlimits: {shop.limits}\njobs:\n  - {{id: other, image: pics/other.png, prompt: 'It glows'}}\n"
    )
    return path


# ---------------------------------------------------------------------- echoes


@asynccontextmanager
async def picture_host(folder: Path) -> AsyncIterator[str]:
    """The shop's own server of pictures."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def echoing(change_of: Callable[[Inputs], Inputs]) -> Tamper:
    """The provider shows other inputs than it was sent."""

    def tamper(said: Said) -> Said:
        if not (said.path == f"{API}/predictions" or said.path.endswith("/result")):
            return said
        found = json.loads(said.body)
        for item in found["data"].get("items", [found["data"]]):
            for name in {"input", "inputs"} & item.keys():
                item[name] = change_of(item[name])
        return said._replace(body=json.dumps(found).encode())

    return tamper


def rehosted(inputs: Inputs) -> Inputs:
    """Uploads as they were sent, and of others the provider's own copy."""
    is_upload = "br-" in inputs["image"]
    return inputs if is_upload else inputs | {"image": "https://cdn.provider.example/copy.png"}


@pytest.mark.parametrize(
    "echo",
    [
        lambda inputs: inputs,
        lambda inputs: inputs | {"duration": str(inputs["duration"])},
        lambda inputs: inputs | {"prompt": inputs["prompt"][:20]},
        rehosted,
    ],
    ids=["as sent", "duration as text", "prompt cut", "picture copied"],
)
async def test_a_picture_by_url_is_bought_once_however_its_inputs_are_echoed(
    shop: Shop, echo: Callable[[Inputs], Inputs]
) -> None:
    make_picture(shop.folder / "hosted" / "u.png", 5)
    async with (
        picture_host(shop.folder / "hosted") as host,
        emulated({Fault.SUBMIT_DROP_AFTER: 1.0}) as emulator,
        tampered(emulator, echoing(echo)) as between,
    ):
        shop.rows.append(f"  - {{id: u, image: '{host}/u.png', prompt: '{PROMPT}'}}")
        shop.write()
        await run_shop(shop, between)
        emulator.world.dice.chances = {}
        shop.add("witness")
        await run_shop(shop, between)
        await run_shop(shop, between)
        assert [one["prompt"] for one in emulator.world.submits].count(PROMPT) == 1


async def test_what_resolve_names_can_be_adopted(shop: Shop) -> None:
    shop.add("a")
    account = Account(image_host="https://cdn.provider.example")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, account=account) as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {}
        shop.add("b", prompt="Another")
        await run_shop(shop, emulator)
        (mine,) = [name for name, task in emulator.world.tasks.items() if task.inputs["prompt"] == "It turns"]
        assert mine in (await resolve(shop, emulator))[1]
        assert (await resolve(shop, emulator, "a", "--adopt", mine))[0] == 0


async def test_results_of_others_that_may_not_be_read_close_no_case(shop: Shop) -> None:
    """The list shows a whole organisation, without inputs; only one's own results may be read."""

    def tamper(said: Said) -> Said:
        if said.path == f"{API}/predictions":
            found = json.loads(said.body)
            for item in found["data"]["items"]:
                item.pop("input", None)
                item.pop("inputs", None)
            return said._replace(body=json.dumps(found).encode())
        if said.path.endswith("/result") and said.path.split("/")[-2] in emulator.world.strangers:
            return said._replace(
                status=403, body=json.dumps({"code": 403, "message": "not yours", "data": None}).encode()
            )
        return said

    shop.add("a")
    faults = {Fault.SUBMIT_DROP_AFTER: 1.0, Fault.STRANGER: 1.0}
    async with emulated(faults) as emulator, tampered(emulator, tamper) as between:
        assert counts(await run_shop(shop, between)) == {"done": 1, "total": 1}


# ---------------------------------------------------------------------- limits, rows, prices


@pytest.mark.parametrize("how", ["only what is paid", "another manifest"])
async def test_what_fails_while_its_manifest_is_not_read_is_not_bought_again_by_a_default(shop: Shop, how: str) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 100, max_attempts: 1")
    shop.add("a")
    stop, watcher = leave_now()
    async with emulated({Fault.TASK_UNAVAILABLE: 1.0}) as emulator:
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        emulator.world.dice.chances = {}
        if how == "only what is paid":
            await run_shop(shop, emulator, no_new=True)
        else:
            await run_shop(shop, emulator, manifests=[other_manifest(shop)])
        await run_shop(shop, emulator)
        assert [one["prompt"] for one in emulator.world.submits].count("It turns") == 1


async def test_a_row_that_has_left_is_not_bought_by_who_had_claimed_it(shop: Shop) -> None:
    shop.add("a", more=", priority: 9").add("b")
    size_bytes = (shop.folder / "pics" / "b.png").stat().st_size
    make_picture(shop.folder / "pics" / "a.png", 91)
    assert (shop.folder / "pics" / "a.png").stat().st_size != size_bytes

    class Slow(Http):
        async def api(self, method: str, path: str, **more: Any) -> RawAnswer:  # noqa: ANN401  # passed on
            if path == f"{API}/media/uploads" and json.loads(more["body"])["size"] == size_bytes and len(shop.rows) > 1:
                shop.rows.pop()
                shop.write()
                await run_shop(shop, emulator)
            return await super().api(method, path, **more)

    async with emulated() as emulator:
        await run_shop(shop, emulator, outside=replace(surroundings(), connect_http=Slow))
        assert len(emulator.world.submits) == 1


async def test_what_fails_is_not_bought_once_more_for_a_price_that_nobody_has_agreed_to(shop: Shop) -> None:
    shop.add("long", more=", duration: 10")
    stop, watcher = leave_now()
    async with emulated({Fault.TASK_UNAVAILABLE: 1.0}, latency=Latency(100)) as emulator:
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        emulator.world.dice.chances = {}
        emulator.world.account = Account(price_usd_micros={5: 250_000, 10: 700_000})
        result = await run_shop(shop, emulator)
        assert (code_of(result), [*result.halts]) == (ExitCode.NEEDS_PERSON, [HaltKind.PRICE_CHANGED])
        assert len(emulator.world.submits) == 1


async def test_a_billing_that_breaks_off_frees_no_money(shop: Shop) -> None:
    shop.add("a").add("b")

    def tamper(said: Said) -> Said:
        if not said.path.endswith("/billings/search"):
            return said
        found = json.loads(said.body)
        if found["data"]["page"] == 1:
            found["data"] |= {"items": found["data"]["items"][:1], "total": 2}
        else:
            found["data"] |= {"items": [], "total": 2}
        return said._replace(body=json.dumps(found).encode())

    faults = {Fault.TASK_MODERATION: 1.0, Fault.REFUND_NEVER: 1.0}
    async with emulated(faults) as emulator, tampered(emulator, tamper) as between:
        await run_shop(shop, between)
        change(shop, "UPDATE attempts SET finished_ms = finished_ms - 90000000")
        result = await run_shop(shop, between)
        assert result.balance.committed_usd_micros == emulator.world.books.billed_usd_micros == 500_000


# ---------------------------------------------------------------------- answers under a lock


async def test_answers_that_come_after_the_first_was_not_written_are_kept_as_well(shop: Shop) -> None:
    shop.add_many(3)
    asked: list[str] = []

    class Later(Http):
        async def api(self, method: str, path: str, **more: Any) -> RawAnswer:  # noqa: ANN401  # passed on
            raw = await super().api(method, path, **more)
            if path.startswith(f"{API}/kwaivgi/"):
                asked.append(path)
                is_first = len(asked) == 1
                if len(asked) == 3:
                    all_asked.set()
                await (all_asked if is_first else is_locked).wait()
                for _ in range(
                    0 if is_first else 100
                ):  # turns of the loop: the first answer's group is under way by then
                    await asyncio.sleep(0)
            return raw

    locks: list[sqlite3.Connection] = []
    all_asked, is_locked = asyncio.Event(), asyncio.Event()
    watcher = Watcher()

    def lock(_: object) -> None:
        if not locks:
            locks.append(sqlite3.connect(shop.queue_path, isolation_level=None))
            locks[0].execute("BEGIN IMMEDIATE")
            is_locked.set()

    watcher.on[Kind.ANSWERED] = lock
    async with emulated() as emulator:
        with pytest.raises(StorageError):
            await run_shop(shop, emulator, watcher=watcher, outside=replace(surroundings(7), connect_http=Later))
        locks[0].execute("ROLLBACK")
        locks[0].close()
        kept = [
            line
            for path in shop.queue_path.parent.glob("queue.db.rescue-*")
            for line in path.read_bytes().split(b"\0", 1)[0].splitlines()
        ]
        assert len(kept) == len(emulator.world.tasks) == 3


# ---------------------------------------------------------------------- the way to the provider


@pytest.mark.parametrize("what", ["storage", "gateway"])
async def test_a_403_that_is_not_the_providers_own_ends_nothing(shop: Shop, what: str) -> None:
    shop.add_many(4)
    said: list[str] = []

    class Between(Http):
        async def put(self, url: str, *args: Any, **more: Any) -> RawAnswer:  # noqa: ANN401  # passed on
            said.append(url)
            if what == "storage" and len(said) == 2:
                return RawAnswer(403, b"<Error><Message>Request has expired</Message></Error>", None, None)
            return await super().put(url, *args, **more)

        async def api(self, method: str, path: str, **more: Any) -> RawAnswer:  # noqa: ANN401  # passed on
            if what == "gateway" and path.endswith("/result") and path not in said:
                said.append(path)
                return RawAnswer(403, b"<html><body>Attention required!</body></html>", None, None)
            return await super().api(method, path, **more)

    async with emulated(latency=Latency(1000)) as emulator:
        result = await run_shop(shop, emulator, outside=replace(surroundings(), connect_http=Between))
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 4, "total": 4})


async def test_an_upload_that_is_to_wait_for_an_hour_is_put_off(shop: Shop) -> None:
    shop.add("a")

    class Quota(Http):
        async def api(self, method: str, path: str, **more: Any) -> RawAnswer:  # noqa: ANN401  # passed on
            if path == f"{API}/media/uploads":
                body = json.dumps({"code": 429, "message": "upload quota exceeded", "data": None}).encode()
                return RawAnswer(429, body, 3600.0, None)
            return await super().api(method, path, **more)

    stop, watcher = leave_now(Kind.PUT_OFF)
    async with emulated() as emulator, asyncio.timeout(20):
        outside = replace(surroundings(), connect_http=Quota)
        await run_shop(shop, emulator, outside=outside, stop=stop, watcher=watcher)
        assert watcher.of(Kind.PUT_OFF)


async def test_a_run_does_not_wait_for_what_another_collects_for_its_own_manifest(shop: Shop) -> None:
    shop.add_many(2)
    other = other_manifest(shop)
    async with emulated() as emulator:
        await run_shop(shop, emulator, manifests=[other])
        emulator.world.dice.chances = {Fault.TASK_STUCK: 1.0}
        stop, watcher, accepted = Stop(), Watcher(), asyncio.Event()
        watcher.on[Kind.ACCEPTED] = lambda _: accepted.set()
        long = asyncio.create_task(run_shop(shop, emulator, watcher=watcher, stop=stop))
        await accepted.wait()
        async with asyncio.timeout(20):
            assert code_of(await run_shop(shop, emulator, manifests=[other])) is ExitCode.DONE
        assert not long.done()
        stop.ask()
        stop.ask()
        await long
