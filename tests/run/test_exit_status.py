"""An exit status that does not lie: about other processes' rounds, about a selection, about a manifest that went bad."""

import asyncio

from batchrun.emulator.latency import Latency
from batchrun.errors import ExitCode, ManifestError, UsageError
from batchrun.plan import Selection
from batchrun.run import summary
from batchrun.run.events import Event, Kind
from batchrun.run.terms import Result, merged
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.run.test_doubts import change
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
    good = Result(run_id="r", bought=3, lost=1)
    assert code_of(merged([bad, good])) is ExitCode.NEEDS_PERSON
    assert code_of(merged([bad, Result(run_id="r", lost=1)])) is ExitCode.USAGE
