"""Manifests: what is accepted, and that everything wrong is said at once, with its place."""

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchrun.errors import ManifestError
from batchrun.manifest.catalogue import models
from batchrun.manifest.output import preview_template
from batchrun.manifest.pictures import Picture, PictureError, check_picture
from batchrun.manifest.read import load_manifest
from batchrun.manifest.yamltext import parse_yaml
from tests.conftest import make_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_picture(tmp_path / "mug.png")
    return tmp_path


def load(folder: Path, text: str, **options: bool) -> object:
    path = folder / "shop.yaml"
    path.write_text(text, "utf-8")
    return load_manifest(path, **options)


def problems(folder: Path, text: str, **options: bool) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(folder, text, **options)
    name = str(folder / "shop.yaml")
    assert all(problem.file == name for problem in caught.value.problems)
    return [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in caught.value.problems]


JOB = "jobs: [{image: mug.png, prompt: It turns}]\n"
LOCAL = "{image: mug.png, prompt: It turns}"


def test_everything_is_filled_in(folder: Path) -> None:
    batch = load_manifest(_written(folder, "version: 1\n" + JOB))
    assert batch.name == "shop"
    assert (batch.limits.concurrency, batch.limits.per_minute) == (2, 2)
    job = batch.jobs[0]
    assert (job.key, job.duration_s, job.guidance_hundredths, job.price_usd_micros) == ("mug", 5, 50, 250_000)
    assert job.output == folder / "videos" / "shop" / "mug.mp4"
    assert not batch.caps.any


def _written(folder: Path, text: str) -> Path:
    path = folder / "shop.yaml"
    path.write_text(text, "utf-8")
    return path


def test_the_demo_catalog_is_valid() -> None:
    batch = load_manifest(Path(__file__).parents[2] / "jobs" / "catalog.yaml")
    assert batch.worst_price_usd_micros == 2_000_000
    assert len(batch.jobs) == 7


def test_the_demo_of_sources_is_valid() -> None:
    batch = load_manifest(Path(__file__).parents[2] / "jobs" / "products.yaml")
    assert [job.key for job in batch.jobs] == ["MUG-01", "PRF-07", "LMP-11", "images-cactus", "images-donut"]
    assert batch.skipped.count == 0


def test_scalars_are_what_was_written(folder: Path) -> None:
    text = (
        "version: 1\nlimits: {budget: 0.10}\njobs: [{id: 00123, image: mug.png, prompt: yes, guidance_scale: 0.29}]\n"
    )
    batch = load_manifest(_written(folder, text))
    assert (batch.jobs[0].key, batch.jobs[0].prompt, batch.jobs[0].guidance_hundredths) == ("00123", "yes", 29)
    assert batch.caps.budget_usd_micros == 100_000


def test_defaults_apply_where_a_job_says_nothing(folder: Path) -> None:
    text = """\
version: 1
defaults: {duration: 10, guidance_scale: 0.7, negative_prompt: blur, tags: [a], priority: 3}
jobs:
  - {id: one, image: mug.png, prompt: x}
  - {id: two, image: mug.png, prompt: x, duration: 5, guidance_scale: 0, negative_prompt: "", tags: [], priority: 0}
"""
    one, two = load_manifest(_written(folder, text)).jobs
    assert (one.duration_s, one.guidance_hundredths, one.negative_prompt, one.tags, one.priority) == (
        10,
        70,
        "blur",
        ("a",),
        3,
    )
    assert (two.duration_s, two.guidance_hundredths, two.negative_prompt, two.tags, two.priority) == (5, 0, "", (), 0)


def test_a_tier_gives_numbers_and_numbers_win(folder: Path) -> None:
    silver = load_manifest(_written(folder, "version: 1\nlimits: {tier: silver}\n" + JOB)).limits
    assert (silver.concurrency, silver.per_minute) == (100, 60)
    own = load_manifest(_written(folder, "version: 1\nlimits: {tier: silver, concurrency: 8}\n" + JOB)).limits
    assert (own.concurrency, own.per_minute) == (8, 60)


