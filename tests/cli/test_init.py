"""`init` and `schema`: what they write is a manifest, and says of every manifest what a run would."""

import csv
import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
import yaml

from batchrun.cli.main import main
from batchrun.errors import ExitCode
from batchrun.manifest.read import load_manifest
from batchrun.manifest.schema import manifest_schema
from tests.conftest import make_picture

Capture = pytest.CaptureFixture[str]
HERE = Path(__file__).resolve().parents[2]


def test_a_folder_becomes_a_manifest_that_validates(tmp_path: Path, capsys: Capture) -> None:
    for name in ("mug.png", "lamp.png"):
        make_picture(tmp_path / "shop pictures" / name)
    assert main(["init", str(tmp_path / "shop pictures")]) == 0
    target = tmp_path / "shop pictures.yaml"
    assert f"{target.name}\nnext: batchrun plan" in capsys.readouterr().out
    batch = load_manifest(target)
    assert [job.key for job in batch.jobs] == ["lamp", "mug"]
    assert batch.jobs[0].prompt == "slow push in on the lamp, soft studio light"
    assert batch.caps.budget_usd_micros == 500_000


def test_json_of_init_is_one_object(tmp_path: Path, capsys: Capture) -> None:
    for name in ("mug.png", "a b?.png"):
        make_picture(tmp_path / "shop" / name)
    assert main(["init", str(tmp_path / "shop"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema_version"], found["file"]) == (1, str(tmp_path / "shop.yaml"))
    assert [one.partition(":")[0] for one in found["left_out"]] == ["a b?.png"]
    assert main(["init", str(tmp_path / "shop"), "--json"]) == ExitCode.USAGE
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("sku,title,image_url", "m1,Mug,a.png\nl1,Lamp,a.png\n"),
        ("Handle;Title;Image Src", "m1;Mug;a.png\nl1;Lamp;a.png\n"),
        ("\ufeffid\tname\tpicture", "m1\tMug\ta.png\nl1\tLamp\ta.png\n"),
        ("sku|topic|title|pic", "m1|x|Mug|a.png\nl1|x|Lamp|a.png\n"),
        ("sep=;\nsku;title, long, or short, or both, or none;image", "m1;Mug;a.png\nl1;Lamp;a.png\n"),
        ("sku;title;size, cm;image", "m1;Mug;9;a.png\nl1;Lamp;8;a.png\n"),
        ("sku\ttitle, long, or short, or both\timage", "m1\tMug\ta.png\nl1\tLamp\ta.png\n"),
    ],
)
def test_a_table_becomes_a_manifest_that_validates(tmp_path: Path, head: str, rows: str) -> None:
    make_picture(tmp_path / "a.png")
    table = tmp_path / ("export.tsv" if "\t" in head else "export.csv")
    table.write_text(f"{head}\n{rows}", "utf-8")
    assert main(["init", str(table)]) == 0
    batch = load_manifest(tmp_path / "export.yaml")
    prompts = [f"slow push in on the {title}, soft studio light" for title in ("Mug", "Lamp")]
    assert [(job.key, job.prompt) for job in batch.jobs] == list(zip(["m1", "l1"], prompts, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "plain.csv",
        "Sommer #2.csv",
        "[sale].csv",
        "& Co.csv",
        "a: b.csv",
        "'quoted' \"twice\".csv",
        "- dash, comma.csv",
        "100 % {new}.csv",
        "🎈\x85\u2028\x7f.csv",
        "true.csv",
        "~.csv",
    ],
)
@pytest.mark.parametrize(
    "head",
    [
        ["id", "image", "Price\n(EUR)", "a\x07b\u2028c"],
        ['the "id"', 'image "big"', "title"],
        ["id #1", "image: front", "title {short}"],
        ["{sku}", "id", "image\r\nfront", "long \\ title"],
    ],
)
def test_whatever_the_names_are_the_manifest_can_be_read(tmp_path: Path, name: str, head: list[str]) -> None:
    make_picture(tmp_path / "a.png")
    with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, ["a.png" if "image" in one else "m1" for one in head]])
    assert main(["init", str(tmp_path / name)]) == 0
    target = (tmp_path / name).with_suffix(".yaml")
    (job,) = load_manifest(target).jobs
    assert (job.key, job.image_path) == ("m1", tmp_path / "a.png")
    text = target.read_text("utf-8")
    uncommented = re.sub(r"(?m)^    # include:", "    include:", text)
    assert yaml.safe_load(uncommented)["jobs"][0]["include"]
    assert ("from: plain.csv\n" in text) == (name == "plain.csv")


