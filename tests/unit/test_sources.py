"""Sources: what rows become, the filters, skipping, clashes, files that change while they are read."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchrun.errors import ManifestError
from batchrun.manifest import sources
from batchrun.manifest.jobs import Batch, JobSpec
from batchrun.manifest.read import READS, load_manifest
from tests.conftest import make_picture

URL = "https://shop.example/{}.jpg"
ENTRY = """\
  - from: p.csv
    id: "{sku}"
    image: "{image}"
    prompt: "{title} turns slowly"
"""


def write(folder: Path, entries: str, head: str = "", **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, "utf-8", newline="")
    path = folder / "shop.yaml"
    path.write_text(f"version: 1\n{head}jobs:\n{entries}", "utf-8")
    return path


def load(folder: Path, entries: str = ENTRY, head: str = "", **files: str) -> Batch:
    return load_manifest(write(folder, entries, head, **files))


def wrong(folder: Path, entries: str = ENTRY, head: str = "", **files: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(folder, entries, head, **files)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def keys(batch: Batch) -> list[str]:
    return [job.key for job in batch.jobs]


CSV = f"sku,title,image\nmug-1,Blue mug,{URL.format('mug')}\npot-2,Pot,{URL.format('pot')}\n"


def test_rows_become_jobs_in_their_order_among_the_others(tmp_path: Path) -> None:
    make_picture(tmp_path / "first.png")
    make_picture(tmp_path / "pics" / "b.png", 1)
    make_picture(tmp_path / "pics" / "a.png", 2)
    entries = (
        "  - {image: first.png, prompt: x}\n"
        + ENTRY
        + "  - {from: 'pics/*.png', prompt: 'The {stem} in {folder} as {name}'}\n"
        + "  - {id: last, image: first.png, prompt: y}\n"
    )
    batch = load(tmp_path, entries, p_csv=CSV)
    assert keys(batch) == ["first", "mug-1", "pot-2", "a", "b", "last"]
    assert [job.position for job in batch.jobs] == list(range(6))
    mug, a = batch.jobs[1], batch.jobs[3]
    assert (mug.prompt, mug.image_url, mug.picture) == ("Blue mug turns slowly", URL.format("mug"), None)
    assert (a.prompt, a.image_path) == ("The a in pics as a.png", tmp_path / "pics" / "a.png")
    assert a.output == tmp_path / "videos" / "shop" / "a.mp4"


def test_the_same_rows_give_the_same_requests_however_they_are_written(tmp_path: Path) -> None:
    wanted = [job.fingerprint for job in load(tmp_path, p_csv=CSV).jobs]
    rows = [
        {"sku": "mug-1", "title": "Blue mug", "image": URL.format("mug")},
        {"sku": "pot-2", "title": "Pot", "image": URL.format("pot")},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    ways = {
        "p.csv": [
            CSV.replace("\n", "\r\n"),
            "\ufeff" + CSV,
            CSV.replace("Blue mug", '" Blue mug "'),
            CSV.replace(",", ";"),
            CSV.replace(",", "\t"),
            CSV.replace(",", "|"),
            CSV.replace("\nmug", "\n\n,,\nmug"),
            CSV.rstrip("\n"),
            "sku, title, image" + CSV.removeprefix("sku,title,image"),
        ],
        "p.tsv": [CSV.replace(",", "\t")],
        "p.jsonl": [lines, "\ufeff" + lines.replace("}\n", "}\r\n\r\n")],
        "p.ndjson": [lines],
    }
    for name, texts in ways.items():
        for text in texts:
            (tmp_path / name).write_bytes(text.encode())
            batch = load(tmp_path, ENTRY.replace("p.csv", name))
            assert [job.fingerprint for job in batch.jobs] == wanted, (name, text)
            assert keys(batch) == ["mug-1", "pot-2"]


def test_a_row_overrides_the_defaults_where_it_says_something(tmp_path: Path) -> None:
    entries = ENTRY + (
        '    duration: "{s}"\n    guidance_scale: "{g}"\n    priority: "{p}"\n    negative_prompt: "{n}"\n'
        '    tags: ["{t}", "{{shop}}"]\n'
    )
    text = (
        "sku,title,image,s,g,p,n,t\n"
        f'a,A,{URL.format("a")},10,0.7,-3,"blur, hands","red, big"\n'
        f"b,B,{URL.format('b')},,,,,\n"
    )
    head = "defaults: {duration: 5, guidance_scale: 0.2, priority: 4, negative_prompt: text}\n"
    one, two = load(tmp_path, entries, head, p_csv=text).jobs
    assert told(one) == (10, 70, -3, "blur, hands", ("red", "big", "{shop}"))
    assert told(two) == (5, 20, 4, "text", ("{shop}",))


def told(job: JobSpec) -> tuple[object, ...]:
    return (job.duration_s, job.guidance_hundredths, job.priority, job.negative_prompt, job.tags)


def test_values_of_json_are_told_as_they_were_written(tmp_path: Path) -> None:
    line = {"sku": 123, "title": True, "image": URL.format("x"), "tags": ["a", 1], "none": None, "unused": {"x": [1]}}
    text = json.dumps(line).replace("123", "20.10") + "\n"
    entries = ENTRY.replace("p.csv", "p.jsonl") + '    tags: "{tags}"\n    duration: "{none}"\n'
    (job,) = load(tmp_path, entries, p_jsonl=text).jobs
    assert (job.key, job.prompt, job.tags, job.duration_s) == ("20.10", "true turns slowly", ("a", "1"), 5)


def test_a_key_that_only_later_objects_have_is_a_column(tmp_path: Path) -> None:
    rows = [{"sku": str(n), "title": "T", "image": URL.format(n)} | ({"s": 10} if n == 50 else {}) for n in range(60)]
    entries = ENTRY.replace("p.csv", "p.jsonl") + '    duration: "{s}"\n'
    batch = load(tmp_path, entries, p_jsonl="".join(json.dumps(row) + "\n" for row in rows))
    assert [job.key for job in batch.jobs if job.duration_s == 10] == ["50"]


def test_the_picture_names_the_job_when_the_row_does_not(tmp_path: Path) -> None:
    make_picture(tmp_path / "pics" / "Tasse.png")
    text = f"file\npics/Tasse.png\n{URL.format('pot')}\n"
    assert keys(load(tmp_path, '  - {from: p.csv, image: "{file}", prompt: x}\n', p_csv=text)) == ["Tasse", "pot"]


@pytest.mark.parametrize(("mark", "end"), [(";", "\n"), ("|", "\r\n"), ("\t", "\r\n")])
def test_the_line_by_which_excel_is_told_the_delimiter_is_believed(tmp_path: Path, mark: str, end: str) -> None:
    make_picture(tmp_path / "a.png")
    rows = [[f"sep={mark}"], ["sku", "title, text", "image"], ["a", "Mug", "a.png"], ["b", "", "a.png"]]
    (tmp_path / "p.csv").write_text("\ufeff" + "".join(f"{mark.join(row)}{end}" for row in rows), "utf-8", newline="")
    text = 'version: 1\njobs:\n  - {from: p.csv, id: "{sku}", image: "{image}", prompt: "{title, text}"}\n'
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "m.yaml")
    assert [(Path(one.file).name, one.line) for one in caught.value.problems] == [("p.csv", 4)]
    (tmp_path / "m.yaml").write_text(f"{text}on_invalid: skip\n")
    assert [job.key for job in load_manifest(tmp_path / "m.yaml").jobs] == ["a"]


def test_the_most_frequent_mark_is_named_where_the_header_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("SKU;Name;Preis, brutto;Bild\na;Mug;9;a.png\n")
    (tmp_path / "m.yaml").write_text('version: 1\njobs:\n  - {from: p.csv, id: "{SKU}", image: "{Bild}", prompt: x}\n')
    with pytest.raises(ManifestError, match='`delimiter: ";"`'):
        load_manifest(tmp_path / "m.yaml")


def test_a_description_with_a_picture_in_it_does_not_stop_the_table(tmp_path: Path) -> None:
    body = f'"<img src=""data:image/png;base64,{"A" * 900_000}"">"'
    make_picture(tmp_path / "a.png")
    (tmp_path / "p.csv").write_text(f"sku,image,Body (HTML)\na,a.png,{body}\nb,a.png,short\n")
    (tmp_path / "m.yaml").write_text(
        'version: 1\njobs:\n  - {from: p.csv, id: "{sku}", image: "{image}", prompt: It turns}\n'
    )
    assert [job.key for job in load_manifest(tmp_path / "m.yaml").jobs] == ["a", "b"]


def test_quoted_fields_hold_delimiters_line_ends_and_quotes(tmp_path: Path) -> None:
    text = f'sku,title,image\na,"A ""big""; round,\nred one",{URL.format("a")}\nb,B,{URL.format("b")}\n'
    first, _ = load(tmp_path, p_csv=text).jobs
    assert first.prompt == 'A "big"; round,\nred one turns slowly'


def test_include_and_exclude(tmp_path: Path) -> None:
    text = "sku,title,image,kind,live\n" + "".join(
        f"{key},T,{URL.format(key)},{kind},{live}\n"
        for key, kind, live in [("a", "mug", "TRUE"), ("b", "pot", "true"), ("c", "mug", ""), ("d", "lamp", "true")]
    )

    def taken(more: str) -> list[str]:
        return keys(load(tmp_path, ENTRY + more, p_csv=text))

    assert taken("    include: {live: true}\n") == ["a", "b", "d"]
    assert taken("    include: {live: true, kind: [mug, lamp]}\n") == ["a", "d"]
    assert taken("    exclude: {kind: [Pot, lamp]}\n") == ["a", "c"]
    assert taken("    include: {kind: mug}\n    exclude: {live: null}\n") == ["a"]
    assert wrong(tmp_path, ENTRY + "    include: {kind: sofa}\n", p_csv=text) == [
        "shop.yaml:3:3: jobs: gives no job: no row passes `include` and `exclude`"
    ]


def test_pictures_of_folders(tmp_path: Path) -> None:
    for at, name in enumerate(["a.png", "kitchen/b.png", "kitchen/deep/c.png", "kitchen/d.jpg", ".hidden/e.png"]):
        make_picture(tmp_path / "pics" / name, at)
    (tmp_path / "pics" / "kitchen" / "._b.png").write_bytes(b"what Macs leave behind")
    (tmp_path / "pics" / "round").symlink_to(tmp_path / "pics")

    def taken(pattern: str, more: str = "") -> list[str]:
        return keys(load(tmp_path, f"  - {{from: '{pattern}', prompt: '{{stem}}'{more}}}\n"))

    assert taken("pics/*.png") == ["a"]
    assert taken("pics/**/*.png") == ["a", "b", "c"]
    assert taken("./pics/**/**/[bd].*") == ["b", "d"]
    assert taken(f"{tmp_path}/pics/kitchen/?.png") == ["b"]
    assert taken("pics/**/*.png", ", include: {folder: [deep, kitchen]}") == ["b", "c"]
    assert taken("p*/kitchen/d.???") == ["d"]


# ---------------------------------------------------------------------- skipping, clashes


HALF_BAD = (
    "sku,title,image,s\n"
    f"a,A,{URL.format('a')},\n"
    f"b,,{URL.format('b')},7\n"
    f"c,C,{URL.format('c')},\n"
    "d,D\n"
    f"a/b,E,{URL.format('e')},x\n"
)
WITH_S = ENTRY + '    duration: "{s}"\n'


def test_one_bad_row_refuses_everything_unless_it_may_be_skipped(tmp_path: Path) -> None:
    assert wrong(tmp_path, WITH_S, p_csv=HALF_BAD) == [
        "p.csv:3 (b): duration: 7 s is not on offer; accepted: 5 or 10",
        "p.csv:3 (b): prompt: column 'title' is empty here",
        "p.csv:5: has 2 fields, but the header names 4 columns",
        "p.csv:6 (a/b): duration: 'x' is not a whole number",
        "p.csv:6 (a/b): id: 'a/b' holds '/', which is not allowed in a file name; use letters, digits, - _ .",
    ]
    batch = load(tmp_path, WITH_S, "on_invalid: skip\n", p_csv=HALF_BAD)
    assert keys(batch) == ["a", "c"]
    assert [job.position for job in batch.jobs] == [0, 1]
    assert (batch.skipped.count, [problem.line for problem in batch.skipped.problems]) == (3, [3, 3, 5, 6, 6])


def test_what_is_wrong_outside_of_rows_is_never_skipped(tmp_path: Path) -> None:
    head = "on_invalid: skip\n"
    assert len(wrong(tmp_path, ENTRY + "  - {image: nope.png, prompt: x}\n", head, p_csv=CSV)) == 1
    assert len(wrong(tmp_path, ENTRY, head, p_csv=CSV + '"open')) == 1
    assert len(wrong(tmp_path, ENTRY.replace("{title}", "{titel}"), head, p_csv=CSV)) == 1


def test_nothing_but_bad_rows_is_refused(tmp_path: Path) -> None:
    found = wrong(tmp_path, ENTRY, "on_invalid: skip\n", p_csv=f"sku,title,image\na,,{URL}\n")
    assert found == [
        "p.csv:2 (a): prompt: column 'title' is empty here",
        "shop.yaml:4:3: jobs: gives no job: every row is wrong",
    ]


def test_a_clash_names_both_rows(tmp_path: Path) -> None:
    make_picture(tmp_path / "pot-2.png")
    make_picture(tmp_path / "pics" / "x" / "lamp.png", 1)
    make_picture(tmp_path / "pics" / "y" / "Lamp.png", 2)
    entries = ENTRY + ENTRY.replace("p.csv", "q.csv") + "  - {image: pot-2.png, prompt: x}\n"
    entries += "  - {from: 'pics/**/*.png', prompt: '{stem}'}\n"
    other = f"sku,title,image\nMUG-1,M,{URL.format('m')}\n"
    assert wrong(tmp_path, entries, p_csv=CSV, q_csv=other) == [
        (
            "pics/y/Lamp.png (Lamp): id 'Lamp' differs only in case from 'lamp', see pics/x/lamp.png; "
            "give each job its own `id:`"
        ),
        "q.csv:2 (MUG-1): id 'MUG-1' differs only in case from 'mug-1', see p.csv:2; give each job its own `id:`",
        "shop.yaml:11:5: jobs[2]: id 'pot-2' is taken, see p.csv:3; give each job its own `id:`",
    ]


@pytest.mark.parametrize("order", [lambda rows: rows, lambda rows: rows[::-1]])
def test_of_clashing_rows_none_is_bought_whatever_their_order(
    tmp_path: Path, order: Callable[[list[str]], list[str]]
) -> None:
    rows = [
        f"a,A,{URL.format('a')}\n",
        f"A,B,{URL.format('b')}\n",
        f"a,C,{URL.format('c')}\n",
        f"z,Z,{URL.format('z')}\n",
    ]
    batch = load(tmp_path, ENTRY, "on_invalid: skip\n", p_csv="sku,title,image\n" + "".join(order(rows)))
    assert (keys(batch), batch.skipped.count, [job.position for job in batch.jobs]) == (["z"], 3, [0])


@pytest.mark.parametrize("inline_first", [True, False])
def test_a_row_gives_way_to_a_job_that_is_written_out(tmp_path: Path, *, inline_first: bool) -> None:
    make_picture(tmp_path / "mug-1.png")
    inline = "  - {image: mug-1.png, prompt: by hand}\n"
    entries = inline + ENTRY if inline_first else ENTRY + inline
    batch = load(tmp_path, entries, "on_invalid: skip\n", p_csv=CSV)
    assert sorted(job.prompt for job in batch.jobs) == ["Pot turns slowly", "by hand"]
    assert batch.skipped.count == 1


def test_at_most_200_problems_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    text = "sku,title,image\n" + "".join(f"k{n},,{URL.format(n)}\n" for n in range(250)) + f"z,Z,{URL.format('z')}\n"
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, p_csv=text)
    assert (len(caught.value.problems), caught.value.unlisted_count) == (200, 50)
    batch = load(tmp_path, ENTRY, "on_invalid: skip\n", p_csv=text)
    assert (len(batch.skipped.problems), batch.skipped.count, keys(batch)) == (200, 250, ["z"])


def test_warnings_are_bounded(tmp_path: Path) -> None:
    rows = "".join(f"k{n},{'ä' * 2000},{URL.format(n)}\n" for n in range(210))
    warnings = load(tmp_path, p_csv="sku,title,image\n" + rows).warnings
    assert warnings[0].startswith(f"{tmp_path}/p.csv:2: prompt: 4,013 bytes")
    assert (len(warnings), warnings[-1]) == (201, "… and 10 more warnings")


def test_a_file_beside_a_relative_manifest_is_shown_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    write(tmp_path / "jobs", ENTRY.replace("p.csv", "../p.csv"))
    (tmp_path / "p.csv").write_text(f"sku,title,image\na,,{URL}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=r"^p\.csv:2 \(a\): prompt: column"):
        load_manifest(Path("jobs/shop.yaml"))


# ---------------------------------------------------------------------- files that change


class Meanwhile:
    """Somebody who writes a file whenever the first row of it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write: Callable[[int], None]) -> None:
        self.times = 0
        original = sources.CsvTable.rows

        def rows(table: sources.CsvTable) -> object:
            self.times += 1
            write(self.times)
            return original(table)

        monkeypatch.setattr(sources.CsvTable, "rows", rows)