def test_anchors_and_merges_work(folder: Path) -> None:
    text = "version: 1\njobs:\n  - &a {id: a, image: mug.png, prompt: x}\n  - {<<: *a, id: b}\n"
    assert [job.key for job in load_manifest(_written(folder, text)).jobs] == ["a", "b"]


def test_max_price_is_the_price(folder: Path) -> None:
    text = "version: 1\nlimits: {max_price: {5: 0.30}}\n" + JOB
    assert load_manifest(_written(folder, text)).jobs[0].price_usd_micros == 300_000


ONE_PROBLEM = [
    ("version: 2\n" + JOB, "1:10: version: '2' is not accepted"),
    ("version: 1\nchecks: fast\n" + JOB, "2:9: checks: 'fast' is not accepted; accepted: 'quick', 'full' or 'strict'"),
    ("version: 1\nchecks:\n" + JOB, "checks: nothing is not accepted"),
    (JOB, "1:1: version: is missing"),
    ("version: 1\n", "1:1: jobs: is missing"),
    ("version: 1\njobs: []\n", "2:7: jobs: must not be empty"),
    ("version: 1\nname: a/b\n" + JOB, "2:7: name: 'a/b' holds '/'"),
    ("version: 1\nmodel: kling\n" + JOB, "2:8: model: unknown model 'kling'"),
    ("version: 1\nmodle: x\n" + JOB, "2:1: modle: unknown key 'modle'; did you mean 'model'?"),
    ("version: 1\nlimits: {budget: lots}\n" + JOB, "2:18: limits.budget: 'lots' is not an amount of money"),
    ("version: 1\nlimits: {budget: -1}\n" + JOB, "2:18: limits.budget: '-1' is not an amount"),
    ("version: 1\nlimits: {tier: silber}\n" + JOB, "2:16: limits.tier: unknown tier 'silber'"),
    ("version: 1\nlimits: {poll: 1}\n" + JOB, "2:16: limits.poll: 1 s is below the provider's floor"),
    ("version: 1\nlimits: {settle: 10}\n" + JOB, "2:18: limits.settle: 10 s is below the provider's floor"),
    (
        "version: 1\nlimits: {concurrency: 0}\n" + JOB,
        "2:23: limits.concurrency: '0' is out of range; accepted: at least 1",
    ),
    ("version: 1\nlimits: {concurrency: two}\n" + JOB, "2:23: limits.concurrency: 'two' is not a whole number"),
    ("version: 1\nlimits: {timezone: Mars}\n" + JOB, "2:20: limits.timezone: unknown time zone 'Mars'"),
    ("version: 1\nlimits: {max_price: {7: 1}}\n" + JOB, "2:25: limits.max_price.7: 7 s is not on offer"),
    ("version: 1\nlimits: [1]\n" + JOB, "2:9: limits: a list is not a mapping"),
    ("version: 1\noutput: out.mp4\n" + JOB, "2:9: output: 'out.mp4' would write every video to one file"),
    ("version: 1\noutput: '{id}.avi'\n" + JOB, "2:9: output: '{id}.avi' does not end in .mp4"),
    ("version: 1\noutput: '{sku}/{id}.mp4'\n" + JOB, "2:9: output: '{sku}/{id}.mp4' has fields that do not exist"),
    ("version: 1\noutput: '{id!r}.mp4'\n" + JOB, "2:9: output: '{id!r}.mp4' has fields"),
    (
        f"version: 1\noutput: '{{id}}-{'x' * 242}.mp4'\n" + JOB,
        "2:9: output: the file's name has 247 bytes beside {id}; at most 245 are possible",
    ),
    (
        f"version: 1\noutput: '{'ä' * 128}/{{id}}.mp4'\n" + JOB,
        f"2:9: output: the folder '{'ä' * 20}…' has 256 bytes; at most 255 are possible",
    ),
    (
        f"version: 1\noutput: '{{batch}}{'x' * 60}{{id}}.mp4'\njobs: [{{id: {'k' * 200}, image: mug.png, prompt: x}}]\n",
        "3:13: jobs[0].id: makes with `output` a file's name of 268 bytes; at most 246 are possible",
    ),
    (
        f"version: 1\noutput: '{{id}}-{{id}}/{{id}}.mp4'\njobs: [{{id: {'k' * 130}, image: mug.png, prompt: x}}]\n",
        "3:13: jobs[0].id: makes with `output` a folder's name of 261 bytes; at most 255 are possible",
    ),
    (
        "version: 1\noutput: 's3://b/{id}.mp4'\n" + JOB,
        "2:9: output: 's3://b/{id}.mp4': videos are written to local folders",
    ),
    (
        "version: 1\noutput: ~/v/{id}.mp4\n" + JOB,
        "2:9: output: '~/v/{id}.mp4': ~ is not a home folder here; write an abs",
    ),
    ("version: 1\noutput: ~me/{id}.mp4\n" + JOB, "2:9: output: '~me/{id}.mp4': ~ is not a home folder here"),
    (
        "version: 1\nlimits: {budget: 1,5}\n" + JOB,
        "2:20: limits.5: unknown key '5'; a decimal point is a point: budget: 1.5; known keys: tier",
    ),
    ("version: 1\ndefaults: {guidance_scale: 0,25}\n" + JOB, "a decimal point is a point: guidance_scale: 0.25"),
    ("version: 1\nlimits: {tier: silver, 5: 1}\n" + JOB, "2:24: limits.5: unknown key '5'; known keys: tier"),
    ("version: 1\ndefaults: {duration: 7}\n" + JOB, "2:22: defaults.duration: 7 s is not on offer; accepted: 5 or 10"),
    ("version: 1\ncampaign: {budget: 5}\n" + JOB, "2:11: campaign.name: is missing"),
    ("version: 1\njobs: [{image: mug.png}]\n", "2:8: jobs[0].prompt: is missing"),
    ("version: 1\njobs: [{image: mug.png, prompt: ' '}]\n", "2:33: jobs[0].prompt: must not be empty"),
    ("version: 1\njobs: [{image: nope.png, prompt: x}]\n", "2:16: jobs[0].image: there is no file"),
    ("version: 1\njobs: [{image: ., prompt: x, id: a}]\n", "2:16: jobs[0].image:"),
    ("version: 1\njobs: [{image: 'ftp://a/b.png', prompt: x}]\n", "2:16: jobs[0].image: ftp: is not accepted"),
    ("version: 1\njobs: [{image: 'https://u:p@a/b.png', prompt: x}]\n", "a picture's URL must not carry a user name"),
    ("version: 1\njobs: [{image: 'https:///b.png', prompt: x}]\n", "names no host"),
    ("version: 1\njobs: [{id: ../../x, image: mug.png, prompt: x}]\n", "2:13: jobs[0].id: '../../x' holds '/'"),
    ("version: 1\njobs: [{id: .., image: mug.png, prompt: x}]\n", "2:13: jobs[0].id: '..' must not start with a dot"),
    ("version: 1\njobs: [{id: CON, image: mug.png, prompt: x}]\n", "2:13: jobs[0].id: 'CON' is a device name"),
    ("version: 1\njobs: [{image: mug.png, prompt: x, duration: 6}]\n", "2:46: jobs[0].duration: 6 s is not on offer"),
    ("version: 1\njobs: [{image: mug.png, prompt: x, guidance_scale: 1.1}]\n", "out of range; accepted: 0.00 to 1.00"),
    ("version: 1\njobs: [{image: mug.png, prompt: x, guidance_scale: 0.123}]\n", "has more than two decimals"),
    ("version: 1\njobs: [{image: mug.png, prompt: x, guidance_scale: nan}]\n", "is not a number"),
    ("version: 1\njobs: [hello]\n", "2:8: jobs[0]: 'hello' is not a mapping"),
    (f"version: 1\njobs:\n  - {LOCAL}\n  - {LOCAL}\n", "4:5: jobs[1]: id 'mug' is taken, see line 3"),
    (
        "version: 1\njobs:\n  - {id: A, image: mug.png, prompt: x}\n  - {id: a, image: mug.png, prompt: x}\n",
        "differs only in case",
    ),
    ("version: 1\nversion: 1\n" + JOB, "2:1: : key 'version' stands here a second time; the first is in line 1"),
    ("version: 1\njobs: [\n", "is not YAML here"),
    ("version: 1\njobs:\n  - prompt: {title} turns\n", "; put text that begins with { in quotes"),
    ("version: 1\njobs:\n  - prompt: x\n    from: *.jpg\n", "; put text that begins with * in quotes"),
    ("version: 1\njobs:\n  - prompt: {title}, soft light\n", "; put text that begins with { in quotes"),
    ("version: 1\njobs:\n  - prompt: [new] {title}\n", "; put text that begins with [ in quotes"),
    ("version: 1\nname: & Co\njobs: []\n", "; put text that begins with & in quotes"),
    ("version: 1\nname: @home\njobs: []\n", "; put text that begins with @ in quotes"),
    (
        "version: 1\njobs: !!python/object:os.system [{image: mug.png, prompt: x}]\n",
        "tag tag:yaml.org,2002:python/object:os.system is not allowed",
    ),
    ("- a\n", "1:1: : a manifest is a mapping"),
    ("", "1:1: : a manifest is a mapping"),
    ("version: 1\n---\nversion: 1\n", "a manifest is one document"),
    ("version: 1\njobs: *nothing\n", "alias *nothing names nothing"),
    ("version: 1\njobs: &a [*a]\n", "alias *a names nothing that is complete"),
    ("? [a]\n: b\n", "a key must be plain text"),
    ("a: \x07\n", "character U+0007 is not allowed"),
    ("# é中😀\nversion: 1\na: é\x07\n", "3:5: : character U+0007 is not allowed"),
]