@pytest.mark.parametrize("mode", [0o311, 0o644], ids=["not listed", "not entered"])
def test_a_folder_that_may_not_be_listed_is_said(mode: int, capsys: Capture) -> None:
    user = os.geteuid()
    with TemporaryDirectory() as above:  # pytest's own lets nobody but its owner in
        folder = Path(above) / "pics"
        make_picture(folder / "a.png")
        Path(above).chmod(0o755)
        folder.chmod(mode)
        try:
            if user == 0:  # who may do everything
                os.seteuid(65534)
            assert main(["init", str(folder)]) == ExitCode.USAGE
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
    assert "pics cannot be listed: Permission denied; allow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "key"),
    [
        ("Artikel-Nr,Video,Width,Barcode,image", "Artikel-Nr"),
        ("Kleid,Product-ID,image", "Product-ID"),
        ("Kleid,productId,image", "productId"),
        ("Kleid,ID2,image", "ID2"),
        ("Kleid,Video,image,Variant SKU", "Variant SKU"),
        ("Kleid,item_code,image", "item_code"),
    ],
)
def test_the_column_of_the_id_is_known_by_whole_words(tmp_path: Path, head: str, key: str) -> None:
    make_picture(tmp_path / "a.png")
    row = ",".join("a.png" if name == "image" else f"of {name}" for name in head.split(","))
    (tmp_path / "shop.csv").write_text(f"{head}\n{row}\n")
    assert main(["init", str(tmp_path / "shop.csv")]) == 0
    assert [job.key for job in load_manifest(tmp_path / "shop.yaml").jobs] == [f"of {key}"]


def test_names_that_a_manifest_cannot_say_are_refused(tmp_path: Path, capsys: Capture) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/n\xff")
    make_picture(Path(folder) / "a.png")
    (tmp_path / "what?.csv").write_text("id,image\nm1,a.png\n")
    for source, said in (
        (folder, "is not UTF-8, and no manifest can say it; rename"),
        (str(tmp_path / "what?.csv"), "rename the file"),
    ):
        assert main(["init", source, "-o", str(tmp_path / "x.yaml")]) == ExitCode.USAGE
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


