"""Submits that nobody can judge, answers that come too late, keys of other accounts, disks that are full."""

import asyncio
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from batchrun.clock import SystemClock
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.server import Emulator
from batchrun.emulator.world import Account, World
from batchrun.errors import BatchrunError, ExitCode, QueueError, StorageError
from batchrun.provider.client import API, Client
from batchrun.provider.http import Http, RawAnswer
from batchrun.queue.records import OpenSubmit, Revision
from batchrun.queue.rescue import Rescue
from batchrun.queue.states import AttemptState, JobState
from batchrun.queue.store import Queue
from batchrun.run import summary
from batchrun.run.events import Event, Kind
from batchrun.run.resolve import adopt
from batchrun.video.check import check_clip
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop, surroundings
from tests.run.test_kill import environment
from tests.run.test_session import code_of, counts

_MORE_THAN_A_QUESTION = 45
"""The billing is asked about forty predictions at once."""
OTHER_KEY = "wsk_of-another-account"


def books(shop: Shop) -> list[tuple[str, int, int]]:
    connection = sqlite3.connect(shop.queue_path)
    rows = connection.execute("SELECT kind, held_usd_micros, spent_usd_micros FROM ledger ORDER BY row_id").fetchall()
    connection.close()
    return rows


def change(shop: Shop, sql: str) -> None:
    with sqlite3.connect(shop.queue_path) as connection:
        connection.execute(sql)
    connection.close()


def attempts(shop: Shop) -> Mapping[str, str]:
    connection = sqlite3.connect(shop.queue_path)
    rows = dict(connection.execute("SELECT attempt_id, state FROM attempts"))
    connection.close()
    return rows


async def resolve(shop: Shop, emulator: Emulator, *words: str) -> tuple[int, str, str]:
    """`batchrun resolve` as a process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batchrun", "resolve", str(shop.manifest), *words),
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


# ---------------------------------------------------------------------- late


async def test_a_late_match_before_the_job_is_bought_again_goes_on_with_it(shop: Shop) -> None:
    """Void by evidence, then it turns up while the job is still queued: charged late, one clip, nothing paid twice."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        (attempt_id,) = attempts(shop)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.account = Account()
        result = await run_shop(shop, emulator, no_new=True)
        assert attempts(shop) == {attempt_id: "completed"}
        assert (code_of(result), counts(result), len(result.late)) == (
            ExitCode.NEEDS_PERSON,
            {"done": 1, "total": 1},
            1,
        )
        assert [row[0] for row in books(shop)] == ["reserve", "unknown", "void", "late_charge"]
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 250_000
        assert (await run_shop(shop, emulator)).late == []


async def test_a_late_match_after_the_job_was_bought_again_keeps_both_clips(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        (attempt_id,) = attempts(shop)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.dice.chances = {}
        assert counts(await run_shop(shop, emulator)) == {"done": 1, "total": 1}  # bought again: the list lags
        emulator.world.account = Account()
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), len(result.late)) == (ExitCode.NEEDS_PERSON, 1)
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 500_000
        reasons = summary.exit_reasons(result, "shop.yaml")
        said = summary.run_lines(result, reasons, preview=False, real_price_usd_micros=0)
        assert (
            "1 submit that was given up exists after all: charged, and what no job needs is kept in late/" in said[-3]
        )
        assert said[-2:] == [f"  shop/a: prediction {result.late[0].prediction_id}", "next: batchrun report shop.yaml"]
        (kept,) = watcher.of(Kind.LATE_CLIP)
        assert Path(kept.detail) == shop.folder / ".batchrun" / "late" / "shop" / f"a.{attempt_id}.mp4"
        assert check_clip(Path(kept.detail), 5).frames == 121
        assert shop.output("a").exists()
        again = await run_shop(shop, emulator)
        assert (code_of(again), again.late) == (ExitCode.DONE, [])


# ---------------------------------------------------------------------- a person decides


