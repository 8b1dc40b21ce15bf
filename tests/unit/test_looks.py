"""What pictures and first frames look like: own pairs are near, everything else is far, and nothing is guessed."""

import random
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.render import render
from batchrun.video.boxes import BrokenClipError
from batchrun.video.likeness import FRAME_SIDE, SIDE
from batchrun.video.looks import Look, NoLookError, distance, distance_table, distances, first_frame, look_of_picture
from tests.proof.shop import Treatment, draw, look_alikes, product, thumbnail, treated

IMAGES = sorted((Path(__file__).parents[2] / "jobs" / "images").glob("*.jpg"))
NEAR, FAR = 0.09, 0.2


def of(picture: Image.Image, side: int = SIDE) -> Look:
    return Look(thumbnail(picture, side).tobytes())


def frame_of(picture: Image.Image) -> Look:
    return of(picture, FRAME_SIDE)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [ImageOps.fit(Image.open(path).convert("RGB"), (360, 360), Image.Resampling.BOX) for path in IMAGES]


def write_clip(path: Path, frames: int, *, rate: int = 8, first: int = 200) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = Fraction(1, rate)
        for number in range(frames):
            shade = np.full((48, 64, 3), first if number == 0 else 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_look_comes_back_from_its_bytes_and_from_no_others() -> None:
    for side in (SIDE, FRAME_SIDE):
        look = Look(bytes(side * side * 3))
        assert Look.from_bytes(look.to_bytes()) == look
    for size in (0, 1, SIDE * SIDE * 3 - 1, SIDE * SIDE * 4, 2 * FRAME_SIDE * FRAME_SIDE * 3):
        with pytest.raises(ValueError, match="a look has"):
            Look.from_bytes(bytes(size))


def test_previews_of_the_catalog_start_with_their_own_pictures(tmp_path: Path) -> None:
    some = IMAGES[::3]
    pictures = [look_of_picture(path) for path in IMAGES]
    for number, path in enumerate(some):
        render(path, Wish(prompt="the camera pushes in"), tmp_path / f"{number}.mp4", area_px=480 * 270)
        shown = first_frame(tmp_path / f"{number}.mp4")
        found = distances(pictures, shown.look)
        assert shown.duration_s == 5
        assert found[IMAGES.index(path)] < NEAR / 2
        assert np.delete(found, IMAGES.index(path)).min() > 0.35


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.crop((0, 40, 360, 320)),  # another aspect
        lambda one: one.crop((36, 0, 324, 360)),
        lambda one: one.crop((36, 36, 324, 324)),  # 80 % of each side
        lambda one: one.crop((0, 0, 324, 340)),
        lambda one: ImageOps.expand(one, (60, 0), "black"),  # bars at the sides
        lambda one: ImageOps.expand(one, (0, 45), "white"),
        lambda one: one.resize((100, 75), Image.Resampling.BILINEAR),
        lambda one: one.point(lambda value: value * 0.9),
        lambda one: one.point(lambda value: value * 0.9 + 12),
        lambda one: Image.merge("RGB", [band.point(lambda v, n=n: v + 6 * n) for n, band in enumerate(one.split())]),
    ],
    ids=["flat", "narrow", "centre", "corner", "bars", "white bars", "small", "dark", "pale", "tinted"],
)
def test_what_a_provider_may_do_leaves_the_picture_the_nearest(
    change: Callable[[Image.Image], Image.Image], photos: list[Image.Image]
) -> None:
    table = distance_table([of(one) for one in photos], [frame_of(change(one)) for one in photos])
    own, other = np.diag(table), table + np.eye(len(photos))
    assert own.max() < 0.25
    assert (other.min(1) > own + 0.15).all()


def test_a_crop_and_a_tint_count_a_little(photos: list[Image.Image]) -> None:
    """A queue whose frames are whole learns to refuse the same photograph in another crop."""
    for photo in photos:
        whole = distance(of(photo), frame_of(photo))
        assert whole < 0.03
        assert distance(of(photo), frame_of(photo.crop((20, 20, 340, 340)))) > whole + 0.015
        assert distance(of(photo), frame_of(photo.point(lambda value: value * 0.9))) > whole + 0.01


def test_look_alikes_lie_further_than_own_frames() -> None:
    dice = random.Random(11)
    own, alike = [], []
    for seed in range(120):
        one = product(seed)
        picture, how = of(draw(one)), Treatment(dice.uniform(0, 0.5))
        own.append(distance(picture, frame_of(treated(draw(one), how, dice))))
        alike.append(distance(picture, frame_of(treated(draw(*look_alikes(one, 1, dice)), how, dice))))
    assert np.quantile(own, 0.8) < NEAR < min(alike)
    assert np.quantile(own, 0.95) < np.quantile(alike, 0.03)


