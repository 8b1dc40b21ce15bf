"""An exit status that does not lie: about other processes' rounds, about a selection, about a manifest that went bad."""

import asyncio

import pytest

from batchrun.emulator.faults import Fault
from batchrun.emulator.latency import Latency
from batchrun.errors import ExitCode, ManifestError, UsageError
from batchrun.plan import Selection
from batchrun.run import summary
from batchrun.run.events import Event, Kind
from batchrun.run.terms import Lost, Result, merged
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.run.test_doubts import change
from tests.run.test_kill import run_process
from tests.run.test_session import code_of, counts

DAY_MS = 86_400_000


async def test_what_another_process_finished_by_an_older_text_is_planned_again(shop: Shop) -> None:
    shop.add("a")
    started, watcher = asyncio.Event(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: started.set()
    async with emulated(latency=Latency(100)) as emulator:
        first = asyncio.create_task(run_shop(shop, emulator, watcher=watcher))
        await started.wait()
        shop.replace("It turns", "It jumps")
        result = await run_shop(shop, emulator)
        await first
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 1, "total": 1})
        assert [submit["prompt"] for submit in emulator.world.submits] == ["It turns", "It jumps"]


async def test_a_selection_tells_of_its_lost_clips_and_of_no_others(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("job-00").unlink()
        change(
            shop,
            f"UPDATE attempts SET finished_ms = finished_ms - {8 * DAY_MS}, submitted_ms = submitted_ms - {8 * DAY_MS}",
        )
        for only, wanted in (("job-00", ExitCode.NEEDS_PERSON), ("job-01", ExitCode.DONE)):
            assert code_of(await run_shop(shop, emulator, selection=Selection(only=(only,)))) is wanted
        assert code_of(await run_shop(shop, emulator)) is ExitCode.NEEDS_PERSON


async def test_a_manifest_that_goes_bad_after_something_was_bought(shop: Shop) -> None:
    """2 says that nothing was spent: here it would lie."""
    shop.add_many(2)
    watcher = Watcher()

    def spoil(_: Event) -> None:
        """A picture changes before its upload, and with it the plan; by then the manifest is unreadable."""
        shop.manifest.write_text("jobs: {")

    watcher.on[Kind.INTENT] = spoil
    async with emulated() as emulator:
        shop.limits = shop.limits.replace("concurrency: 8", "concurrency: 1")
        shop.write()
        watcher.on[Kind.CLAIMED] = lambda event: (
            (shop.folder / "pics" / "job-01.png").write_bytes((shop.folder / "pics" / "job-00.png").read_bytes())
            if event.key == "job-01"
            else None
        )
        result = await run_shop(shop, emulator, watcher=watcher)
        assert isinstance(result.problem, ManifestError)
        assert result.bought == len(emulator.world.submits) == 1
        assert code_of(result) is ExitCode.SOME_FAILED
        (reason,) = [one for one in summary.exit_reasons(result, "shop.yaml") if one.kind == "stopped_by_error"]
        assert (reason.code, reason.advice) == (ExitCode.SOME_FAILED, "see to the error, then batchrun shop.yaml")
        again = await run_shop(shop, emulator)
        assert (again.bought, code_of(again)) == (0, ExitCode.USAGE)


def test_one_bad_manifest_hides_no_other_queues_trouble() -> None:
    bad = Result(run_id="", problem=UsageError("bad.yaml: what is this?"))
    good = Result(run_id="r", bought=3, lost=Lost(1))
    assert code_of(merged([bad, good])) is ExitCode.NEEDS_PERSON
    assert code_of(merged([bad, Result(run_id="r", lost=Lost(1))])) is ExitCode.USAGE


async def test_a_parked_job_with_another_text_is_no_reason_to_read_the_manifest_again(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_BEFORE: 1.0}) as emulator:
        assert counts(await run_shop(shop, emulator)) == {"parked": 1, "total": 1}
        shop.replace("It turns", "It jumps")
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), len(watcher.of(Kind.PLANNED))) == (ExitCode.NEEDS_PERSON, 1)


async def test_other_budgets_are_no_hang_for_a_run_that_waits_for_its_canary(shop: Shop) -> None:
    """As if another process had read the manifest just then: the canary is not bought before this one has, too."""
    shop.add_many(3)
    watcher = Watcher()
    claimed: list[Event] = []

    def reread(event: Event) -> None:
        claimed.append(event)
        if len(claimed) == 1:
            change(shop, "UPDATE batches SET caps = 'others'")

    watcher.on[Kind.CLAIMED] = reread
    async with emulated() as emulator:
        result = await asyncio.wait_for(run_shop(shop, emulator, watcher=watcher, canary=1), 30)
        assert (code_of(result), counts(result), len(watcher.of(Kind.PLANNED))) == (
            ExitCode.DONE,
            {"done": 3, "total": 3},
            2,
        )


@pytest.mark.parametrize("words", [[], ["--preview", "--no-render", "--speed", "1000"]])
async def test_json_says_the_exit_code_of_the_process(shop: Shop, words: list[str]) -> None:
    """Something was bought from one queue, and the manifest of the other cannot be read: 3, for 2 says that nothing was spent."""
    if words:
        shop.limits = "{budget: 100}"
    shop.add("a")
    typo = shop.folder / "b" / "typo.yaml"
    typo.parent.mkdir()
    typo.write_text("version: 1\njobbs: []\n")
    async with emulated() as emulator:
        code, found, _ = await run_process(shop, emulator, str(typo), *words)
    assert (code, found["exit_code"], found["done"]) == (3, 3, 1)
    assert "jobbs" in str(found["error"])
    assert found["problems"]
