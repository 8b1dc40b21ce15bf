"""The measurements measure: nothing here looks at how long anything takes."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.manifest.jobs import Checks
from batchrun.video.check import check_clip
from tests.bench import __main__ as bench
from tests.bench import million
from tests.bench.answers import Answer, Line, Table, markdown_table, text_table
from tests.bench.contest import BATCHRUN, FLOOR, contest, list_schedule_s
from tests.bench.local import local_provider
from tests.bench.makespan import Campaign, Wire
from tests.bench.server import Provider, Terms, padded
from tests.sim.loop import VirtualLoop
from tests.sim.night import clips, memory_folder


def test_batchrun_and_the_floor_do_the_same_work(tmp_path: Path) -> None:
    with local_provider() as local:
        scores = contest(local, tmp_path, "few", Terms(), 3, 1, (FLOOR, BATCHRUN), rest_s=0.0)
    assert scores.keys() == {FLOOR.name, BATCHRUN.name}
    assert all(one.polls >= 1 and one.peak_bytes > 10_000_000 for one in scores.values())


def test_a_large_shop_can_be_asked_about(tmp_path: Path) -> None:
    """The commands that are measured still do what is measured: a plan refuses more from time to time."""
    for name in ("night", "rows"):
        (tmp_path / name).mkdir()
    assert million.second_night(tmp_path / "night", 3) > 0
    assert million.of_rows(tmp_path / "rows", 1500)["status, peak MB"] > 0


@given(st.lists(st.floats(0, 1000), min_size=1), st.integers(1, 20))
def test_a_list_schedule_lies_between_its_bounds(took_s: list[float], slots: int) -> None:
    ends_s = list_schedule_s(took_s, slots)
    least_s = max(*took_s, sum(took_s) / slots)
    assert least_s <= ends_s + 1e-6
    assert ends_s <= sum(took_s) / slots + max(took_s) + 1e-6


def test_a_padded_clip_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(padded(clips()[5], 1_000_000))
    assert path.stat().st_size == 1_000_000
    assert check_clip(path, 5, Checks.QUICK).duration_s == pytest.approx(5, abs=0.5)


def test_the_line_carries_one_thing_after_the_other() -> None:
    loop = VirtualLoop()
    wire = Wire(loop)

    async def both() -> None:
        await asyncio.gather(wire.carry(125_000_000), wire.carry(125_000_000))

    loop.run_until_complete(both())
    assert loop.time() == pytest.approx(2.0, abs=0.01)
    loop.close()


def test_no_campaign_beats_the_ideal() -> None:
    with memory_folder() as folder:
        campaign = Campaign(folder, 30, seed=2)
        assert 0 < campaign.play() <= 1
    assert len(campaign.done_s) == 30


def test_the_provider_counts_what_was_asked_before_its_mark() -> None:
    provider = Provider()
    provider.reset(Terms(median_s=1000.0))
    task_ids = [_submit(provider), _submit(provider)]
    provider.mark()
    task_ids.append(_submit(provider))
    for task_id in task_ids[1:]:
        assert provider.answer("GET", f"/api/v3/predictions/{task_id}/result", b"")[0] == 200
    assert list(provider.looked_at) == [task_ids[1]]
    assert provider.now()["running"] == 3


def _submit(provider: Provider) -> str:
    before = set(provider.tasks)
    assert provider.answer("POST", "/api/v3/kwaivgi/kling-v1.6-i2v-standard", b"{}")[0] == 200
    (task_id,) = provider.tasks.keys() - before
    return task_id


def test_only_what_is_absurd_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = Answer(lines=[Line("a", "1", "2", "0.5")], tables=[Table("t", ("x", "y"), [("1", "2")])])
    monkeypatch.setattr(bench, "measure", lambda _sizes, _wanted: iter([("made up", answer)]))
    monkeypatch.setattr("sys.argv", ["bench", "--json", str(tmp_path / "b.json")])
    assert bench.main() == 0
    answer.expect("a ratio", 3.0, at_most=2.0)
    assert bench.main() == 1


def test_the_readme_gets_what_lies_between_its_marks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{bench.MARKS[0]}old\n{bench.MARKS[1]}\nafter\n")
    monkeypatch.setattr(bench, "README", readme)
    bench.write_readme("new\n")
    assert readme.read_text() == f"before\n{bench.MARKS[0]}new\n{bench.MARKS[1]}\nafter\n"


def test_tables_line_up() -> None:
    head, rows = ("measure", "n"), [("a", "100"), ("longer than that", "1")]
    assert len({len(line) for line in text_table(head, rows).splitlines()}) == 1
    assert markdown_table(head, rows).splitlines()[1] == "| --- | --- |"


def test_every_question_can_be_asked_by_its_name() -> None:
    assert len({bench.name_of(one) for one in bench.QUESTIONS}) == len(bench.QUESTIONS)
    assert all(callable(one.ask) for one in bench.QUESTIONS)
