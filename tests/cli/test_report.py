"""`batchrun report` as a person and as a shop system meet it, on queues that real runs have made."""

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from batchrun.emulator.faults import Fault
from batchrun.money import decimal_usd
from batchrun.report.table import COLUMNS
from tests.cli.test_main import run
from tests.conftest import KEY, Shop, emulated
from tests.report.test_page import data_of
from tests.run.test_kill import run_process


async def made(shop: Shop, faults: dict[Fault, float] | None = None) -> None:
    async with emulated(faults) as emulator:
        await run_process(shop, emulator)


def spent(shop: Shop) -> int:
    connection = sqlite3.connect(shop.queue_path)
    (found,) = connection.execute("SELECT sum(spent_usd_micros) FROM ledger").fetchone()
    connection.close()
    return int(found)


async def test_the_page_lies_with_the_clips_and_is_replaced(shop: Shop) -> None:
    await made(shop.add_many(3))
    page = shop.folder / "videos" / "shop" / "report.html"
    done = run("report", str(shop.manifest), cwd=shop.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "videos/shop/report.html\n", "")
    found = data_of(page)
    assert [clip["video"] for clip in found["clips"]] == ["job-00.mp4", "job-01.mp4", "job-02.mp4"]
    assert [clip["picture"] for clip in found["clips"]] == [f"../../pics/job-0{number}.png" for number in range(3)]
    assert sum(one["spent"] for one in found["statements"]) == spent(shop) == 750_000
    assert [(day["spent"], day["held"]) for day in found["days"]] == [(750_000, 0)]
    assert KEY not in page.read_text("utf-8")
    page.write_text(page.read_text("utf-8").replace("job-00", "job-99"))
    assert run("report", str(shop.manifest)).returncode == 0
    assert "job-99" not in page.read_text("utf-8")


async def test_every_job_of_the_manifest_is_in_it(shop: Shop) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 1.00")
    await made(shop.add_many(6), {Fault.TASK_MODERATION: 0.4})
    run("report", str(shop.manifest), "-o", str(shop.folder))
    found = data_of(shop.folder / "report.html")
    assert [clip["id"] for clip in found["clips"]] == [f"job-{number:02}" for number in range(6)]
    states = {clip["state"] for clip in found["clips"]}
    assert states == {"done", "failed", "queued"}
    assert {clip.get("video", "") for clip in found["clips"] if clip["state"] != "done"} == {""}
    assert set(found["advice"]) == {"moderation"}


async def test_a_page_without_a_single_clip(shop: Shop) -> None:
    await made(shop.add("a"), {Fault.TASK_MODERATION: 1.0})
    shutil.rmtree(shop.folder / "videos", ignore_errors=True)
    done = run("report", str(shop.manifest), cwd=shop.folder)
    assert (done.returncode, done.stdout) == (0, "videos/shop/report.html\n")
    (found,) = data_of(shop.output("a").with_name("report.html"))["clips"]
    assert (found["state"], found["kind"], found["held"]) == ("failed", "moderation", 250_000)


async def test_a_folder_whose_disk_is_not_mounted_is_not_made_anew(shop: Shop) -> None:
    """The next run would take it for the disk's own, and fetch every clip again."""
    await made(shop.add("a"))
    (shop.folder / "videos").rename(shop.folder / "unmounted")
    done = run("report", str(shop.manifest))
    assert (done.returncode, (shop.folder / "videos").exists()) == (2, False)
    assert "is gone, and 1 finished clips were in it" in done.stderr
    assert run("report", str(shop.manifest), "-o", str(shop.folder / "page.html")).returncode == 0


async def test_a_foreign_file_stays(shop: Shop) -> None:
    await made(shop.add("a"))
    page = shop.folder / "videos" / "shop" / "report.html"
    page.write_text("<p>the client's own page</p>")
    done = run("report", str(shop.manifest))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{page} exists and is no report of this kind; move it away, or name another file with -o" in done.stderr
    assert page.read_text() == "<p>the client's own page</p>"
    elsewhere = shop.folder / "new" / "gallery.html"
    assert run("report", str(shop.manifest), "-o", str(elsewhere)).returncode == 0
    assert data_of(elsewhere)["clips"][0]["video"] == "../videos/shop/a.mp4"


