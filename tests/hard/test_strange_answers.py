"""Answers that no documented API gives: whatever stands in them, it is at worst one job's trouble."""

import json
from typing import Any

import pytest

from batchrun.run.events import Kind
from batchrun.run.problems import problem_lines
from batchrun.run.stop import Stop
from batchrun.run.summary import exit_code, exit_reasons
from batchrun.run.terms import Result
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop
from tests.hard.tampering import Said, Tamper, tampered


def code_of(result: Result) -> int:
    return int(exit_code(exit_reasons(result, "shop.yaml"), result))


def counts(result: Result) -> dict[str, int]:
    return {str(state): count for view in result.batches for state, count in view.counts.items()}


def in_result(**changed: Any) -> Tamper:  # noqa: ANN401  # any JSON
    """Other values in the answer to a poll; a text that begins with `raw:` stands there without its quotes."""

    def tamper(said: Said) -> Said:
        if not said.path.endswith("/result"):
            return said
        found = json.loads(said.body)
        found["data"] |= changed
        text = json.dumps(found)
        for value in changed.values():
            if isinstance(value, str) and value.startswith("raw:"):
                text = text.replace(json.dumps(value), value.removeprefix("raw:"))
        return said._replace(body=text.encode())

    return tamper


@pytest.mark.parametrize("code", ["99999999999999999999", "1e1000000", "1e99999999999999999999", "-9e99"])
async def test_a_task_code_beyond_all_bounds_counts_as_none(shop: Shop, code: str) -> None:
    shop.add("a")
    async with emulated() as emulator, tampered(emulator, in_result(status="failed", code=f"raw:{code}")) as between:
        result = await run_shop(shop, between)
        assert (counts(result), code_of(result)) == ({"failed": 1}, 3)
        assert len(emulator.world.submits) == 2  # a failed task may be bought a second time, as always


async def test_an_address_that_is_no_text_is_asked_for_again(shop: Shop) -> None:
    shop.add("a")
    strange = iter([in_result(outputs=["https://x/\ud800.mp4"])])

    def tamper(said: Said) -> Said:
        done = said.path.endswith("/result") and json.loads(said.body)["data"]["status"] == "completed"
        return next(strange, lambda said: said)(said) if done else said

    async with emulated() as emulator, tampered(emulator, tamper) as between:
        result = await run_shop(shop, between)
        assert (counts(result), code_of(result), len(emulator.world.submits)) == ({"done": 1}, 0, 1)


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_an_absurd_date_says_nothing_of_the_providers_clock(shop: Shop, date: str) -> None:
    shop.add("a")
    async with emulated() as emulator:
        async with tampered(emulator, lambda said: said._replace(headers={"Date": date})) as between:
            result = await run_shop(shop, between)
        assert (counts(result), code_of(result)) == ({"done": 1}, 0)


@pytest.mark.parametrize("header", ["x\r\nAuthorization: y", "\ud800"])
async def test_a_ticket_with_headers_that_cannot_be_sent_costs_its_job_only(shop: Shop, header: str) -> None:
    shop.add("a")
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.PUT_OFF] = lambda _: stop.ask()

    def tamper(said: Said) -> Said:
        if not said.path.endswith("/media/uploads"):
            return said
        found = json.loads(said.body)
        found["data"]["upload"]["headers"]["x-strange"] = header
        return said._replace(body=json.dumps(found).encode())

    async with emulated() as emulator, tampered(emulator, tamper) as between:
        result = await run_shop(shop, between, stop=stop, watcher=watcher)
        assert (counts(result), emulator.world.submits) == ({"queued": 1}, [])
        assert "headers that cannot be sent" in watcher.of(Kind.PUT_OFF)[0].detail


@pytest.mark.parametrize("balance", ["1e30", "1e400", "123456789012345678901234567890", "-1e25", "NaN"])
async def test_a_balance_beyond_all_bounds_is_none(shop: Shop, balance: str) -> None:
    """`keep_balance` is best effort: a key that may not see the balance can still buy."""
    shop.limits = shop.limits.replace("budget: 100", "budget: 100, keep_balance: 1")
    shop.add("a")
    answer = f'{{"code":200,"message":"ok","data":{{"balance":{balance}}}}}'.encode()

    def tamper(said: Said) -> Said:
        return said._replace(body=answer) if said.path.endswith("/balance") else said

    async with emulated() as emulator, tampered(emulator, tamper) as between:
        result = await run_shop(shop, between)
        assert (counts(result), code_of(result)) == ({"done": 1}, 0)


@pytest.mark.parametrize("depth", [300, 600, 900])
async def test_an_answer_nested_deeply_is_one_jobs_trouble(shop: Shop, depth: int) -> None:
    shop.add("a")
    deep = "raw:" + "[" * depth + "]" * depth
    async with emulated() as emulator:
        async with tampered(emulator, in_result(error=deep, inputs=deep, status="failed")) as between:
            result = await run_shop(shop, between)
        assert (counts(result), code_of(result)) == ({"failed": 1}, 3)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


ECHOES = {
    "plain": json.dumps({"code": 400, "message": f"bad key {KEY}", "data": None}).encode(),
    "escaped": f'{{"code": 400, "message": "bad key {escaped(KEY)}", "data": null}}'.encode(),
    "twice escaped": json.dumps({"code": 400, "message": f'{{"key": "{escaped(KEY)}"}}', "data": None}).encode(),
    "as a name": f'{{"code": 400, "message": {{"{escaped(KEY)}": 1}}, "data": null}}'.encode(),
    "UTF-16": json.dumps({"code": 400, "message": f"bad key {KEY}", "data": None}).encode("utf-16"),
    "no JSON": f"bad key {escaped(KEY)}".encode(),
    "no JSON, UTF-16": f"bad key {KEY}".encode("utf-16"),
    "no JSON, at the cut": b"x" * (120 - len("not JSON: ") - 5) + KEY.encode(),
    "at the cut": json.dumps({"code": 400, "message": "x" * 290 + KEY, "data": None}).encode(),
}


@pytest.mark.parametrize("body", ECHOES.values(), ids=ECHOES)
async def test_a_key_that_is_echoed_in_any_writing_is_not_kept(shop: Shop, body: bytes) -> None:
    shop.add("a")
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.UNKNOWN] = lambda _: stop.ask() or stop.ask()  # what is no JSON proves nothing

    def tamper(said: Said) -> Said:
        return said._replace(status=400, body=body) if said.path.endswith("i2v-standard") else said

    async with emulated() as emulator, tampered(emulator, tamper) as between:
        result = await run_shop(shop, between, watcher=watcher, stop=stop)
    said = [str(event) for event in watcher.events] + problem_lines(result.batches)
    assert "400" in str(said)
    kept = b"".join(path.read_bytes() for path in shop.queue_path.parent.rglob("*") if path.is_file())
    for part in (KEY, KEY[:8], escaped(KEY), " ".join(KEY), "\\u0077"):
        assert part not in str(said)
        assert part.encode() not in kept
