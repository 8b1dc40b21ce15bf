"""Bad manifests and sources, one kind after another: refused, with the right line, and nothing but ManifestError."""

import codecs
import csv
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchrun.errors import ManifestError
from batchrun.manifest.read import load_manifest
from batchrun.manifest.templates import TemplateError, parse_template
from tests.conftest import make_picture

ROW = "a,Mug,https://x.example/a.jpg,5,0.5,1,red\n"
HEAD = "sku,title,image,seconds,guide,prio,tag\n"
TABLE = HEAD + ROW
ENTRY = {"from": "p.csv", "id": "{sku}", "image": "{image}", "prompt": "{title} turns"}
JSON_ROW = {"sku": "a", "title": "Mug", "image": "https://x.example/a.jpg"}


def entry(**changes: object) -> str:
    """The usual entry with some keys changed, or taken out by None; line 3 of the manifest, one key a line from there."""
    keys = ENTRY | {"from" if name == "source" else name: value for name, value in changes.items()}
    lines = [f"{key}: {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "  - " + "\n    ".join(lines) + "\n"


def found(folder: Path, text: str) -> list[str]:
    (folder / "shop.yaml").write_text(text, "utf-8")
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder / "shop.yaml")
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


# What is wrong with the entry: it is said in the manifest, at its line.
ENTRIES: list[tuple[dict[str, object], str]] = [
    ({"source": "nope.csv"}, "shop.yaml:3:11: jobs[0].from: nope.csv does not exist"),
    (
        {"source": "folder"},
        "3:11: jobs[0].from: 'folder' is neither a table (.csv, .tsv, .jsonl, .ndjson) nor a pattern",
    ),
    ({"source": "mug.png"}, "3:11: jobs[0].from: 'mug.png' is neither a table"),
    ({"source": "folder.csv"}, "3:11: jobs[0].from: folder.csv is a folder; write a file, or a pattern"),
    ({"source": "pipe.csv"}, "3:11: jobs[0].from: pipe.csv is not a regular file"),
    ({"source": "p.xlsx"}, "3:11: jobs[0].from: 'p.xlsx' is neither a table"),
    ({"source": "*.csv"}, "3:11: jobs[0].from: '*.csv': a pattern stands for pictures; write an entry for each table"),
    ({"source": "p\0.csv"}, "3:11: jobs[0].from: cannot be a path"),
    ({"source": ""}, "3:11: jobs[0].from: must not be empty"),
    ({"source": 5}, "3:11: jobs[0].from: '5' is neither a table"),
    ({"source": ["p.csv"]}, "3:11: jobs[0].from: a list is not text"),
    ({"source": "x" * 5000 + ".csv"}, "cannot be read: File name too long"),
    ({"source": "p.csv/x.csv"}, "3:11: jobs[0].from: p.csv/x.csv cannot be read: Not a directory"),
    ({"source": "empty.csv"}, "empty.csv:1: is empty; the first line names the columns"),
    ({"source": "header.csv"}, "3:11: jobs[0].from: header.csv has no rows"),
    ({"source": "empty.jsonl"}, "4:9: jobs[0].id: empty.jsonl has no column 'sku'; columns: none"),
    ({"image": None}, "3:5: jobs[0].image: is missing; say which column holds the picture"),
    ({"prompt": None}, "3:5: jobs[0].prompt: is missing"),
    ({"prompt": ""}, "6:13: jobs[0].prompt: must not be empty"),
    ({"prompt": "   "}, "6:13: jobs[0].prompt: must not be empty"),
    ({"image": ""}, "5:12: jobs[0].image: must not be empty"),
    ({"id": ""}, "4:9: jobs[0].id: must not be empty"),
    ({"id": "all"}, "4:9: jobs[0].id: 'all' would give every row the same id; put a {column} into it"),
    ({"id": "{{sku}}"}, "4:9: jobs[0].id: '{{sku}}' would give every row the same id"),
    ({"id": "{skuu}"}, "4:9: jobs[0].id: p.csv has no column 'skuu'; did you mean 'sku'? columns: sku, title, image"),
    ({"id": "{SKU}"}, "4:9: jobs[0].id: p.csv has no column 'SKU'"),
    ({"image": "{img}"}, "5:12: jobs[0].image: p.csv has no column 'img'"),
    ({"prompt": "{titel} turns"}, "6:13: jobs[0].prompt: p.csv has no column 'titel'; did you mean 'title'?"),
    ({"prompt": "{title!r}"}, "6:13: jobs[0].prompt: p.csv has no column 'title!r'; did you mean 'title'?"),
    ({"prompt": "{title:10}"}, "6:13: jobs[0].prompt: p.csv has no column 'title:10'"),
    ({"prompt": "{title.upper}"}, "6:13: jobs[0].prompt: p.csv has no column 'title.upper'"),
    ({"prompt": "{0}"}, "6:13: jobs[0].prompt: p.csv has no column '0'"),
    ({"prompt": "{title"}, "6:13: jobs[0].prompt: '{' in '{title' is not a field; write {column}"),
    ({"prompt": "title}"}, "6:13: jobs[0].prompt: '}' in 'title}' is not a field"),
    ({"prompt": "{}"}, "6:13: jobs[0].prompt: '{}' in '{}' is not a field"),
    ({"prompt": "{ }"}, "6:13: jobs[0].prompt: '{ }' in '{ }' is not a field"),
    ({"prompt": "{{title}"}, "6:13: jobs[0].prompt: '}' in '{{title}' is not a field"),
    ({"prompt": "x" * 2501}, "6:13: jobs[0].prompt: has 2,501 characters; at most 2,500 are accepted"),
    ({"prompt": "a\0b"}, "6:13: jobs[0].prompt: holds a NUL character"),
    ({"prompt": ["{title}"]}, "6:13: jobs[0].prompt: a list is not text"),
    ({"negative_prompt": "{bad}"}, "7:22: jobs[0].negative_prompt: p.csv has no column 'bad'"),
    ({"negative_prompt": "x" * 2501}, "7:22: jobs[0].negative_prompt: has 2,501 characters"),
    ({"duration": "7"}, "7:15: jobs[0].duration: 7 s is not on offer; accepted: 5 or 10"),
    ({"duration": "five"}, "7:15: jobs[0].duration: 'five' is not a whole number"),
    ({"duration": "{dur}"}, "7:15: jobs[0].duration: p.csv has no column 'dur'"),
    ({"guidance_scale": "2"}, "7:21: jobs[0].guidance_scale: 2 is out of range; accepted: 0.00 to 1.00"),
    ({"guidance_scale": "0.123"}, "7:21: jobs[0].guidance_scale: 0.123 has more than two decimals"),
    ({"guidance_scale": "nan"}, "7:21: jobs[0].guidance_scale: 'nan' is not a number"),
    ({"guidance_scale": "much"}, "7:21: jobs[0].guidance_scale: 'much' is not a number"),
    ({"priority": "high"}, "7:15: jobs[0].priority: 'high' is not a whole number"),
    ({"priority": "9999999"}, "7:15: jobs[0].priority: '9999999' is out of range; accepted: at most 1000000"),
    ({"tags": ["x", "{tags}"]}, "7:17: jobs[0].tags[1]: p.csv has no column 'tags'; did you mean 'tag'?"),
    ({"tags": "{"}, "jobs[0].tags[0]: '{' in '{' is not a field"),
    ({"tags": {"a": "b"}}, "7:11: jobs[0].tags: a mapping is not a list"),
    ({"include": "mug"}, "7:14: jobs[0].include: 'mug' is not a mapping of keys to values"),
    ({"include": ["mug"]}, "7:14: jobs[0].include: a list is not a mapping"),
    ({"include": {"colour": "red"}}, "7:15: jobs[0].include.colour: p.csv has no column 'colour'"),
    ({"exclude": {"titl": "red"}}, "7:15: jobs[0].exclude.titl: p.csv has no column 'titl'; did you mean 'title'?"),
    ({"include": {"sku": {"a": 1}}}, "7:22: jobs[0].include.sku[0]: a mapping is not text"),
    ({"include": {"sku": [["a"]]}}, "jobs[0].include.sku[0]: a list is not text"),
    ({"include": {"sku": "nothing"}}, "3:3: jobs: gives no job: no row passes"),
    ({"delimiter": ":"}, "7:16: jobs[0].delimiter: ':' is not accepted; accepted: ','"),
    ({"delimiter": ""}, "7:16: jobs[0].delimiter: '' is not accepted"),
    ({"delimiter": ";"}, "4:9: jobs[0].id: p.csv has no column 'sku'; columns: sku,title,image"),
    ({"delimiter": ";", "source": "p.jsonl"}, "7:16: jobs[0].delimiter: goes with .csv and .tsv only"),
    ({"promt": "x"}, "7:5: jobs[0].promt: unknown key 'promt'; did you mean 'prompt'? known keys: from, id"),
    ({"form": "p.csv", "source": None}, "unknown key 'form'; did you mean 'from'?"),
    ({"source": "folder/*.jpg", "image": None}, "3:11: jobs[0].from: 'folder/*.jpg' matches no file"),
    ({"source": "nowhere/*.png", "image": None}, "3:11: jobs[0].from: 'nowhere/*.png' matches no file"),
    ({"source": "folder/**", "image": None}, "3:11: jobs[0].from: 'folder/**': `**` stands for folders"),
    ({"source": "fol**/*.png", "image": None}, "3:11: jobs[0].from: 'fol**/*.png': `**` stands for folders"),
    ({"source": "x" * 300 + "/*.png", "image": None}, "cannot be read: File name too long"),
    ({"source": "folder/*.png"}, "5:12: jobs[0].image: does not go with a pattern"),
    (
        {"source": "folder/*.png", "image": None},
        "4:9: jobs[0].id: 'folder/*.png' has no column 'sku'; columns: stem, name, folder",
    ),
    (
        {"source": "folder/*.png", "image": None, "id": "{stem}", "prompt": "x", "delimiter": ","},
        "6:16: jobs[0].delimiter: goes with .csv and .tsv only",
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.csv").write_text(TABLE)
    (tmp_path / "p.jsonl").write_text(json.dumps(JSON_ROW))
    (tmp_path / "header.csv").write_text(HEAD)
    for name in ("empty.csv", "empty.jsonl", "p.xlsx"):
        (tmp_path / name).touch()
    make_picture(tmp_path / "mug.png")
    make_picture(tmp_path / "folder" / "mug.png")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    return tmp_path


@pytest.mark.parametrize(("changes", "wanted"), ENTRIES, ids=[str(sorted(one.items()))[:60] for one, _ in ENTRIES])
def test_a_bad_entry(folder: Path, changes: dict[str, object], wanted: str) -> None:
    text = "version: 1\njobs:\n" + entry(**changes)
    problems = found(folder, text)
    assert any(wanted in problem for problem in problems), problems


# What is wrong with the file: (its bytes, the place, a part of the message). Only this one problem is said.
A = b"a,Mug,https://x.example/a.jpg,5,0.5,1,red\n"
H = HEAD.encode()
LONG = b'"' + b"xxxxxxx\n" * 2**17 + b'x"'
FILES: list[tuple[bytes, str, str]] = [
    (b"", "p.csv:1", "is empty"),
    (b"\n", "p.csv:1", "is empty"),
    (b"\xef\xbb\xbf", "p.csv:1", "is empty"),
    (b",,,\n" + A, "p.csv:1", "is empty"),
    (b"sku,title,,image\n", "p.csv:1", "column 3 has no name"),
    (b"sku,title,image,\n", "p.csv:1", "column 4 has no name"),
    (b"sku,title,image,sku\n", "p.csv:1", "columns 1 and 4 are both named 'sku'"),
    (b"sku,title,image, sku \n", "p.csv:1", "columns 1 and 4 are both named 'sku'"),
    (b",".join(b"c%d" % n for n in range(2001)) + b"\n", "p.csv:1", "has 2,001 columns"),
    (codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"), "p.csv:1:1", "is UTF-16; save the file as UTF-8"),
    (codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"), "p.csv:1:1", "is UTF-16"),
    (TABLE.encode("utf-16-le"), "p.csv:1:2", "holds a NUL byte"),
    (TABLE.encode("utf-32"), "p.csv:1:1", "is UTF-16"),
    (H + A + "b,Bürste,x,5,0.5,1,r\n".encode("latin-1"), "p.csv:3:4", "byte 0xfc (byte 4 of the line) is not UTF-8"),
    (H + A + b"b,\x80,x,5,0.5,1,r\n", "p.csv:3:3", "byte 0x80"),
    (H + A + b"b,\xc3", "p.csv:3:3", "byte 0xc3"),
    (b"\xff\xff", "p.csv:1:1", "byte 0xff"),
    (H + A + b"b,M\0g,x,5,0.5,1,r\n", "p.csv:3:4", "holds a NUL byte"),
    (H + A + b'b,"Mug,x,5,0.5,1,r\n', "p.csv:3", "a quote that opens in this row is never closed"),
    (H + A + b'b,"Mug,x\n5,0.5\n,1,r\n' * 1, "p.csv:3", "never closed"),
    (b'"sku,title', "p.csv:1", "never closed"),
    (H + A + b'b,"Mug"gy,x,5,0.5,1,r\n', "p.csv:3", "text follows a closing quote"),
    (H + A + b'b,"a "big" mug",x,5,0.5,1,r\n', "p.csv:3", "text follows a closing quote"),
    (H + A + b'b,"two\nlines"?,x,5,0.5,1,r\n', "p.csv:3", "text follows a closing quote"),
    (H + A + b"b," + LONG + b",x,5,0.5,1,r\n", "p.csv:3", "a field has more than 1,048,576 characters"),
    (H + A + b"b," + b"x" * 2**20 + b"\n", "p.csv:3", "is longer than 1 MiB"),
    (b"\xff\xd8\xff\xe0" + b"x" * 100, "p.csv:1:1", "byte 0xff"),
    (H.replace(b"\n", b"\r") + A, "p.csv:1", "line end of old Macs"),
    (H + A.replace(b"\n", b"\r") + A, "p.csv:2", "line end of old Macs"),
    (b"sku;title,image\n", "shop.yaml:3:11", "the header holds ',' and ';'; say which one"),
    (b"sku\ttitle,image\n", "shop.yaml:3:11", "the header holds ',' and '\\t'"),
    (H + A + b"b,Mug,x\n", "p.csv:3", "has 3 fields, but the header names 7 columns"),
    (H + A + b"b,Mug, blue,x,5,0.5,1,r\n", "p.csv:3", "has 8 fields, but the header names 7 columns"),
    (H + b"\n\n" + A + b"b\n", "p.csv:5", "has 1 fields"),
    (H + b'a,"two\nlines",x\n', "p.csv:2", "has 3 fields"),
    (
        H + b'a,"two\nlines",https://x.example/a.jpg,5,0.5,1,r\nb,,https://x.example/b.jpg,5,0.5,1,r\n',
        "p.csv:4 (b)",
        "empty",
    ),
    (H + A + b",Mug,https://x.example/b.jpg,5,0.5,1,r\n", "p.csv:3", "id: column 'sku' is empty here"),
    (H + A + b"b, ,https://x.example/b.jpg,5,0.5,1,r\n", "p.csv:3 (b)", "prompt: column 'title' is empty here"),
    (H + A + b"b,Mug,,5,0.5,1,r\n", "p.csv:3 (b)", "image: column 'image' is empty here"),
    (H + A + A, "p.csv:3 (a)", "id 'a' is taken, see p.csv:2"),
    (H + A + A.replace(b"a,", b"A,", 1), "p.csv:3 (A)", "id 'A' differs only in case from 'a', see p.csv:2"),
    (H + A + A.replace(b"a,", b"../x,", 1), "p.csv:3 (../x)", "id: '../x' holds '/'"),
    (H + A + A.replace(b"a,", b".x,", 1), "p.csv:3 (.x)", "id: '.x' must not start with a dot"),
    (H + A + A.replace(b"a,", b"NUL,", 1), "p.csv:3 (NUL)", "id: 'NUL' is a device name"),
    (H + A + A.replace(b"a,", b"x" * 201 + b",", 1), f"p.csv:3 ({'x' * 60})", "is longer than 200 bytes"),
]
VALUES: list[tuple[str, str, str]] = [
    ("image", "nope.png", "image: there is no file"),
    ("image", "folder", "image: folder is not a regular file"),
    ("image", "p.csv", "image: p.csv is not a picture that can be opened"),
    ("image", "small.png", "image: small.png is 100×100 px"),
    ("image", "ftp://x.example/a.jpg", "image: ftp: is not accepted"),
    ("image", "file:///etc/passwd", "image: file: is not accepted"),
    ("image", "data:image/png;base64", "image: data: is not accepted"),
    ("image", "https:///a.jpg", "image: 'https://' names no host"),
    ("image", "https://u:p@x.example/a.jpg", "image: a picture's URL must not carry a user name"),
    ("image", "https://x.example:port/a.jpg", "is not a URL that can be read"),
    ("image", "https://[x/a.jpg", "is not a URL that can be read"),
    ("image", "https://x.example/a b.jpg", "image: the URL must be printable, without blanks"),
    ("image", "https://x.example/" + "a" * 2048, "image: the URL must be printable"),
    ("image", "https://x.example/\u202e.jpg", "image: the URL must be printable"),
    ("image", "../" * 50 + "etc/passwd", "image: passwd is not a picture that can be opened"),
    ("seconds", "7", "duration: 7 s is not on offer; accepted: 5 or 10"),
    ("seconds", "0", "duration: 0 s is not on offer"),
    ("seconds", "-5", "duration: -5 s is not on offer"),
    ("seconds", "5.5", "duration: '5.5' is not a whole number"),
    ("seconds", "5s", "duration: '5s' is not a whole number"),
    ("seconds", "9" * 5000, "duration:"),
    ("guide", "1.01", "guidance_scale: 1.01 is out of range"),
    ("guide", "-0.1", "guidance_scale: -0.1 is out of range"),
    ("guide", "0.555", "guidance_scale: 0.555 has more than two decimals"),
    ("guide", "0,5", "guidance_scale: '0,5' is not a number"),
    ("guide", "Infinity", "guidance_scale: 'Infinity' is not a number"),
    ("guide", "1e999999", "guidance_scale: 1E+999999 is out of range"),
    ("guide", "1e-999999", "guidance_scale: 1E-999999 has more than two decimals"),
    ("prio", "1.5", "priority: '1.5' is not a whole number"),
    ("prio", "1000001", "priority: '1000001' is out of range"),
    ("tag", "x" * 101, "tags: a tag is longer than 100 characters"),
    ("title", "x" * 2495, "prompt: has 2,501 characters"),
    ("sku", "a|b", "id: 'a|b' holds '|'"),
    ("sku", "a\tb", "id: 'a\\tb' holds '\\t'"),
    ("sku", "a.", "id: 'a.' must not start with a dot"),
    ("sku", "~a", "id: '~a' must not start with"),
    ("sku", "a:b", "id: 'a:b' holds ':'"),
    ("sku", "https://x", "id: 'https://x' holds ':'"),
]


def all_columns(source: str = "p.csv") -> str:
    return "version: 1\njobs:\n" + entry(
        source=source, duration="{seconds}", guidance_scale="{guide}", priority="{prio}", tags="{tag}"
    )


@pytest.mark.parametrize(
    ("data", "place", "wanted"), FILES, ids=[f"{one[2][:30]}-{at}" for at, one in enumerate(FILES)]
)
def test_a_bad_table(folder: Path, data: bytes, place: str, wanted: str) -> None:
    (folder / "p.csv").write_bytes(data)
    problems = found(folder, all_columns())
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{place}: "), problems
    assert wanted in problems[0]


@pytest.mark.parametrize(("column", "value", "wanted"), VALUES, ids=[f"{one[0]}-{one[1][:30]!r}" for one in VALUES])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_bad_value_in_a_row(folder: Path, kind: str, column: str, value: str, wanted: str) -> None:
    make_picture(folder / "small.png", size=(100, 100))
    names = HEAD.strip().split(",")
    row = dict(zip(names, ROW.strip().split(","), strict=True)) | {"sku": "b"}
    good, bad = row | {"sku": "ok"}, row | {column: value}
    with (folder / f"p.{kind}").open("w", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows([good, bad])
        else:
            file.write("\n" + "".join(json.dumps(one) + "\n" for one in (good, bad)))
    problems = found(folder, all_columns(f"p.{kind}"))
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"p.{kind}:3 ({bad['sku'][:60]}): "), problems
    assert wanted in problems[0]


LINES: list[tuple[str, str]] = [
    ("{", "is not JSON at character 3"),
    ("{'sku': 1}", "is not JSON at character 2"),
    ('{"sku": "a",}', "is not JSON"),
    ("sku,title", "is not JSON at character 1"),
    ('{"sku": "a"} {"sku": "b"}', "is not JSON at character 14: Extra data"),
    ("[1]", "is not an object; write one {…} a line"),
    ("null", "is not an object"),
    ('"text"', "is not an object"),
    ("[" * 100_000, "is nested too deeply"),
    ('{"a": ' * 50_000, "is nested too deeply"),
    ('{"sku": "a", "sku": "b"}', "key 'sku' stands twice in one object"),
    ('{"sku": NaN}', "NaN is not a number"),
    ('{"sku": -Infinity}', "-Infinity is not a number"),
    ('{"sku": {"de": "x"}, "title": "x", "image": "x"}', "'sku' is an object; a value is text"),
    ('{"sku": [["x"]], "title": "x", "image": "x"}', "'sku' is a list of lists"),
    ('{"sku": "\\ud800", "title": "x", "image": "x"}', "'sku' holds half a character"),
    ('{"sku": "b", "title": null, "image": "https://x.example/"}', "prompt: column 'title' is empty here"),
    ('{"sku": "b", "title": [], "image": "https://x.example/"}', "prompt: column 'title' is empty here"),
    ('{"sku": "b", "title": "a\\u0000b", "image": "https://x.example/"}', "prompt: holds a NUL character"),
    ('{"sku": "b", "title": "x", "image": "a\\u0000b"}', "image: 'a\\x00b' cannot be a file's name"),
    ('{"title": "x", "image": "https://x.example/"}', "id: column 'sku' is empty here"),
    ('{"sku": "a", "title": "x", "image": "https://x.example/"}', "id 'a' is taken, see p.jsonl:1"),
]


@pytest.mark.parametrize(("line", "wanted"), LINES, ids=[f"{one[:30]}-{at}" for at, (one, _) in enumerate(LINES)])
def test_a_bad_line_of_json(folder: Path, line: str, wanted: str) -> None:
    (folder / "p.jsonl").write_text(f"{json.dumps(JSON_ROW)}\n\n{line}\n")
    problems = found(folder, "version: 1\njobs:\n" + entry(source="p.jsonl"))
    assert len(problems) == 1, [problem[:200] for problem in problems]
    assert problems[0].startswith("p.jsonl:3"), problems
    assert wanted in problems[0]


def test_a_key_that_no_object_has_is_a_mistake_of_the_template(folder: Path) -> None:
    (folder / "p.jsonl").write_text("".join(json.dumps(JSON_ROW | {"sku": sku}) + "\n" for sku in "abc"))
    problems = found(folder, "version: 1\njobs:\n" + entry(source="p.jsonl", tags="{colour}"))
    assert problems == ["shop.yaml:7:11: jobs[0].tags[0]: p.jsonl has no column 'colour'; columns: sku, title, image"]


PICTURES: list[tuple[str, Callable[[Path], object], str]] = [
    ("text.png", lambda path: path.write_text("hello"), "image: text.png is not a picture that can be opened"),
    ("gif.png", lambda path: Image.new("RGB", (400, 400)).save(path, "GIF"), "image: gif.png is GIF by its content"),
    ("small.png", lambda path: make_picture(path, size=(299, 400)), "image: small.png is 299×400 px"),
    (
        "long.png",
        lambda path: make_picture(path, size=(1000, 300)),
        "image: long.png is 1000×300 px, 3.34 to 1; at most 2.5 to 1",
    ),
    ("large.png", lambda path: path.write_bytes(b"x" * 10_000_001), "image: large.png has 10.0 MB"),
    ("CON.png", make_picture, "has no id, and its picture's name cannot be one: 'CON' is a device name"),
    ("a|b.png", make_picture, "has no id, and its picture's name cannot be one: 'a|b' holds '|'"),
    ("MUG.png", make_picture, "id 'mug' differs only in case from 'MUG', see pics/MUG.png"),
    (os.fsdecode(b"caf\xe9.png"), make_picture, "its name is not UTF-8; rename it"),
    ("gone.png", lambda path: path.symlink_to("nowhere"), "image: there is no file"),
]


@pytest.mark.parametrize(("name", "make", "wanted"), PICTURES, ids=[ascii(one[0]) for one in PICTURES])
def test_a_bad_picture_of_a_pattern(folder: Path, name: str, make: Callable[[Path], object], wanted: str) -> None:
    make_picture(folder / "pics" / "mug.png")
    make(folder / "pics" / name)
    problems = found(folder, "version: 1\njobs: [{from: 'pics/*.png', prompt: x}]\n")
    assert len(problems) == 1, problems
    assert wanted in problems[0]


NAMES: list[tuple[str, str, str]] = [
    (
        "on_invalid: refuse",
        "x",
        "; rename it, or leave such pictures out with `on_invalid: skip` (`from:` in shop.yaml:4)",
    ),
    (
        "on_invalid: refuse",
        "x, id: 'p-{stem}'",
        "; rename it, or leave such pictures out with `on_invalid: skip` (`from:` in",
    ),
    ("on_invalid: skip", "x", "; rename it (`from:` in shop.yaml:4)"),
]


@pytest.mark.parametrize(("rule", "more", "wanted"), NAMES)
def test_a_badly_named_picture_of_a_pattern_says_what_helps(folder: Path, rule: str, more: str, wanted: str) -> None:
    make_picture(folder / "pics" / "a<b.png")
    (problem, *_) = found(folder, f"version: 1\n{rule}\njobs:\n  - {{from: 'pics/*.png', prompt: {more}}}\n")
    assert problem.startswith("pics/a<b.png")
    assert "holds '<'" in problem
    assert wanted in problem
    assert "add `id:`" not in problem


HEADS: list[tuple[str, str]] = [
    ("defaults: {guidance_scale: 1e999999}\n", "2:28: defaults.guidance_scale: 1E+999999 is out of range"),
    ("on_invalid: ignore\n", "2:13: on_invalid: 'ignore' is not accepted; accepted: 'refuse' or 'skip'"),
    ("on_invalid: true\n", "2:13: on_invalid: true is not accepted"),
    ("on_error: skip\n", "2:1: on_error: unknown key 'on_error'"),
    ("on_invald: skip\n", "2:1: on_invald: unknown key 'on_invald'; did you mean 'on_invalid'?"),
    ("defaults: {negative_prompt: [x]}\n", "2:29: defaults.negative_prompt: a list is not text"),
    ("defaults: {tags: [{a: b}]}\n", "defaults.tags[0]: a mapping is not text"),
    ("defaults: {priority: 1.5}\n", "2:22: defaults.priority: '1.5' is not a whole number"),
    ("defaults: {prompt: x}\n", "2:12: defaults.prompt: unknown key 'prompt'"),
    ("defaults: {guidance_scale: 5}\n", "2:28: defaults.guidance_scale: 5 is out of range"),
    ("limits: {max_attempts: 4}\n", "2:24: limits.max_attempts: '4' is out of range; accepted: at most 3"),
    ("limits: {max_price: {5: cheap}}\n", "limits.max_price.5: 'cheap' is not an amount of money"),
    ("limits: {max_price: {five: 1}}\n", "limits.max_price.five"),
    ("limits: {per_minute: 0}\n", "2:22: limits.per_minute: '0' is out of range"),
    ("limits: {stuck_after: 1}\n", "2:23: limits.stuck_after: '1' is out of range"),
    ("limits: {daily_budget: 1.0000001}\n", "2:24: limits.daily_budget:"),
    ("limits: {keep_balance: none}\n", "2:24: limits.keep_balance:"),
    ("campaign: spring\n", "2:11: campaign: 'spring' is not a mapping"),
    ("campaign: {name: a/b}\n", "2:18: campaign.name: 'a/b' holds '/'"),
    ('output: "a\\0{id}.mp4"\n', "2:9: output:"),
    ("output: '{id'\n", "2:9: output: '{id' has fields that do not exist"),
    ("name: ''\n", "2:7: name: must not be empty"),
    ("name: [x]\n", "2:7: name: a list is not text"),
]


@pytest.mark.parametrize(("head", "wanted"), HEADS, ids=[one.strip() for one, _ in HEADS])
def test_a_bad_head(folder: Path, head: str, wanted: str) -> None:
    problems = found(folder, f"version: 1\n{head}jobs:\n" + entry())
    assert len(problems) == 1, problems
    assert wanted in problems[0]


def test_the_list_is_long() -> None:
    kinds = len(ENTRIES) + len(FILES) + len(VALUES) + len(LINES) + len(PICTURES) + len(HEADS)
    assert kinds >= 200  # with those of test_manifest.py some fifty more


# ---------------------------------------------------------------------- anything at all


def survives(folder: Path, manifest: bytes, name: str = "p.csv", source: bytes = b"") -> None:
    """Whatever is in the files: a batch, or ManifestError with at least one problem."""
    (folder / "shop.yaml").write_bytes(manifest)
    (folder / name).write_bytes(source)
    with suppress(ManifestError):
        assert load_manifest(folder / "shop.yaml").jobs


FUZZ = settings(max_examples=150, deadline=None)
CELLS = st.text(st.sampled_from('a,;\t"\n\r \0ä\ufeff{}'), max_size=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@FUZZ
@given(source=st.binary(max_size=300), kind=st.sampled_from(["csv", "tsv", "jsonl"]), skip=st.booleans())
def test_no_bytes_break_a_source(place: Path, source: bytes, kind: str, *, skip: bool) -> None:
    manifest = all_columns(f"p.{kind}") + ("on_invalid: skip\n" if skip else "")
    survives(place, manifest.encode(), f"p.{kind}", source)
    survives(place, manifest.encode(), f"p.{kind}", (H if kind == "csv" else b"") + source)


@FUZZ
@given(rows=st.lists(st.lists(CELLS, max_size=8), max_size=6), skip=st.booleans())
def test_no_cells_break_a_table(place: Path, rows: list[list[str]], *, skip: bool) -> None:
    text = HEAD + "".join(",".join(row) + "\n" for row in rows)
    survives(place, (all_columns() + ("on_invalid: skip\n" if skip else "")).encode(), "p.csv", text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(rows=st.lists(st.dictionaries(st.sampled_from(HEAD.strip().split(",")), JSON), max_size=4))
def test_no_objects_break_a_source(place: Path, rows: list[dict[str, object]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    survives(place, all_columns("p.jsonl").encode(), "p.jsonl", text.encode())


@FUZZ
@given(manifest=st.binary(max_size=300))
def test_no_bytes_break_a_manifest(place: Path, manifest: bytes) -> None:
    survives(place, manifest)
    survives(place, b"version: 1\njobs:\n" + manifest)


@FUZZ
@given(st.dictionaries(st.sampled_from([*ENTRY, "tags", "include", "exclude", "delimiter", "duration"]), JSON))
def test_no_values_break_an_entry(place: Path, changes: dict[str, object]) -> None:
    manifest = {"version": "1", "jobs": [ENTRY | changes]}
    survives(place, json.dumps(manifest, ensure_ascii=False).encode("utf-8", "replace"), "p.csv", TABLE.encode())


@FUZZ
@given(
    st.lists(st.sampled_from([("{a}", "A"), ("{ b }", "B{}"), ("{{", "{"), ("}}", "}"), ("ä\n ", "ä\n "), ("a", "a")]))
)
def test_a_template_gives_what_it_says(parts: list[tuple[str, str]]) -> None:
    template = parse_template("".join(written for written, _ in parts))
    assert template.bind({"b": 1, "a": 0}).fill(["A", "B{}"]) == "".join(said for _, said in parts)


@FUZZ
@given(st.text(st.sampled_from("{}ab "), max_size=12))
def test_no_template_breaks(text: str) -> None:
    with suppress(TemplateError):
        template = parse_template(text)
        template.bind(dict.fromkeys(template.fields, 0)).fill(["x"])