@pytest.mark.parametrize("form", ["--csv", "--json", "--statement"])
async def test_a_table_replaces_none_but_its_own_kind(shop: Shop, form: str) -> None:
    await made(shop.add("a"))
    products = shop.folder / "products.csv"
    products.write_text("batch,id,state,title\n")
    other = shop.folder / "other"
    assert (
        run("report", str(shop.manifest), "--csv" if form == "--json" else "--json", "-o", str(other)).returncode == 0
    )
    os.mkfifo(shop.folder / "pipe")
    for foreign in (products, shop.manifest, shop.queue_path, other, shop.folder / "pipe"):
        before = foreign.stat()
        done = run("report", str(shop.manifest), form, "-o", str(foreign))
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert f"{foreign} exists and is no report of this kind; move it away, or name another" in done.stderr
        assert (foreign.stat().st_ino, foreign.stat().st_size) == (before.st_ino, before.st_size)
    own = shop.folder / "own"
    own.touch()  # as `mktemp` does
    for _ in range(2):
        assert run("report", str(shop.manifest), form, "-o", str(own)).returncode == 0
        whole = own.read_bytes()
        own.write_bytes(whole + b"to be replaced")
    assert run("report", str(shop.manifest), form, "-o", str(own)).returncode == 0
    assert own.read_bytes() == whole


async def test_tables_on_standard_output_and_in_files(shop: Shop) -> None:
    shop.add("a", prompt="=1+1", more=", tags: [kitchen, new]").add("b")
    await made(shop)
    text = run("report", str(shop.manifest), "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["id"], row["state"], row["cost_usd"], row["attempts"]) for row in rows] == [
        ("a", "done", "0.25", "1"),
        ("b", "done", "0.25", "1"),
    ]
    assert (rows[0]["prompt"], rows[0]["tags"], rows[0]["file"]) == ("'=1+1", "kitchen; new", str(shop.output("a")))
    found = json.loads(run("report", str(shop.manifest), "--json").stdout)
    assert [job["prediction_id"] for job in found["jobs"]] == [row["prediction_id"] for row in rows]
    assert [one["net_cost_usd"] for one in found["statements"]] == ["0.50"] == [decimal_usd(spent(shop))]
    target = shop.folder / "table.csv"
    done = run("report", str(shop.manifest), "--csv", "-o", "table.csv", cwd=shop.folder)
    assert (done.stdout, target.read_bytes().decode().replace("\r\n", "\n")) == (
        "table.csv\n",
        text.replace("\r\n", "\n"),
    )
    done = run("report", str(shop.manifest), "--json", "-o", "table.json", cwd=shop.folder)
    assert json.loads(done.stdout) == {"schema_version": 1, "file": str(shop.folder / "table.json")}
    assert json.loads((shop.folder / "table.json").read_text("utf-8")) == found
    done = run("report", str(shop.manifest), "--statement")
    assert done.stdout.splitlines()[1].split() == ["Clips", "delivered", "2", "$0.50"]


async def test_several_manifests_and_their_queues(shop: Shop, tmp_path: Path) -> None:
    other = Shop(tmp_path / "other")
    other.folder.mkdir()
    await made(shop.add("a"))
    await made(other.add("b").add("c"))
    done = run("report", str(shop.manifest), str(other.manifest), "--json")
    found = json.loads(done.stdout)
    assert [job["id"] for job in found["jobs"]] == ["a", "b", "c"]
    assert [one["clips_delivered"] for one in found["statements"]] == [1, 2]
    done = run("report", str(shop.manifest), str(other.manifest), cwd=tmp_path)
    assert done.stdout == "report.html\n"
    assert {clip["video"] for clip in data_of(tmp_path / "report.html")["clips"]} == {
        "shop/videos/shop/a.mp4", "other/videos/shop/b.mp4", "other/videos/shop/c.mp4"
    }  # fmt: skip


