"""A spool is a list whose records lie in a file: same content, little memory, and words when the disk is full."""

import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.errors import StorageError
from batchrun.manifest.jobs import Batch, JobSpec
from batchrun.manifest.read import load_manifest
from batchrun.manifest.spool import CHUNK, Spool, chunks


@given(st.integers(0, 3 * CHUNK + 1), st.integers(-4 * CHUNK, 4 * CHUNK), st.integers(-4 * CHUNK, 4 * CHUNK))
def test_it_reads_like_a_list(count: int, at: int, end: int) -> None:
    values = [f"value {number}" for number in range(count)]
    spool = Spool(values)
    assert (len(spool), list(spool), spool[at : at + 3]) == (count, values, values[at : at + 3])
    assert list(spool) == values  # and again
    assert [one for chunk in chunks(spool) for one in chunk] == values
    if -count <= end < count:
        assert spool[end] == values[end]
    else:
        with pytest.raises(IndexError):
            spool[end]


def test_two_can_read_while_one_adds() -> None:
    spool = Spool(range(CHUNK))
    one, other = iter(spool), iter(spool)
    assert [next(one) for _ in range(10)] == list(range(10))
    spool.extend(range(CHUNK, 2 * CHUNK))
    assert next(one) == 10
    assert list(other) == list(spool) == list(range(2 * CHUNK))


def test_a_full_disk_is_said() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    spool: Spool[int] = Spool()
    words = r"temporary files in .* No space left on device; make room, or set TMPDIR"
    with Path("/dev/full").open("r+b", buffering=0) as spool._file, pytest.raises(StorageError, match=words):
        spool.extend(range(CHUNK))  # a real disk without room


def write(folder: Path, rows: int) -> Path:
    lines = [f"sku-{at:07},Product {at} of the shop,https://shop.example/{at}.jpg" for at in range(rows)]
    (folder / "p.csv").write_text("sku,title,url\n" + "\n".join(lines) + "\n")
    manifest = folder / "shop.yaml"
    manifest.write_text('version: 1\njobs: [{from: p.csv, id: "{sku}", image: "{url}", prompt: "{title}"}]\n')
    return manifest


def peak_bytes(folder: Path, rows: int) -> int:
    manifest = write(folder, rows)
    tracemalloc.start()
    try:
        assert len(load_manifest(manifest).jobs) == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_reading_of_three_times_the_rows_takes_hardly_more_memory(tmp_path: Path) -> None:
    peak_bytes(tmp_path, 1000)  # what is loaded once
    small, large = peak_bytes(tmp_path, 10 * CHUNK), peak_bytes(tmp_path, 30 * CHUNK)
    assert large - small < 20 * CHUNK * 150  # bytes a row: its line, its name's hash, its packed record below 4 MiB


def read(folder: Path, ids: Sequence[str], head: str = "") -> Batch:
    lines = [f"{key},P {at},https://shop.example/{at}.jpg" for at, key in enumerate(ids)]
    (folder / "p.csv").write_text("sku,title,url\n" + "\n".join(lines) + "\n")
    manifest = folder / "shop.yaml"
    manifest.write_text(
        f'version: 1\n{head}\njobs: [{{from: p.csv, id: "{{sku}}", image: "{{url}}", prompt: "{{title}}"}}]\n'
    )
    return load_manifest(manifest)


@given(st.lists(st.sampled_from(["a", "A", "b", "ß", "ss", "é", "e\u0301", "c", "d"]), min_size=1, max_size=12))
def test_what_stays_of_clashing_rows_is_what_a_list_would_keep(ids: list[str]) -> None:
    from batchrun.manifest.names import fold  # noqa: PLC0415  # only this test needs it

    wanted = [at for at, key in enumerate(ids) if [fold(one) for one in ids].count(fold(key)) == 1]
    with tempfile.TemporaryDirectory() as name:
        if not wanted:
            return
        batch = read(Path(name), ids, "on_invalid: skip")
    assert [job.prompt for job in batch.jobs] == [f"P {at}" for at in wanted]
    assert [job.position for job in batch.jobs] == list(range(len(wanted)))
    assert batch.skipped.count == len(ids) - len(wanted)


def test_a_clash_over_chunks_names_both_rows(tmp_path: Path) -> None:
    ids = [f"sku-{at}" for at in range(3 * CHUNK)] + ["SKU-5"]
    batch = read(tmp_path, ids, "on_invalid: skip")
    assert len(batch.jobs) == 3 * CHUNK - 1
    assert [f"{one.line} {one.message}" for one in batch.skipped.problems] == [
        f"7 id 'sku-5' differs only in case from 'SKU-5', see {tmp_path}/p.csv:{3 * CHUNK + 2}; give each job its own `id:`",
        f"{3 * CHUNK + 2} id 'SKU-5' differs only in case from 'sku-5', see {tmp_path}/p.csv:7; give each job its own `id:`",
    ]
    spec: JobSpec = batch.jobs[5]
    assert (spec.key, spec.position) == ("sku-6", 5)
