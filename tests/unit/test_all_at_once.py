"""One problem does not hide another: everything that is wrong with a manifest is said in one go, each thing once."""

from pathlib import Path

import pytest

from batchrun.errors import ManifestError
from batchrun.manifest.read import load_manifest
from tests.conftest import make_picture

GOOD = "jobs: [{image: p.png, prompt: It turns}]\n"
TABLE = '  - {from: p.csv, id: "{sku}", image: "{file}", prompt: "{title} turns"'
CSV = "sku,title,file,seconds\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_picture(tmp_path / "p.png")
    make_picture(tmp_path / "small.png", size=(299, 400))
    return tmp_path


def said(folder: Path, text: str) -> list[str]:
    """Every problem, without the folder and what follows its first words."""
    (folder / "shop.yaml").write_text(text, "utf-8")
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder / "shop.yaml")
    return [str(one).replace(f"{folder}/", "") for one in caught.value.problems]


def check(found: list[str], wanted: list[str]) -> None:
    assert len(found) == len(wanted), found
    for problem, part in zip(found, wanted, strict=True):
        assert part in problem, found


JOBS: list[tuple[str, list[str]]] = [
    (
        "  - {id: a, image: small.png, promt: x}\n",
        [
            "3:5: jobs[0].prompt: is missing",
            "3:20: jobs[0].image: small.png is 299",
            "3:31: jobs[0].promt: unknown key",
        ],
    ),
    (
        "  - {id: a, image: p.png, prompt: x}\n  - {id: a, image: no.png, prompt: '', tags: {a: b}, duration: 6}\n",
        [
            "4:5: jobs[1]: id 'a' is taken, see line 3",
            "4:20: jobs[1].image: there is no file",
            "4:36: jobs[1].prompt: must not be empty",
            "jobs[1].tags: a mapping is not a list",
            "jobs[1].duration: 6 s is not on offer",
        ],
    ),
    (
        "  - {id: a, prompt: x, negative_prompt: \"a\\0b\"}\n  - {id: A, image: 'ftp://x/a.png', prompt: x}\n",
        [
            "3:5: jobs[0].image: is missing",
            "jobs[0].negative_prompt: holds a NUL",
            "4:5: jobs[1]: id 'A' differs only in case from 'a'",
            "jobs[1].image: ftp: is not accepted",
        ],
    ),
    (
        "  - {id: a/b, image: p.png, prompt: ' '}\n  - {image: p.png, prompt: x}\n",  # p is not taken by the first
        ["jobs[0].id: 'a/b' holds '/'", "jobs[0].prompt: must not be empty"],
    ),
    (
        "  - {from: nope.csv, prompt: x, duration: 7}\n",
        ["3:5: jobs[0].image: is missing", "3:12: jobs[0].from: nope.csv does not exist", "jobs[0].duration: 7 s"],
    ),
    ("  - {from: nope.csv, image: x}\n", ["jobs[0].prompt: is missing", "jobs[0].from: nope.csv does not exist"]),
    ("  - {from: ['a'], image: '{', prompt: x}\n", ["jobs[0].from: a list is not", "jobs[0].image: '{' in"]),
]


@pytest.mark.parametrize(("jobs", "wanted"), JOBS)
def test_of_an_entry(folder: Path, jobs: str, wanted: list[str]) -> None:
    check(said(folder, f"version: 1\njobs:\n{jobs}"), wanted)