@pytest.mark.parametrize(("text", "wanted"), ONE_PROBLEM)
def test_one_problem(folder: Path, text: str, wanted: str) -> None:
    found = problems(folder, text)
    assert len(found) == 1, found
    assert wanted in found[0]


def test_the_longest_names_fit_as_clips_and_as_previews(folder: Path) -> None:
    make_picture(folder / "mug.png")
    text = (
        f"version: 1\noutput: 'videos/{'x' * 142}{{id}}.mp4'\njobs: [{{id: {'k' * 100}, image: mug.png, prompt: x}}]\n"
    )
    for previews in (False, True):
        batch = load_manifest(_written(folder, text), previews=previews)
        name = batch.jobs[0].output.name
        assert len(name) == (254 if previews else 246)


def test_all_problems_at_once(folder: Path) -> None:
    text = """\
version: 3
limits: {budget: x}
defaults: {duration: 7}
jobs:
  - {image: nope.png, prompt: x}
  - {image: mug.png, promt: x}
  - 5
"""
    found = problems(folder, text)
    assert [line.split(":")[0] for line in found] == ["1", "2", "3", "5", "6", "6", "7"]


def test_at_most_200_problems_are_listed_and_the_rest_counted(folder: Path) -> None:
    text = "version: 1\njobs:\n" + "".join(f"  - {{id: a{n}, image: nope.png, prompt: x}}\n" for n in range(250))
    with pytest.raises(ManifestError) as caught:
        load(folder, text)
    assert len(caught.value.problems) == 200
    assert str(caught.value).endswith("… and 50 more problems")