async def parked(shop: Shop, emulator: Emulator) -> str:
    result = await run_shop(shop, emulator)
    assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"parked": 1, "total": 1})
    (attempt_id,) = attempts(shop)
    return attempt_id


async def test_resolve_shows_what_is_open_and_adopts(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        attempt_id = await parked(shop, emulator)
        (reason,) = summary.exit_reasons(await run_shop(shop, emulator, no_new=True), "shop.yaml")
        assert (reason.kind, reason.next_command) == ("parked", "batchrun resolve shop.yaml")
        (prediction_id,) = emulator.world.tasks
        code, out, _ = await resolve(shop, emulator)
        assert code == 0
        assert attempt_id in out
        assert f"it may be prediction {prediction_id}" in out  # what a person would look at
        code, _, err = await resolve(shop, emulator, "a", "--adopt", "0" * 32)
        assert (code, "knows no prediction" in err) == (2, True)
        code, out, _ = await resolve(shop, emulator, "a", "--adopt", prediction_id)
        assert (code, "a: adopted" in out) == (0, True)
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result), len(emulator.world.submits)) == (
            ExitCode.DONE,
            {"done": 1, "total": 1},
            1,
        )
        assert [row[0] for row in books(shop)] == ["reserve", "unknown", "settle"]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, ExitCode.USAGE, f"does not take prediction {'0' * 32} (poll: HTTP 400: no); look at the id again"),
        (401, ExitCode.KEY, "poll: HTTP 401: no; nothing was changed"),
        (403, ExitCode.ACCOUNT, "poll: HTTP 403: no; nothing was changed"),
        (404, ExitCode.USAGE, "knows no prediction"),
        (500, ExitCode.UNAVAILABLE, "try again later"),
    ],
)
async def test_why_a_prediction_cannot_be_adopted(shop: Shop, status: int, code: ExitCode, said: str) -> None:
    class SaysNo(Http):
        async def api(self, method: str, path: str, **more: object) -> RawAnswer:
            assert (method, path) == ("GET", f"{API}/predictions/{'0' * 32}/result")
            return RawAnswer(status, json.dumps({"code": status, "message": "no"}).encode(), None, None)

    await refuse_to_adopt(shop, SaysNo, "0" * 32, code, said)


@pytest.mark.parametrize("typed", ["abc", "a/../../balance", "a?b=c", "ab cd", "abcd\n", "0" * 129, "äöüß"])
async def test_what_is_no_id_is_not_asked_for(shop: Shop, typed: str) -> None:
    class AsksNothing(Http):
        async def api(self, method: str, path: str, **more: object) -> RawAnswer:
            raise AssertionError(f"{method} {path} {more}")

    said = f"--adopt {typed!r}: that is no prediction's id; one has 4 to 128 letters, digits, - and _"
    await refuse_to_adopt(shop, AsksNothing, typed, ExitCode.USAGE, said)


def open_submit() -> OpenSubmit:
    revision = Revision(
        revision_id=1, take=1, model="m", prompt="", negative_prompt="", guidance_hundredths=50, duration_s=5,
        image_path=None, image_url="https://shop.example/a.png", image_sha256=None,
    )  # fmt: skip
    return OpenSubmit(
        attempt_id="", state=AttemptState.UNKNOWN, submitted_ms=0, send_by_ms=0, answered_ms=None, server_ahead_ms=None,
        image_url="", batch="shop", key="a", job_state=JobState.PARKED, message=None, revision=revision,
    )  # fmt: skip


async def refuse_to_adopt(shop: Shop, http: type[Http], typed: str, code: ExitCode, said: str) -> None:
    clock = SystemClock()
    queue = await Queue.open(shop.queue_path, clock, kind="paid", origin="https://api.example")
    try:
        with pytest.raises(BatchrunError, match=re.escape(said)) as caught:
            await adopt(queue, Client(http("https://api.example", KEY, clock), clock), open_submit(), typed)
    finally:
        await queue.close()
    assert caught.value.exit_code is code


