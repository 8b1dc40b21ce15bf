"""What a page holds, without a browser: texts come back as they were, addresses lead where they should."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

import batchrun
from batchrun.queue.failures import FailureKind
from batchrun.queue.states import JobState
from batchrun.report.advice import ADVICE, advice_on
from batchrun.report.page import address, card, is_ours, script_json
from tests.report.shelf import clip, page_of

NASTY = (
    "</script><script>window.hacked=1</script>", "<!--<script>", "]]>", "\u2028\u2029", "a & b &amp; &lt;b&gt;",
    "<img src=x onerror='window.hacked=1'>", "\\u003c/script>", "\x00\x1b[31m", "\ud83d", "$data ${data} $$", "{{7*7}}",
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.sampled_from(NASTY), st.lists(st.sampled_from(NASTY)).map("".join))


class Scripts(HTMLParser):
    """The text of every script element, and the names of all elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self.names: list[str] = []
        self.metas: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag == "meta":
            self.metas.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def parsed(text: str) -> Scripts:
    parser = Scripts()
    parser.feed(text)
    parser.close()
    return parser


def data_of(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(parsed(page.read_text("utf-8")).scripts[0])
    return found


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_any_text_comes_back_out_of_a_script_element(value: object) -> None:
    text = f'<script type="application/json" id="data">{script_json(value)}</script><p>after</p>'
    found = parsed(text)
    assert found.names == ["script", "p"]
    assert json.loads(found.scripts[0]) == value
    assert not re.search("[<>&\u2028\u2029]", script_json(value))
    assert script_json(value).isascii()


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_an_address_leads_to_its_file_from_a_page_that_was_moved(parts: list[str]) -> None:
    target = Path(os.path.normpath(Path("/shop/videos", *parts)))
    found = address(target, Path("/shop/page"))
    assert not urlsplit(found).scheme
    assert not urlsplit(found).netloc
    moved = urlsplit(urljoin("http://web.example/clients/shop/page/report.html", found))
    assert (moved.query, moved.fragment) == ("", "")
    assert (
        os.fsdecode(unquote_to_bytes(moved.path)) == str(target).replace("/shop/", "/clients/shop/", 1) or ".." in parts
    )


async def test_a_page_is_whole_and_runs_only_what_it_came_with(tmp_path: Path) -> None:
    clips = [clip(tmp_path, f"c{number}", prompt=text) for number, text in enumerate(NASTY) if text.isprintable()]
    page = await page_of(tmp_path / "out", clips, title="<b>shop</b> & $data")
    found = parsed(page.read_text("utf-8"))
    assert found.names.count("script") == 2
    assert "img" not in found.names
    assert "b" not in found.names
    assert [one["prompt"] for one in data_of(page)["clips"]] == [one.revision.prompt for one in clips]
    (policy,) = [meta["content"] or "" for meta in found.metas if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert is_ours(page)
    assert not list(page.parent.glob(".*.part"))


def test_the_script_never_turns_text_into_markup() -> None:
    folder = Path(__file__).parents[2] / "batchrun" / "report"
    script = (folder / "page.js").read_text("utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest"):
        assert word not in script
    assert not re.search(
        r"https?://(?!www\.w3\.org)", script + (folder / "page.html").read_text() + (folder / "page.css").read_text()
    )


def test_a_card_holds_what_is_there_and_nothing_empty(tmp_path: Path) -> None:
    done = card(clip(tmp_path / "videos", "ä b#1", tags=("kitchen",), poster=tmp_path / "posters" / "p.webp"), tmp_path)
    assert (done["video"], done["picture"]) == ("videos/%C3%A4%20b%231.mp4", "videos/%C3%A4%20b%231.png")
    assert (done["poster"], done["took_ms"], done["cost"], done["guidance"]) == (
        "posters/p.webp",
        150_000,
        250_000,
        "0.50",
    )
    failed = card(clip(tmp_path, "x", state=JobState.FAILED, kind="moderation", message="no"), tmp_path)
    assert {"video", "poster", "bytes", "length_s", "took_ms", "warnings", "tags"} & set(failed) == set()
    assert (failed["kind"], failed["message"]) == ("moderation", "no")


def test_a_clip_that_the_manifest_left_says_so(tmp_path: Path) -> None:
    facts = {"warnings": ["hardly moves"]}
    assert clip(tmp_path, "x", current=False, facts=facts).warnings == ("hardly moves", "no longer in the manifest")
    assert clip(tmp_path, "x", outdated=True).warnings == ("the manifest asks for something else by now",)
    assert clip(tmp_path, "x").warnings == ()


def test_every_failure_has_its_advice() -> None:
    assert set(FailureKind) <= set(ADVICE)
    run = "".join(path.read_text("utf-8") for path in (Path(batchrun.__file__).parent / "run").glob("*.py"))
    put_off = set(re.findall(r'\b(?:put_off|not_to_be_had)\([^"()]*"(\w+)"', run))
    assert {"too_large", "disk", "stuck", "twin", "upload_failed"} <= put_off <= set(ADVICE)
    assert all(one.what.endswith(".") and one.todo.endswith((".", "!")) for one in ADVICE.values())
    assert advice_on("of_a_newer_version").what == "of a newer version"


def test_a_card_says_what_its_preview_leaves_out(tmp_path: Path) -> None:
    left_out = ["people and hands do not move (walks)", "liquids do not flow (pours, drips)"]
    found = card(clip(tmp_path, "a", facts={"warnings": ["frozen"], "not_shown": left_out}), tmp_path)
    assert found["warnings"] == [
        "frozen",
        "preview: people and hands do not move",
        "preview: liquids do not flow",
    ]
    assert found["not_shown"] == left_out