def test_a_picture_that_shows_nothing_is_near_to_nothing() -> None:
    for shade in (0, 128, 255):
        blank = Image.new("RGB", (400, 300), (shade, shade, shade))
        assert distance(of(blank), frame_of(blank)) == 1


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    dice = random.Random(2)
    pictures = [draw(product(seed)) for seed in range(40)]
    seen = [of(one) for one in pictures]
    frame = frame_of(treated(pictures[7], Treatment(0.4), dice))
    one_by_one = [distance(one, frame) for one in seen]
    assert np.allclose(distances(seen, frame), one_by_one, atol=1e-3)
    assert int(np.argmin(one_by_one)) == 7


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_bytes_have_a_distance_between_0_and_1(seed: int, rough: bool) -> None:  # noqa: FBT001  # hypothesis names it
    dice = np.random.default_rng(seed)
    high = int(dice.integers(1, 256)) if rough else 2
    picture = Look(dice.integers(0, high, SIDE * SIDE * 3, dtype=np.uint8).tobytes())
    frame = Look(dice.integers(0, high, FRAME_SIDE * FRAME_SIDE * 3, dtype=np.uint8).tobytes())
    for one, other in ((picture, frame), (picture, picture)):
        assert 0 <= distance(one, other) <= 1


def test_a_picture_is_seen_upright_on_white_and_in_all_its_shades(tmp_path: Path, photos: list[Image.Image]) -> None:
    photo = photos[3]
    photo.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown turned by 90° to the right
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    cut = photo.convert("RGBA")
    cut.putalpha(Image.linear_gradient("L").resize(cut.size).point(lambda value: 255 * (value > 99)))
    cut.save(tmp_path / "clear.png")
    white = Image.new("RGB", cut.size, "white")
    white.paste(photo, mask=cut.getchannel("A"))
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")

    def off(name: str, wanted: Image.Image) -> float:
        seen = np.frombuffer(look_of_picture(tmp_path / name).pixels, np.uint8).reshape(SIDE, SIDE, 3).astype(int)
        return float(np.abs(seen - thumbnail(wanted, SIDE)).mean())

    assert off("plain.png", photo) == 0
    assert off("turned.jpg", photo) < 1
    assert off("clear.png", white) < 1
    assert off("deep.png", photo.convert("L").convert("RGB")) < 1


def test_a_large_photograph_is_decoded_small_and_looks_the_same(tmp_path: Path, photos: list[Image.Image]) -> None:
    large = photos[0].resize((3000, 3000), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=92)
    assert distance(look_of_picture(tmp_path / "large.jpg"), frame_of(photos[0])) < 0.02


def bomb(path: Path, side_px: int) -> None:
    """A PNG that says it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)

    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(8))


@pytest.mark.parametrize("side_px", [8_000, 12_000, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(side_px: int, tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.png", side_px)
    with pytest.raises(NoLookError, match=r"bomb\.png (has .* too many|cannot be looked at: .*exceeds limit)"):
        look_of_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_has_no_look(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(IMAGES[0].read_bytes()[:20_000])
    Image.new("RGB", (400, 400)).save(tmp_path / "other.gif")
    for name in ("text.jpg", "empty.png", "cut.jpg", "other.gif"):
        with pytest.raises(NoLookError, match="cannot be looked at"):
            look_of_picture(tmp_path / name)
    with pytest.raises(NoLookError, match="there is no file"):
        look_of_picture(tmp_path / "missing.png")
    with pytest.raises(NoLookError):
        look_of_picture(tmp_path)


@pytest.mark.parametrize(
    ("frames", "seconds"),
    [(40, 5), (41, 5), (34, 5), (46, 5), (33, 4), (47, 6), (64, 8), (69, 9), (70, 10), (80, 10), (92, 12)],
)
def test_the_duration_is_rounded_as_a_clip_is_checked(frames: int, seconds: int, tmp_path: Path) -> None:
    assert first_frame(write_clip(tmp_path / "a.mp4", frames)).duration_s == seconds


def test_the_frame_is_the_first_one(tmp_path: Path) -> None:
    seen = np.frombuffer(first_frame(write_clip(tmp_path / "a.mp4", 9)).look.pixels, np.uint8)
    assert len(seen) == FRAME_SIDE * FRAME_SIDE * 3
    assert abs(seen.mean() - 200) < 5


def test_what_is_no_clip_has_no_first_frame(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", 9).read_bytes()
    cases = {"text": b"<html>not found</html>" * 100, "empty": b"", "cut": whole[:200]}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BrokenClipError, match="cannot be decoded"):
            first_frame(tmp_path / name)
    with pytest.raises(BrokenClipError):
        first_frame(tmp_path / "missing.mp4")