async def test_a_prediction_of_another_job_cannot_be_adopted(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        (taken,) = emulator.world.tasks
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_BEFORE: 1.0}
        shop.add("b")
        await run_shop(shop, emulator)
        code, _, err = await resolve(shop, emulator, "b", "--adopt", taken)
        assert (code, "nothing was changed" in err) == (2, True)
        assert sorted(attempts(shop).values()) == ["completed", "unknown"]


async def test_resolve_void_buys_again_and_leave_never_does(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_500: 1.0}) as emulator:
        await parked(shop, emulator)
        assert (await resolve(shop, emulator, "a", "--void"))[0] == 0
        await parked_again(shop, emulator)
        assert (await resolve(shop, emulator, "a", "--leave"))[0] == 0
        emulator.world.dice.chances = {}
        shop.add("b")
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.SOME_FAILED, {"done": 1, "failed": 1, "total": 2})
        assert result.balance.held_usd_micros == 250_000  # it counts as spent
        code, _, err = await resolve(shop, emulator, "a", "--void")
        assert (code, "nothing to decide" in err) == (2, True)


async def parked_again(shop: Shop, emulator: Emulator) -> None:
    result = await run_shop(shop, emulator)
    assert counts(result) == {"parked": 1, "total": 1}
    assert sorted(attempts(shop).values()) == ["unknown", "void"]