def test_a_table_that_says_prompts_and_lengths_is_believed(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    (tmp_path / "shop.csv").write_text(
        "sku,Prompt,promotion,seconds,photo\nm1,It rocks,no,10,a.png\nl1,It glows,no,5,a.png\n"
    )
    (tmp_path / "odd.csv").write_text("sku,title,promotion,seconds,photo\nm1,Mug,no,soon,a.png\n")
    for name in ("shop", "odd"):
        assert main(["init", str(tmp_path / f"{name}.csv")]) == 0
    jobs = load_manifest(tmp_path / "shop.yaml").jobs
    assert [(job.prompt, job.duration_s) for job in jobs] == [("It rocks", 10), ("It glows", 5)]
    (job,) = load_manifest(tmp_path / "odd.yaml").jobs
    assert (job.prompt, job.duration_s) == ("slow push in on the Mug, soft studio light", 5)


def test_pictures_that_cannot_be_used_as_they_are_named_are_said_and_left_out(tmp_path: Path, capsys: Capture) -> None:
    names = ("a&b <c>.png", 'it\'s "quoted".png', "mug.png", "Lamp.png", "lamp.jpg", ".hidden.png")
    for name in names:
        make_picture(tmp_path / "pics [new]" / name)
    (tmp_path / "pics [new]" / "folder.png").mkdir()
    assert main(["init", str(tmp_path / "pics [new]")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(str(tmp_path / "pics [new].yaml"))
    for text in ("a&b <c>.png: 'a&b <c>' holds '<'", 'it\'s "quoted".png: ', "Lamp.png and lamp.jpg would have one id"):
        assert text in said.err
    assert "mug" not in said.err
    assert "hidden" not in said.err
    text = (tmp_path / "pics [new].yaml").read_text("utf-8")
    assert "on_invalid: skip   # " in text
    batch = load_manifest(tmp_path / "pics [new].yaml")
    assert ([job.key for job in batch.jobs], batch.skipped.count) == (["mug"], 4)
    assert batch.caps.budget_usd_micros == 250_000


def test_pictures_of_other_types_are_counted(tmp_path: Path, capsys: Capture) -> None:
    make_picture(tmp_path / "pics" / "mug.png")
    for name in ("a.webp", "b.HEIC", "c.webp", ".hidden.webp", "notes.txt"):
        for folder in ("pics", "phone"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).touch()
    words = "3 pictures of a type that the provider does not take (.heic, .webp); convert to .jpg or .png to use them\n"
    assert main(["init", str(tmp_path / "pics")]) == 0
    assert capsys.readouterr().err == f"  left out: {words}"
    assert [job.key for job in load_manifest(tmp_path / "pics.yaml").jobs] == ["mug"]
    assert main(["init", str(tmp_path / "phone")]) == ExitCode.USAGE
    assert f"holds no .jpg, .jpeg, .png files, but {words.strip()}" in capsys.readouterr().err


def test_well_named_pictures_need_no_rule(tmp_path: Path, capsys: Capture) -> None:
    make_picture(tmp_path / "pics" / "mug.png")
    assert main(["init", str(tmp_path / "pics")]) == 0
    assert "on_invalid" not in (tmp_path / "pics.yaml").read_text("utf-8")
    assert capsys.readouterr().err == ""


def test_nothing_is_overwritten_and_what_cannot_be_read_is_said(tmp_path: Path, capsys: Capture) -> None:
    make_picture(tmp_path / "pics" / "a.png")
    target = tmp_path / "pics.yaml"
    target.write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.csv").write_text("sku,title\nm1,Mug\n")
    (tmp_path / "one.csv").write_text("image\na.png\n")
    (tmp_path / "head.csv").write_text("sku,image\n\n,\n")
    (tmp_path / "latin.csv").write_bytes(b"sku,image\nm\xfc,a.png\n")
    for words, said in (
        (["pics"], "exists and is left as it is"),
        (["gone"], "there is no"),
        (["empty"], "holds no .jpg"),
        (["no.csv"], "has no column that looks like a picture's"),
        (["one.csv"], "needs a first line"),
        (["head.csv"], "has no rows below its header"),
        (["latin.csv"], "cannot be read as UTF-8"),
        (["pics.yaml"], "neither a folder nor a .csv"),
        (["pics", "-o", str(tmp_path / "no" / "x.yaml")], "cannot be written"),
    ):
        assert main(["init", str(tmp_path / words[0]), *words[1:]]) == ExitCode.USAGE
        assert said in capsys.readouterr().err
    assert target.read_text() == "mine"


def test_the_schema_takes_what_a_run_takes(capsys: Capture) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in sorted((HERE / "jobs").glob("*.yaml")):
        assert list(validator.iter_errors(yaml.safe_load(path.read_text("utf-8")))) == []
    readme = (HERE / "README.md").read_text("utf-8")
    example = readme.split("```yaml\n")[1].split("```")[0]
    assert list(validator.iter_errors(yaml.safe_load(example))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs": []},
        {"version": 2, "jobs": [{"image": "a", "prompt": "b"}]},
        {"version": 1, "jobs": [{"image": "a", "promt": "b"}]},
        {"version": 1, "jobs": [{"image": "a", "prompt": "b"}], "limits": {"budget": "some"}},
        {"version": 1, "jobs": [{"image": "a", "prompt": "b"}], "limits": {"tier": "platinum"}},
        {"version": 1, "jobs": [{"image": "a", "prompt": "b"}], "model": "kling"},
        {"version": 1, "jobs": [{"from": "a.csv", "prompt": 3}]},
    ],
)
def test_the_schema_refuses_what_a_run_refuses(wrong: object) -> None:
    assert list(jsonschema.Draft202012Validator(manifest_schema()).iter_errors(wrong))