def test_fast_limits_are_for_local_servers_only(folder: Path) -> None:
    text = "version: 1\nlimits: {poll: 0.1, settle: 1}\n" + JOB
    assert load_manifest(_written(folder, text), fast=True).limits.poll_s == 0.1
    assert len(problems(folder, text)) == 2


def test_an_alias_bomb_ends_quickly(folder: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    found = problems(folder, f"a0: &a0 [x, x]\n{levels}\n")
    assert "with aliases expanded" in found[0]


def test_deep_nesting_is_refused(folder: Path) -> None:
    assert "nested deeper" in problems(folder, "a: " + "[" * 500 + "]" * 500)[0]


def test_bytes_that_are_not_utf8_name_their_place(folder: Path) -> None:
    (folder / "shop.yaml").write_bytes(b"version: 1\nname: caf\xe9\n")
    with pytest.raises(ManifestError, match=r":2:10: byte 0xe9 is not UTF-8"):
        load_manifest(folder / "shop.yaml")


def test_a_byte_order_mark_is_fine(folder: Path) -> None:
    (folder / "shop.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\n" + JOB.encode())
    assert load_manifest(folder / "shop.yaml").jobs


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda path: path.write_bytes(b"<html>"), "not a picture that can be opened"),
        (lambda path: path.write_bytes(b""), "not a picture that can be opened"),
        (lambda path: Image.new("RGB", (400, 400)).save(path, "GIF"), "is GIF by its content"),
        (lambda path: Image.new("RGB", (400, 299)).save(path, "PNG"), "at least 300 px"),
        (
            lambda path: Image.new("RGB", (900, 300)).save(path, "PNG"),
            "900×300 px, 3 to 1; at most 2.5 to 1 is accepted",
        ),
        (
            lambda path: Image.new("RGB", (300, 751)).save(path, "PNG"),
            "300×751 px, 1 to 2.51; at most 1 to 2.5 is accepted",
        ),
        (lambda path: path.write_bytes(b"x" * 10_000_001), "at most 10 MB"),
    ],
)
def test_pictures_are_judged_by_content(folder: Path, make: object, wanted: str) -> None:
    make(folder / "other.png")  # type: ignore[operator]  # a function of the path
    found = problems(folder, "version: 1\njobs: [{image: other.png, prompt: x}]\n")
    assert wanted in found[0]