async def test_resolve_says_what_it_takes(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        code, out, _ = await resolve(shop, emulator, "--json")
        assert (code, json.loads(out)["jobs"]) == (0, [])
        code, _, err = await resolve(shop, emulator, "--void")
        assert (code, "name the jobs" in err) == (2, True)
        code, _, err = await resolve(shop, emulator, "a", "b", "--adopt", "x")
        assert (code, "one job" in err) == (2, True)


# ---------------------------------------------------------------------- other accounts


async def test_a_key_of_another_account_changes_nothing(shop: Shop) -> None:
    shop.add_many(2)
    other = World(SystemClock(), Latency(None), Dice({}, 9), books=Books(10**9), seed=77)
    async with emulated(others={OTHER_KEY: other}) as emulator:
        await run_shop(shop, emulator)
        change(shop, "UPDATE attempts SET submitted_ms = submitted_ms - 600000")
        shop.add("new")
        before = shop.queue_path.read_bytes()
        result = await run_shop(shop, emulator, key=OTHER_KEY)
        assert (code_of(result), result.bought, other.tasks) == (ExitCode.KEY, 0, {})
        assert "another account" in str(result.halts)
        assert shop.queue_path.read_bytes() == before
        assert code_of(await run_shop(shop, emulator)) == ExitCode.DONE


async def test_one_visible_prediction_is_enough(shop: Shop) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        change(shop, "UPDATE attempts SET submitted_ms = submitted_ms - 600000")
        for gone in list(emulator.world.tasks)[:2]:  # deleted at the provider
            del emulator.world.tasks[gone]
        assert code_of(await run_shop(shop, emulator)) == ExitCode.DONE


async def test_a_moved_address_is_refused(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator, emulated() as elsewhere:
        await run_shop(shop, emulator)
        with pytest.raises(QueueError, match="belongs to"):
            await run_shop(shop, elsewhere)
        assert elsewhere.world.tasks == {}


# ---------------------------------------------------------------------- charges


async def test_a_charge_that_differs_is_adjusted_and_told(shop: Shop) -> None:
    shop.add("a").add("b")
    watcher = Watcher()
    async with emulated(account=Account(charge_usd_micros={5: 200_000, 10: 1})) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 400_000
        assert sum("was charged $0.20, $0.05 less than booked" in event.detail for event in watcher.of(Kind.NOTE)) == 2
        assert [row[0] for row in books(shop)].count("adjust") == 2
        await run_shop(shop, emulator)
        assert [row[0] for row in books(shop)].count("adjust") == 2


async def test_every_charge_is_looked_at_where_many_end_in_one_moment(shop: Shop) -> None:
    shop.add_many(_MORE_THAN_A_QUESTION)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        change(shop, "UPDATE attempts SET audited_ms = NULL, finished_ms = (SELECT max(finished_ms) FROM attempts)")
        await run_shop(shop, emulator)
    with closing(sqlite3.connect(shop.queue_path)) as connection:
        (looked_at,) = connection.execute("SELECT count(audited_ms) FROM attempts").fetchone()
    assert looked_at == _MORE_THAN_A_QUESTION


async def test_a_refund_that_never_came_is_told_with_its_prediction(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.TASK_MODERATION: 1.0, Fault.REFUND_NEVER: 1.0}) as emulator:
        await run_shop(shop, emulator)
        change(shop, "UPDATE attempts SET finished_ms = finished_ms - 90000000")
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
        (prediction_id,) = emulator.world.tasks
        assert any(prediction_id in event.detail and "$0.25" in event.detail for event in watcher.of(Kind.NOTE))
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 250_000


# ---------------------------------------------------------------------- the disk


async def test_a_disk_that_is_nearly_full_buys_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024  # as the standard library's own
    shop.add("a")
    async with emulated() as emulator:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
        result = await run_shop(shop, emulator)
        assert (code_of(result), emulator.world.submits) == (ExitCode.NEEDS_PERSON, [])
        assert "only 1 MB are free" in str(result.halts)
        monkeypatch.undo()
        assert code_of(await run_shop(shop, emulator)) == ExitCode.DONE


async def test_an_answer_that_cannot_be_committed_is_kept_and_booked_by_the_next_run(shop: Shop) -> None:
    """The database stops taking anything just when the provider has answered: what it said exists nowhere else."""
    shop.add("a")
    watcher = Watcher()
    locks: list[sqlite3.Connection] = []

    def lock(_: Event) -> None:
        locks.append(sqlite3.connect(shop.queue_path, isolation_level=None))
        locks[0].execute("BEGIN IMMEDIATE")

    watcher.on[Kind.ANSWERED] = lock
    async with emulated(show_inputs=False) as emulator:  # nothing but the answer tells whose it is
        with pytest.raises(StorageError, match="locked"):
            await run_shop(shop, emulator, watcher=watcher, outside=surroundings(0.2))
        locks[0].close()
        change(shop, "UPDATE runs SET lease_until_ms = 0")  # it could not give its lease back: a minute has passed
        assert len(list(shop.queue_path.parent.glob("queue.db.rescue-*"))) == 1
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 1, "total": 1})
        assert len(emulator.world.submits) == 1
        assert not list(shop.queue_path.parent.glob("queue.db.rescue-*"))


async def test_the_rescue_file_of_a_living_run_is_left_alone(tmp_path: Path) -> None:
    living, other = Rescue(tmp_path / "queue.db", "one"), Rescue(tmp_path / "queue.db", "two")
    living.prepare()
    assert living.path.stat().st_size > 100_000  # its room is set aside: a full disk does not matter any more
    living.keep("accepted", ["a", "p", "created", 1])
    living.keep("unknown", ["b", "no answer", 2])
    assert other.orphans() == []
    living.close()
    (orphan,) = other.orphans()
    assert orphan.answers == [("accepted", ["a", "p", "created", 1]), ("unknown", ["b", "no answer", 2])]
    orphan.remove()
    with orphan:
        assert other.orphans() == []


async def test_half_a_line_of_a_power_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "queue.db.rescue-x"
    path.write_bytes(b'["accepted", ["a", "p", "created", 1]]\n["unkno' + bytes(1000))
    (orphan,) = Rescue(tmp_path / "queue.db", "two").orphans()
    with orphan:
        assert orphan.answers == [("accepted", ["a", "p", "created", 1])]