ROWS: list[tuple[str, str, list[str]]] = [
    (
        ', duration: "{seconds}"}\n',
        ",b,p.png,6\n",
        ["p.csv:2: duration: 6 s is not on offer", "p.csv:2: id: column 'sku' is empty here"],
    ),
    (
        ', duration: "{seconds}"}\n',
        "a,,no.png,x\na,t,p.png,5\n",
        [
            "p.csv:2 (a): duration: 'x' is not a whole number",
            "p.csv:2 (a): image: there is no file",
            "p.csv:2 (a): prompt: column 'title' is empty here",
            "p.csv:3 (a): id 'a' is taken, see p.csv:2",
        ],
    ),
    ("}\n", "a/b,,p.png,5\n", ["p.csv:2 (a/b): id: 'a/b' holds '/'", "p.csv:2 (a/b): prompt: column 'title' is empty"]),
    (
        ', duration: "{second}", tags: "{tag}"}\n',  # what is wrong with the entry is not said of its rows
        "a,t,small.png,5\nb,t,p.png,5\n",
        ["p.csv:2 (a): image: small.png", "jobs[0].duration: p.csv has no column", "jobs[0].tags[0]: p.csv has no"],
    ),
    (", include: {skuu: a}}\n", "a,t,no.png,5\n", ["jobs[0].include.skuu: p.csv has no column"]),
    (", include: {sku: [[a]]}, prio: 1}\n", "a,t,no.png,5\n", ["include.sku[0]: a list", "prio: unknown key"]),
    (", delimiter: ':'}\n", "a,t,no.png,5\n", ["jobs[0].delimiter: ':' is not accepted"]),
    (", guidance_scale: 3}\n", "a,t,no.png,5\n", ["p.csv:2 (a): image: there is no file", "guidance_scale: 3 is out"]),
]


@pytest.mark.parametrize(("rest", "rows", "wanted"), ROWS)
def test_of_rows(folder: Path, rest: str, rows: str, wanted: list[str]) -> None:
    (folder / "p.csv").write_text(CSV + rows)
    check(said(folder, f"version: 1\njobs:\n{TABLE}{rest}"), wanted)


def test_a_row_that_is_left_out_takes_no_id(folder: Path) -> None:
    (folder / "p.csv").write_text(f"{CSV}a,t,no.png,5\na,t,p.png,5\n")
    (folder / "shop.yaml").write_text(f"version: 1\non_invalid: skip\njobs:\n{TABLE}}}\n", "utf-8")
    batch = load_manifest(folder / "shop.yaml")
    assert ([job.key for job in batch.jobs], batch.skipped.count) == (["a"], 1)


def test_pictures_of_a_pattern_clash_also_when_one_cannot_be_used(folder: Path) -> None:
    make_picture(folder / "SMALL.png")
    check(
        said(folder, "version: 1\njobs: [{from: '[sS]*.png', prompt: x}]\n"),
        [
            "small.png (small): id 'small' differs only in case from 'SMALL', see SMALL.png",
            "small.png: image: small.png is 299",
        ],
    )


HEADS: list[tuple[str, list[str]]] = [
    (
        "defaults: {duration: 7, guidance_scale: 1.005, tags: {x: y}, prio: 3}\n",
        [
            "defaults.duration: 7 s is not on offer",
            "defaults.guidance_scale: 1.005 is out of range",
            "defaults.tags: a mapping is not a list",
            "defaults.prio: unknown key 'prio'",
        ],
    ),
    (
        "limits: {budget: x, poll: 1, max_price: {7: 1, 5: cheap, five: 2}, tier: z}\n",
        [
            "limits.budget: 'x' is not an amount",
            "limits.poll: 1 s is below",
            "limits.max_price.7: 7 s is not on offer",
            "limits.max_price.5: 'cheap' is not an amount",
            "limits.max_price.five",
            "limits.tier: unknown tier",
        ],
    ),
    (
        "campaign: {budget: x}\noutput: x\n",
        ["campaign.name", "campaign.budget", "3:9: output: 'x' do", "3:9: output: 'x' wo"],
    ),
    (
        "name: a\nname: b\ndefaults: {duration: 7}\nlimits: {poll: !!int 1}\n",
        ["3:1: key 'name' stands here a second time", "defaults.duration", "tag:yaml.org,2002:int", "limits.poll"],
    ),
]


@pytest.mark.parametrize(("head", "wanted"), HEADS)
def test_of_the_head(folder: Path, head: str, wanted: list[str]) -> None:
    check(sorted_by_place(said(folder, f"version: 1\n{head}{GOOD}")), wanted)


def sorted_by_place(found: list[str]) -> list[str]:
    places = [tuple(map(int, one.split(":")[1:3])) for one in found]
    assert places == sorted(places)
    return found


def test_a_file_that_is_no_yaml_further_down(folder: Path) -> None:
    check(said(folder, "name: a\nname: b\njobs: [\n"), ["2:1: key 'name' stands here", "is not YAML here"])