def test_the_aspect_that_is_accepted_is_the_models() -> None:
    rules = replace(models()["kwaivgi/kling-v1.6-i2v-standard"].picture, max_aspect=Decimal("1.75"))
    check_picture(Picture("", 1, 700, 400, "image/png"), "a.png", rules)
    with pytest.raises(PictureError, match=r"^a\.png is 701×400 px, 1\.76 to 1; at most 1\.75 to 1 is accepted$"):
        check_picture(Picture("", 1, 701, 400, "image/png"), "a.png", rules)


def test_a_jpeg_named_png_is_fine(folder: Path) -> None:
    Image.new("RGB", (400, 400)).save(folder / "wrong.png", "JPEG")
    batch = load_manifest(_written(folder, "version: 1\njobs: [{image: wrong.png, prompt: x}]\n"))
    assert batch.jobs[0].picture is not None
    assert batch.jobs[0].picture.content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("../videos/{batch}/{id}.mp4", "../videos-preview/{batch}/{id}.preview.mp4"),
        ("{id}.mp4", "preview/{id}.preview.mp4"),
        ("a/b/{id}.mp4", "a/b-preview/{id}.preview.mp4"),
        ("../{id}.mp4", "../preview/{id}.preview.mp4"),
        ("/srv/{batch}/{id}.mp4", "/srv-preview/{batch}/{id}.preview.mp4"),
    ],
)
def test_previews_never_go_where_paid_clips_go(template: str, wanted: str) -> None:
    assert preview_template(template) == wanted


def test_long_prompts(folder: Path) -> None:
    assert (
        "has 2,501 characters" in problems(folder, f"version: 1\njobs: [{{image: mug.png, prompt: {'x' * 2501}}}]\n")[0]
    )
    batch = load_manifest(_written(folder, f"version: 1\njobs: [{{image: mug.png, prompt: {'ä' * 2500}}}]\n"))
    assert "5,000 bytes" in batch.warnings[0]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_text_makes_the_reader_crash(text: str) -> None:
    with suppress(ManifestError):
        parse_yaml(text, "shop.yaml")
