"""The fingerprint is fixed for ever: a change here would make every catalog buy everything again."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.manifest.fingerprint import Content, fingerprint, normal_text

CONTENT = Content(
    model="kwaivgi/kling-v1.6-i2v-standard",
    prompt="Steam rises",
    negative_prompt="",
    guidance_hundredths=50,
    duration_s=5,
    image_sha256="0" * 64,
    image_url=None,
)
URL = replace(CONTENT, image_sha256=None, image_url="https://shop.example/a.png?v=1", duration_s=10)

GOLDEN = {
    CONTENT: "e50768ed421ba4b45416cd1c6deb6c7bf274e00dbeb60341dd466dc30e387547",
    URL: "7edc26dba35b3cacc39f043a7acc1dbed4355fa83100514ee532c640b481d730",
    replace(
        CONTENT, prompt="Dämpfe — 蒸汽 🙂", negative_prompt="blur", guidance_hundredths=0
    ): "9ad17c75fb0b730c7f6e6ae17d34d6b08f35e5407b749c44dba9dbe3c1e63238",
}


@pytest.mark.parametrize(("content", "digest"), GOLDEN.items())
def test_golden_digests(content: Content, digest: str) -> None:
    assert fingerprint(content) == digest


@pytest.mark.parametrize(
    "other",
    [
        replace(CONTENT, prompt="Steam falls"),
        replace(CONTENT, negative_prompt="blur"),
        replace(CONTENT, guidance_hundredths=51),
        replace(CONTENT, duration_s=10),
        replace(CONTENT, image_sha256="1" * 64),
        replace(CONTENT, model="other/model"),
        URL,
    ],
)
def test_everything_that_is_sent_counts(other: Content) -> None:
    assert fingerprint(other) != fingerprint(CONTENT)


@pytest.mark.parametrize("prompt", ["  Steam rises\n", "Steam rises\r\n", "\tSteam rises"])
def test_what_an_editor_changes_does_not_count(prompt: str) -> None:
    assert fingerprint(replace(CONTENT, prompt=prompt)) == fingerprint(CONTENT)


def test_composed_and_decomposed_letters_are_one() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert fingerprint(replace(CONTENT, prompt=composed)) == fingerprint(replace(CONTENT, prompt=decomposed))


@given(st.text())
def test_normal_text_is_a_fixed_point(text: str) -> None:
    assert normal_text(normal_text(text)) == normal_text(text)


def test_a_picture_is_a_file_or_a_url() -> None:
    with pytest.raises(ValueError, match="either"):
        fingerprint(replace(CONTENT, image_url="https://x.example/a.png"))


@given(st.text(), st.text(), st.integers(0, 100), st.sampled_from([5, 10]), st.text(min_size=1), st.booleans())
def test_it_is_the_digest_of_canonical_json(  # all that is sent
    prompt: str,
    negative: str,
    guidance: int,
    duration_s: int,
    image: str,
    is_file: bool,  # noqa: FBT001  # drawn
) -> None:
    content = Content(
        "a/model", prompt, negative, guidance, duration_s, image if is_file else None, None if is_file else image
    )
    payload = {
        "v": 1,
        "model": "a/model",
        "prompt": normal_text(prompt),
        "negative_prompt": normal_text(negative),
        "guidance_hundredths": guidance,
        "duration_s": duration_s,
        "image": {"sha256": image} if is_file else {"url": image},
    }
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert fingerprint(content) == hashlib.sha256(canonical.encode("ascii")).hexdigest()