async def test_folders_that_are_links_keep_their_names_in_the_page(shop: Shop, tmp_path: Path) -> None:
    """`videos` leads to a larger disk; beside it the folder of one batch does, and a page is asked for by way of a link."""
    big, small = tmp_path / "mnt" / "big" / "disk", tmp_path / "mnt" / "small"
    big.mkdir(parents=True)
    small.mkdir()
    (shop.folder / "videos").symlink_to(big)
    (big / "other").symlink_to(small)
    (tmp_path / "way").symlink_to(shop.folder)
    other = shop.add("a").folder / "other.yaml"
    other.write_text(shop.manifest.read_text().replace("It turns", "It glows"))
    async with emulated() as emulator:
        await run_process(shop, emulator, str(other))
    assert (small / "a.mp4").exists()
    for words, page, clips, picture in (
        (["shop.yaml"], "videos/shop/report.html", ["a.mp4"], "../../pics/a.png"),
        (["shop.yaml", "other.yaml"], "videos/report.html", ["other/a.mp4", "shop/a.mp4"], "../pics/a.png"),
        (["other.yaml", "-o", "videos/other"], "videos/other/report.html", ["a.mp4"], "../../pics/a.png"),
        (["shop.yaml", "-o", "../way/page.html"], "page.html", ["videos/shop/a.mp4"], "pics/a.png"),
        (["shop.yaml", "-o", str(tmp_path / "way" / "page.html")], "page.html", ["videos/shop/a.mp4"], "pics/a.png"),
    ):  # fmt: skip
        assert run("report", *words, cwd=shop.folder).stdout == f"{page}\n"
        found = data_of(shop.folder / page)["clips"]
        assert ([clip["video"] for clip in found], found[0]["picture"]) == (clips, picture)
    (shop.folder / "linked.html").symlink_to(shop.folder / "page.html")
    assert run("report", "shop.yaml", "-o", "linked.html", cwd=shop.folder).stdout == "page.html\n"
    assert (shop.folder / "linked.html").is_symlink()


def test_previews_have_their_own_page_and_the_run_names_it(shop: Shop) -> None:
    shop.limits = "{}"
    shop.add("a")
    done = run(str(shop.manifest), "--preview")
    command = done.stdout.splitlines()[-1].removeprefix("to look at them: ")
    assert command == f"batchrun report {shop.manifest} --preview"
    done = run(*command.split()[1:], cwd=shop.folder)
    assert (done.returncode, done.stdout) == (0, "videos-preview/shop/report.html\n")
    found = data_of(shop.folder / "videos-preview" / "shop" / "report.html")
    assert (found["preview"], found["clips"][0]["video"]) == (True, "a.preview.mp4")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_nothing_to_report_is_said(shop: Shop, more: list[str]) -> None:
    done = run("report", str(shop.add("a").manifest), *more)
    assert done.returncode == 2
    assert "there is no queue" in done.stderr
    assert (json.loads(done.stdout)["exit_code"] if more else done.stdout or 2) == 2
    assert not shop.queue_path.exists()


def test_one_form_at_a_time(shop: Shop) -> None:
    done = run("report", str(shop.add("a").manifest), "--csv", "--statement")
    assert (done.returncode, "not allowed with" in done.stderr) == (2, True)


async def test_a_reader_that_has_enough_is_no_error(shop: Shop) -> None:
    await made(shop.add("a"))
    process = subprocess.Popen(
        [sys.executable, "-m", "batchrun", "report", str(shop.manifest), "--csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as err:
        assert err.read() == b""
    assert process.wait() == 0


async def test_a_file_that_cannot_be_written_is_named(shop: Shop) -> None:
    await made(shop.add("a"))
    (shop.folder / "loop").symlink_to("loop")
    for form in ([], ["--csv"]):
        for name in ("/proc/nowhere/report.html", str(shop.folder / ("n" * 300)), str(shop.folder / "loop" / "page")):
            done = run("report", str(shop.manifest), *form, "-o", name)
            assert (done.returncode, "Traceback" in done.stderr) == (1, False)
            assert f"{name} cannot be written" in done.stderr
