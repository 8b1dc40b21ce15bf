"""Runs that do not end, end too early, or fall over."""

import asyncio
import sqlite3
from dataclasses import replace

import pytest

from batchrun.cli import run_verb
from batchrun.emulator.faults import Fault
from batchrun.emulator.world import Account
from batchrun.errors import ExitCode, StorageError
from batchrun.manifest.read import load_manifest
from batchrun.provider.client import API
from batchrun.provider.http import Http, RawAnswer
from batchrun.provider.urls import origin_of
from batchrun.queue import rescue as rescue_module
from batchrun.run.events import Event, Kind
from batchrun.run.session import Session
from batchrun.run.stop import Stop
from batchrun.run.terms import Options, Result
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop, surroundings
from tests.run.test_doubts import change, resolve
from tests.run.test_first_frames import AREA_PX, MODEL_CROP, add, learn
from tests.run.test_session import code_of, counts
from tests.sim.night import Scenario, play


async def test_submits_of_a_dead_run_of_another_manifest_do_not_hold_this_one_for_ever(shop: Shop) -> None:
    """Another run made its batch after this one had begun, and was killed with its submits under way."""
    shop.add("a")

    def die_elsewhere(_: Event) -> None:
        other = sqlite3.connect(shop.queue_path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute(
            "INSERT INTO runs (run_id, host, pid, started_ms, lease_until_ms) VALUES ('dead', 'here', 1, 1, 0)"
        )
        other.execute(
            "INSERT INTO batches (batch_id, name, manifest, generation, created_ms) VALUES (77, 'other', 'other.yaml', 1, 1)"
        )
        for n in range(4):
            at = 700 + n
            other.execute(
                "INSERT INTO revisions VALUES (?, ?, 1, ?, 1, 'm', 'x', '', 50, 5, 'https://x/a', NULL, 1)",
                (at, at, str(n) * 64),
            )
            other.execute(
                "INSERT INTO attempts (attempt_id, job_id, revision_id, batch_id, run_id, day, price_usd_micros, state, "
                "image_url, submitted_ms, send_by_ms) VALUES (?, ?, ?, 77, 'dead', '2026-11-22', 250000, 'submitting', "
                "'u', 1000, 2000)",
                (f"x{n}", at, at),
            )
            other.execute(
                "INSERT INTO jobs (job_id, batch_id, key, state, revision_id, attempt_id, priority, position, "
                "price_usd_micros, tags, output_path, output_key, generation, lease_run_id, changed_ms) VALUES "
                "(?, 77, ?, 'submitting', ?, ?, 0, 0, 250000, '[]', ?, ?, 1, 'dead', 1)",
                (at, f"x{n}", at, f"x{n}", f"x{n}", f"x{n}"),
            )
            other.execute(
                "INSERT INTO ledger VALUES (NULL, ?, 77, NULL, 'dead', '2026-11-22', 'reserve', 250000, 250000, 0, 1000)",
                (f"x{n}",),
            )
        other.execute("COMMIT")
        other.close()

    watcher = Watcher()
    watcher.on[Kind.UPLOADED] = die_elsewhere
    async with emulated() as emulator:
        async with asyncio.timeout(30):
            await run_shop(shop, emulator, watcher=watcher)


def test_a_twin_is_copied_in_the_same_night_in_which_its_submit_is_found() -> None:
    figures = play(
        Scenario(
            seed=1, jobs=2, twins=True, submits=[Fault.SUBMIT_DROP_AFTER], nights=1, account={"list_lag_ms": 30_000}
        )
    )
    assert figures.violations == []
    assert (figures.done, figures.queued) == (2, 0)


async def test_a_folder_for_looks_that_cannot_be_written_does_not_end_the_run(shop: Shop) -> None:
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_AFTER: 1.0}
        looks = shop.queue_path.parent / "looks"
        if looks.exists():
            looks.rmdir()
        looks.write_text("a full disk or a read-only folder says the same: OSError")
        add(shop, "lost-1", 1001)
        result = await run_shop(shop, emulator)
        assert code_of(result) == ExitCode.NEEDS_PERSON


