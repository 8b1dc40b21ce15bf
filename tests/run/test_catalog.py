"""The nightly catalog: what a table of products and a folder of pictures buy, the first night and the second."""

import csv
import json
import random
import sqlite3
from pathlib import Path

import pytest

from batchrun.cli.main import main
from batchrun.errors import Problem
from batchrun.manifest.jobs import SkippedRows
from batchrun.plan import Selection
from batchrun.run.asked import skipped_of
from tests.conftest import Shop, emulated, make_picture, run_shop
from tests.run.test_kill import run_process

ROWS = [{"sku": f"sku-{n}", "title": f"Mug {n}", "file": f"pics/{n}.png"} for n in range(6)]
ENTRY = '  - {from: products.csv, id: "{sku}", image: "{file}", prompt: "{title}, really"}'


class Catalog:
    """A shop whose jobs stand in a table and in a folder."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.rows = [dict(row) for row in ROWS]
        for number in range(6):
            make_picture(shop.folder / "pics" / f"{number}.png", number)
        for number in range(2):
            make_picture(shop.folder / "more" / f"look-{number}.png", 10 + number)
        shop.rows = [ENTRY, "  - {from: 'more/*.png', prompt: 'The {stem}'}"]
        shop.write()
        self.export()

    def export(self, **style: object) -> None:
        with (self.shop.folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]), **style)  # type: ignore[arg-type]  # options by their names
            writer.writeheader()
            writer.writerows(self.rows)


@pytest.fixture
def catalog(shop: Shop) -> Catalog:
    return Catalog(shop)


async def test_the_second_night_buys_exactly_what_changed(catalog: Catalog) -> None:
    shop = catalog.shop
    async with emulated() as emulator:
        assert (await run_shop(shop, emulator)).bought == 8

        random.Random(5).shuffle(catalog.rows)
        catalog.rows = [{"new": "column", **row} for row in catalog.rows]
        catalog.export(quoting=csv.QUOTE_ALL, delimiter=";", lineterminator="\r\n")
        for path in (shop.folder / "pics").iterdir():
            path.write_bytes(path.read_bytes())
        assert (await run_shop(shop, emulator)).bought == 0

        next(row for row in catalog.rows if row["sku"] == "sku-0")["title"] = "Another mug"
        make_picture(shop.folder / "pics" / "1.png", seed=99)
        catalog.rows.append({"new": "", "sku": "sku-6", "title": "New", "file": "pics/2.png"})
        catalog.export()
        result = await run_shop(shop, emulator)
        assert (result.bought, sum(view.removed for view in result.batches)) == (3, 0)


async def test_a_source_that_is_renamed_or_written_as_json_buys_nothing(catalog: Catalog) -> None:
    shop = catalog.shop
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        (shop.folder / "products.csv").unlink()
        (shop.folder / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in catalog.rows))
        shop.replace("products.csv", "shop.jsonl")
        assert (await run_shop(shop, emulator)).bought == 0


async def test_bad_rows_are_refused_before_anything_is_bought(catalog: Catalog) -> None:
    catalog.rows[1]["title"] = ""
    catalog.rows[3]["file"] = "pics/none.png"
    catalog.export()
    async with emulated() as emulator:
        code, result, err = await run_process(catalog.shop, emulator)
        assert (code, emulator.world.submits) == (2, [])
        table = str(catalog.shop.folder / "products.csv")
        assert f"{table}:3 (sku-1): prompt: column 'title' is empty here" in err
        assert [(one["file"], one["line"], one["job"], one["path"]) for one in result["problems"]] == [  # type: ignore[attr-defined]  # read from JSON
            (table, 3, "sku-1", "prompt"),
            (table, 5, "sku-3", "image"),
        ]
        assert "Traceback" not in err


async def test_bad_rows_may_be_left_out_and_end_with_3(catalog: Catalog) -> None:
    catalog.rows[1]["title"] = ""
    catalog.rows[3]["file"] = "pics/none.png"
    catalog.export()
    catalog.shop.head = "on_invalid: skip"
    catalog.shop.write()
    async with emulated() as emulator:
        code, result, _ = await run_process(catalog.shop, emulator)
        assert (code, result["submitted"], result["done"], result["skipped_rows"]) == (3, 6, 6, 2)
        assert [(one["line"], one["job"]) for one in result["skipped"]] == [(3, "sku-1"), (5, "sku-3")]  # type: ignore[attr-defined]  # read from JSON
        (reason,) = result["exit_reasons"]  # type: ignore[misc]  # read from JSON
        assert (reason["code"], reason["kind"], reason["count"]) == (3, "skipped_rows", 2)
        catalog.rows = [dict(row) for row in ROWS]
        catalog.export()
        code, result, _ = await run_process(catalog.shop, emulator)
        assert (code, result["submitted"], result["skipped_rows"]) == (0, 2, 0)


async def test_a_selection_ends_with_3_for_no_row_that_it_did_not_ask_for(catalog: Catalog) -> None:
    catalog.rows[1]["title"] = ""
    catalog.export()
    catalog.shop.head = "on_invalid: skip"
    catalog.shop.limits = "{budget: 100}"
    catalog.shop.write()
    async with emulated() as emulator:
        for words, wanted in (
            (["--only", "sku-0"], 0), (["--limit", "1"], 3), (["--only", "sku-*"], 3), (["--only", "nothing-*"], 2),
        ):  # fmt: skip
            code, result, _ = await run_process(catalog.shop, emulator, *words, "--preview", "--no-render")
            assert (code, result["exit_code"]) == (wanted, wanted)
            assert wanted == 2 or [one["job"] for one in result["skipped"]] == ["sku-1"]  # type: ignore[attr-defined]  # read from JSON


def test_which_rows_that_were_left_out_are_asked_for() -> None:
    found = [Problem("a.csv", line, 0, "", "is wrong", key) for line, key in ((3, "a"), (3, "a"), (4, "b"), (5, ""))]
    skipped = [SkippedRows(3, tuple(found)), SkippedRows()]
    assert skipped_of(skipped, Selection()) == 3
    assert skipped_of(skipped, Selection(only=("*",))) == 2
    assert skipped_of(skipped, Selection(only=("a", "c"))) == 1
    assert skipped_of(skipped, Selection(only=("a",), tags=("new",))) == 0
    assert skipped_of(skipped, Selection(tags=("new",))) == 0
    assert skipped_of(skipped, Selection(limit=9)) == 3


async def test_the_summary_names_the_rows_that_were_left_out(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    from batchrun.run.summary import exit_reasons, run_lines  # noqa: PLC0415  # only this test needs it

    catalog.rows[1]["title"] = ""
    catalog.export()
    catalog.shop.head = "on_invalid: skip"
    catalog.shop.write()
    async with emulated() as emulator:
        result = await run_shop(catalog.shop, emulator)
    reasons = exit_reasons(result, "shop.yaml")
    lines = run_lines(result, reasons, preview=False, real_price_usd_micros=0)
    assert "shop: 1 row is left out (`on_invalid: skip`):" in lines
    assert f"  {catalog.shop.folder}/products.csv:3 (sku-1): prompt: column 'title' is empty here" in lines
    assert "next: correct the rows that are listed, then batchrun shop.yaml" in lines


def test_the_plan_names_them_too(
    catalog: Catalog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVESPEED_BASE_URL", "http://127.0.0.1:9")
    catalog.rows[1]["title"] = ""
    catalog.export()
    assert main(["plan", str(catalog.shop.manifest)]) == 2
    catalog.shop.head = "on_invalid: skip"
    catalog.shop.write()
    capsys.readouterr()
    assert main(["plan", str(catalog.shop.manifest)]) == 0
    said = capsys.readouterr().out
    assert "7 jobs, 7 to buy" in said
    assert "products.csv:3 (sku-1): prompt: column 'title' is empty here" in said
    assert not catalog.shop.queue_path.parent.exists()
    main(["plan", str(catalog.shop.manifest), "--json"])
    assert json.loads(capsys.readouterr().out)["skipped_rows"] == 1


async def test_a_row_that_is_left_out_keeps_what_it_had(catalog: Catalog) -> None:
    """Yesterday's clip of a row that is broken today stays where it is, and is not bought again tomorrow."""
    shop = catalog.shop
    shop.head = "on_invalid: skip"
    shop.write()
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        clip = shop.output("sku-1").read_bytes()
        catalog.rows[1]["title"] = ""
        catalog.export()
        result = await run_shop(shop, emulator)
        assert (result.bought, sum(view.removed for view in result.batches)) == (0, 1)
        assert shop.output("sku-1").read_bytes() == clip
        catalog.rows[1]["title"] = "Mug 1"
        catalog.export()
        assert (await run_shop(shop, emulator)).bought == 0


async def test_pictures_are_remembered_beside_the_queue(catalog: Catalog) -> None:
    """By the real command, which has the system's clock: what is old enough is remembered, and believed the next time."""
    async with emulated() as emulator:
        assert (await run_process(catalog.shop, emulator))[0] == 0
        folder: Path = catalog.shop.queue_path.parent
        assert not list(folder.glob("*.part"))
        code, result, _ = await run_process(catalog.shop, emulator)
        assert (code, result["submitted"], result["up_to_date"]) == (0, 0, 8)
    with sqlite3.connect(catalog.shop.queue_path) as books:
        assert books.execute("SELECT count(*) FROM attempts").fetchone() == (8,)
    books.close()
