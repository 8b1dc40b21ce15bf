"""Evidence, lists, looks, migration: small pieces."""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from batchrun.clock import SystemClock
from batchrun.errors import UsageError
from batchrun.provider import wire
from batchrun.provider.client import Client
from batchrun.provider.http import RawAnswer
from batchrun.provider.outcome import Prediction, Progress, TryLaterError, Unknown
from batchrun.queue.answers import Recorded
from batchrun.queue.records import KnownPrediction
from batchrun.queue.states import AttemptState
from batchrun.run import resolve as resolving
from batchrun.run.evidence import OpenAttempt, judge
from batchrun.run.sweeps import Sweeper
from tests.clocks import StillClock
from tests.store.stores import opened
from tests.store.test_migration import make_version_1


class Pages:
    """A provider with 150 predictions and as many charges, the newest first; one item of the first page has no usable id."""

    server_ahead_ms = 0

    def __init__(self, size: int, more: Mapping[str, object]) -> None:
        self._size = size
        self._more = more

    async def api(self, method: str, path: str, *, body: bytes = b"", headers: object = None) -> RawAnswer:
        page = json.loads(body)["page"]
        ids = [f"{n:032x}" for n in range(150)][(page - 1) * self._size : page * self._size]
        items: list[dict[str, object]] = [
            {
                "id": one,
                "model": "m",
                "status": "completed",
                "billing_type": "deduct",
                "price": 1,
                "prediction": {"uuid": one},
            }
            for one in ids
        ]
        if page == 1:
            items[7]["id"] = ""
        data = {"code": 200, "message": "success", "data": {"page": page, "items": items, **self._more}}
        return RawAnswer(200, json.dumps(data).encode(), None, None)


@pytest.mark.parametrize("more", [{}, {"total": 150}], ids=["no total", "with a total"])
@pytest.mark.parametrize("size", [100, 20])
async def test_lists_are_read_to_their_end_whatever_the_size_of_a_page(size: int, more: Mapping[str, object]) -> None:
    """What is missing from a list that was cut short would count as never created, or as never charged."""
    client = Client(Pages(size, more), SystemClock())  # type: ignore[arg-type]  # only what is asked of it
    found, unreadable = await Sweeper(None, client, SystemClock())._read("m", 0, 10**13)  # type: ignore[arg-type]  # only what is asked of it
    assert (len(found), unreadable) == (149, 1)  # with one of those nothing is proven absent
    assert len(await client.billing(["any"])) == len(await client.charged_since(0, "m")) == 150


@pytest.mark.parametrize("more", [{"total": 250}, {"has_more": True}], ids=["a total", "a flag"])
async def test_an_empty_page_before_the_end_proves_nothing_absent(more: Mapping[str, object]) -> None:
    """The witness stands on the first page, the prediction that is looked for on one that came back empty."""
    client = Client(Pages(100, more), SystemClock())  # type: ignore[arg-type]  # only what is asked of it
    _, unreadable = await Sweeper(None, client, SystemClock())._read("m", 0, 10**13)  # type: ignore[arg-type]  # only what is asked of it
    assert unreadable == 2
    for asked in (client.charged_since(0, "m"), client.billing(["any"])):
        with pytest.raises(TryLaterError, match="an empty page before the end"):
            await asked


def test_a_witness_is_later_at_the_provider_not_by_a_clock_that_has_stepped() -> None:
    """Our clock was right at 12:00, then stepped back an hour; the witness was made before the attempt."""
    hour, t = 3_600_000, 1_800_000_000_000
    before = Prediction(
        prediction_id="w" * 8, model="m", progress=Progress.COMPLETED, status_word="completed", outputs=(), code=0,
        error="", created_ms=t,
    )  # fmt: skip
    attempt = OpenAttempt(
        attempt_id="a", batch="b", key="k", model="m", unknown=True,
        submitted_ms=t + 60_000 - hour, until_ms=t + 90_000 - hour, ahead_ms=hour, inputs={"image": "x"}, is_marked=True,
    )  # fmt: skip
    verdict = judge([attempt], [before], {before.prediction_id: KnownPrediction(t, 0)}, 300_000)
    assert verdict.witnessed == frozenset()


async def test_what_version_1_left_unknown_is_watched_after_its_void(tmp_path: Path) -> None:
    make_version_1(tmp_path / "queue.db")
    async with opened(tmp_path, StillClock()) as queue:
        (one,) = await queue.doubts.open_submits()
        await queue.record_nothing_created(one.attempt_id, AttemptState.VOID, None, "void", 0, "void")
        assert [one.attempt_id for one in await queue.doubts.open_submits()] == ["a2"]


@pytest.mark.parametrize("code", [1405, 1406])
def test_only_the_codes_of_4a_are_refusals_inside_http_200(code: int) -> None:
    body = json.dumps({"code": code, "message": "task failed", "data": None}).encode()
    assert isinstance(wire.submit_outcome(wire.decode(200, body), None), Unknown)


async def test_resolve_says_so_when_the_run_was_first(tmp_path: Path) -> None:
    """A run beside it has found the prediction between the look and the decision."""
    make_version_1(tmp_path / "queue.db")
    clock = StillClock()
    async with opened(tmp_path, clock) as queue:
        (one,) = await queue.doubts.open_submits()
        assert await queue.record_accepted("a2", "pred-2", "found") is Recorded.RUNNING
        with pytest.raises(UsageError, match="a run has decided it meanwhile"):
            await resolving.void(queue, clock, one)
        with pytest.raises(UsageError, match="a run has decided it meanwhile"):
            await resolving.leave(queue, one)


async def test_the_same_picture_at_two_places_is_asked_for_twice(tmp_path: Path) -> None:
    """Two files with the same bytes under two prompts: `the same picture under several prompts is never decided`."""
    async with opened(tmp_path, StillClock()):
        pass
    connection = sqlite3.connect(tmp_path / "queue.db")
    sha = "a" * 64
    connection.executescript(f"""
    BEGIN; INSERT INTO batches (batch_id, name, manifest, generation, created_ms) VALUES (1, 'shop', 'shop.yaml', 1, 1);
    INSERT INTO revisions VALUES (1, 1, 1, '{"1" * 64}', 1, 'm', 'x', '', 50, 5, NULL, '{sha}', 1),
        (2, 2, 1, '{"2" * 64}', 1, 'm', 'y', '', 50, 5, NULL, '{sha}', 1);
    INSERT INTO jobs (job_id, batch_id, key, state, revision_id, priority, position, price_usd_micros, tags, image_path,
        output_path, output_key, generation, changed_ms) VALUES
        (1, 1, 'a', 'queued', 1, 0, 0, 250000, '[]', 'a.png', 'a.mp4', 'a.mp4', 1, 1),
        (2, 1, 'b', 'queued', 2, 0, 1, 250000, '[]', 'b.png', 'b.mp4', 'b.mp4', 1, 1); COMMIT;
    """)
    connection.close()
    async with opened(tmp_path, StillClock()) as queue:
        pictures = await queue.doubts.known_pictures()
        assert {one.sha256: one.requests for one in pictures} == {sha: 2}
