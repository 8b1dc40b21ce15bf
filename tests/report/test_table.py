"""Tables for shop systems: what a program reads back is what was there, and a spreadsheet runs none of it."""

import csv
import io
import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from batchrun.queue.states import JobState
from batchrun.report.table import COLUMNS, cell, row_of, write_csv, write_json
from tests.report.shelf import clip, each

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    [
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        'say "a", then; b',
        "'=1",
        "",
        ",",
        "＝1+1",
        "＋1",
        "－1",
        "＠SUM(A1)",
    ]
)
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=4), max_size=5))
def test_cells_come_back_and_none_is_a_formula(rows: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows([[cell(text) for text in row] for row in rows])
    found = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert [[cell(text) for text in row] for row in rows] == found
    for row, read in zip(rows, found, strict=True):
        for text, back in zip(row, read, strict=True):
            assert not back.startswith(FORMULA)
            assert back in (text, f"'{text}")
            assert (back == text) == (not text.startswith(FORMULA))


def test_lists_and_nothing() -> None:
    assert (cell(["a", "b"]), cell([]), cell(None), cell(0), cell(24.0)) == ("a; b", "", "", "0", "24.0")


async def test_csv_and_json_say_the_same_in_the_documented_columns(tmp_path: Path) -> None:
    clips = [
        clip(tmp_path, "a", prompt='=HYPERLINK("http://x")', tags=("kitchen", "new")),
        clip(
            tmp_path, "b", state=JobState.FAILED, kind="moderation", message="no", attempts=2, held_usd_micros=250_000
        ),
    ]
    text, whole = io.StringIO(newline=""), io.StringIO()
    await write_csv(text, each(clips))
    await write_json(whole, [], each(clips))
    assert text.getvalue().splitlines()[0] == ",".join(COLUMNS)
    table = list(csv.DictReader(io.StringIO(text.getvalue(), newline="")))
    found = json.loads(whole.getvalue())
    assert (found["schema_version"], found["statements"]) == (1, [])
    assert [tuple(row) for row in found["jobs"]] == [COLUMNS, COLUMNS]
    assert [[cell(value) for value in row.values()] for row in found["jobs"]] == [list(row.values()) for row in table]
    assert (table[0]["prompt"], found["jobs"][0]["prompt"]) == ('\'=HYPERLINK("http://x")', '=HYPERLINK("http://x")')
    assert (table[0]["cost_usd"], table[0]["fps"], table[0]["tags"]) == ("0.25", "24.0", "kitchen; new")
    assert (table[1]["file"], table[1]["sha256"], table[1]["held_usd"], table[1]["attempts"]) == ("", "", "0.25", "2")


async def test_json_is_utf_8_also_with_a_path_that_is_not(tmp_path: Path) -> None:
    """No JSON reader takes a path's bytes; its escapes keep them."""
    folder, out = tmp_path / os.fsdecode(b"\xff"), io.StringIO()
    await write_json(out, [], each([clip(folder, "a", prompt="中")]))
    assert json.loads(out.getvalue().encode())["jobs"][0]["file"].startswith(f"{folder}/")


async def test_no_jobs_is_an_object_too() -> None:
    out = io.StringIO()
    await write_json(out, [], each([]))
    assert json.loads(out.getvalue()) == {"schema_version": 1, "statements": [], "jobs": []}


def test_the_readme_lists_the_columns(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert f"`{', '.join(COLUMNS)}`" in " ".join(readme.split())
    assert tuple(row_of(clip(tmp_path, "a"))) == COLUMNS