async def test_a_rescue_file_of_another_user_is_an_error_in_words(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left by a run under sudo that was killed: 0600, not ours."""
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        (shop.queue_path.parent / "queue.db.rescue-root").write_bytes(bytes(100))
        real = rescue_module.os.open

        def refuse(path: object, *args: object, **more: object) -> int:
            if str(path).endswith("rescue-root"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **more)  # type: ignore[arg-type]  # options by their names

        monkeypatch.setattr(rescue_module.os, "open", refuse)
        with pytest.raises(StorageError, match="cannot be read: Permission denied"):
            await run_shop(shop, emulator)


async def test_leave_now_also_while_the_billing_is_asked(shop: Shop) -> None:
    """The second Ctrl-C: stop now. Each of up to 100 audit questions may take a minute."""
    shop.add_many(3)
    async with emulated() as emulator:
        stop = Stop()
        await run_shop(shop, emulator)
        change(shop, "UPDATE attempts SET audited_ms = NULL")

        emulator.world.dice.chances = {Fault.BILLING_STALL: 1.0}
        running = asyncio.create_task(run_shop(shop, emulator, stop=stop))
        async with asyncio.timeout(8):
            while Fault.BILLING_STALL not in emulator.world.dice.thrown:
                await asyncio.sleep(0)
            stop.ask()
            stop.ask()
            await running


async def test_max_spend_counts_what_a_run_spent_before_it_broke(shop: Shop) -> None:
    """Two queues, one `--max-spend`: the first run buys, then its database is locked."""
    shop.limits = "{concurrency: 1, per_minute: 1000, poll: 0.02, settle: 1, budget: none}"
    shop.add("a").add("b")
    locks: list[sqlite3.Connection] = []
    watcher = Watcher()

    def lock(_: Event) -> None:
        if not locks:
            locks.append(sqlite3.connect(shop.queue_path, isolation_level=None))
            locks[0].execute("BEGIN IMMEDIATE")

    watcher.on[Kind.DONE] = lock
    async with emulated() as emulator:
        options = Options(
            kind="paid", base_url=emulator.base_url, origin=origin_of(emulator.base_url), key=KEY,
            queue_path=shop.queue_path, manifests=(shop.manifest,), max_spend_usd_micros=500_000,
        )  # fmt: skip
        session = Session(
            options, lambda: [load_manifest(shop.manifest, fast=True)], surroundings(0.2), stop=Stop(), observer=watcher
        )
        with pytest.raises(StorageError) as caught:
            await session.run()
        locks[0].close()
        rest = run_verb._rest(500_000, [Result(run_id="", problem=caught.value)])
        assert rest is not None
        assert rest + emulator.world.books.billed_usd_micros <= 500_000


async def test_a_late_match_while_the_job_is_being_prepared(shop: Shop) -> None:
    """The job goes on with the late prediction; its old worker still prepares to buy it, and must step back."""
    preparing, adopted = asyncio.Event(), asyncio.Event()

    class InThisOrder(Http):
        """The list is asked once an upload has begun, and the upload goes on once a late prediction is adopted."""

        async def api(self, method: str, path: str, **more: object) -> RawAnswer:
            if path == f"{API}/media/uploads":
                preparing.set()
                await adopted.wait()
            elif path == f"{API}/predictions":
                await preparing.wait()
            return await super().api(method, path, **more)  # type: ignore[arg-type]  # options by their names

    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.account = Account()
        emulator.world.dice.chances = {}
        watcher = Watcher()
        watcher.on[Kind.LATE] = lambda _: adopted.set()
        async with asyncio.timeout(25):
            result = await run_shop(
                shop, emulator, watcher=watcher, outside=replace(surroundings(), connect_http=InThisOrder)
            )
        order = [event.kind for event in watcher.events if event.kind in {Kind.CLAIMED, Kind.LATE, Kind.UPLOADED}]
        assert order == [Kind.CLAIMED, Kind.LATE, Kind.UPLOADED, Kind.CLAIMED]
        assert code_of(result) == ExitCode.NEEDS_PERSON  # a submit that was given up is charged after all
        assert (counts(result), len(emulator.world.submits)) == ({"done": 1, "total": 1}, 1)


def test_frozen_processes_and_a_request_that_waits_in_line_under_an_old_lease() -> None:
    """Five processes that freeze now and then: a stale request of ours meets its own attempt id. No kills."""
    lost = (Fault.SUBMIT_DROP_AFTER, Fault.SUBMIT_502_AFTER, Fault.SUBMIT_TRUNCATED, Fault.SUBMIT_DROP_BEFORE,
            Fault.SUBMIT_500)  # fmt: skip
    faults = {**dict.fromkeys(lost, 0.05), Fault.SUBMIT_DROP_LATE: 0.1, Fault.TASK_FAILED: 0.15,
              Fault.TASK_UNAVAILABLE: 0.1, Fault.POLL_500: 0.1, Fault.POLL_DROP: 0.1, Fault.TICKET_500: 0.05,
              Fault.LIST_500: 0.2, Fault.REFUND_NEVER: 0.3}  # fmt: skip
    figures = play(
        Scenario(
            seed=1118,
            jobs=60,
            processes=5,
            concurrency=50,
            per_minute=10,
            faults=faults,
            freeze_every_s=200,
            wrong_ms=-3_600_000,
            nights=4,
            account={"refund_after_ms": 3_600_000, "list_lag_ms": 200_000, "concurrency": 5},
        )
    )
    assert figures.violations == []