def test_a_source_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace_it(times: int) -> None:
        if times == 1:
            (tmp_path / "new").write_text(CSV + f"new,New,{URL.format('new')}\n")
            (tmp_path / "new").rename(tmp_path / "p.csv")

    meanwhile = Meanwhile(monkeypatch, replace_it)
    assert keys(load(tmp_path, p_csv=CSV)) == ["mug-1", "pot-2", "new"]
    assert meanwhile.times == 2


def test_a_half_written_source_is_read_again_before_it_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile = Meanwhile(
        monkeypatch, lambda times: (tmp_path / "p.csv").write_text(CSV) and None if times == 1 else None
    )
    assert keys(load(tmp_path, p_csv="sku,title,image\nmug-1,Blu")) == ["mug-1", "pot-2"]
    assert meanwhile.times == 2


def test_a_source_that_never_stands_still_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile = Meanwhile(monkeypatch, lambda times: os.utime(tmp_path / "p.csv", ns=(times, times)))
    assert wrong(tmp_path, p_csv=CSV) == ["p.csv: changes while it is read; run again when it is written"]
    assert meanwhile.times == READS


def test_a_manifest_that_changes_while_its_sources_are_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(times: int) -> None:
        if times == 1:
            write(tmp_path, ENTRY.replace("turns", "spins"))

    Meanwhile(monkeypatch, edit)
    assert load(tmp_path, p_csv=CSV).jobs[0].prompt == "Blue mug spins slowly"
