"""What a downloaded clip must be, what looks wrong with one that is whole, and its poster."""

import random
import re
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any, Self, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.render import render
from batchrun.emulator.spoil import write_frames
from batchrun.manifest.jobs import Checks
from batchrun.video.boxes import BrokenClipError
from batchrun.video.check import WarnedClipError, check_clip
from batchrun.video.container import frames_of, opened_video
from batchrun.video.looks import first_frame
from batchrun.video.poster import is_poster
from batchrun.video.signs import MEANING, Sign, in_words

IMAGES = sorted((Path(__file__).parents[2] / "jobs" / "images").glob("*.jpg"))
SIZE = (432, 324)
FRAMES = 121
Pixels = NDArray[np.uint8]


@cache
def photo(name: str = "espresso") -> Image.Image:
    (path,) = (path for path in IMAGES if path.stem == name)
    with Image.open(path) as opened:
        return opened.convert("RGB").resize(SIZE)


def still(image: Image.Image) -> Iterator[Pixels]:
    return iter([np.asarray(image)] * FRAMES)


def grain(image: Image.Image, sigma: float) -> Iterator[Pixels]:
    chance = np.random.default_rng(1)
    for _ in range(FRAMES):
        noise = chance.normal(0, sigma, (*image.size[::-1], 3))
        yield np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)


def zoom(image: Image.Image, total: float) -> Iterator[Pixels]:
    width, height = image.size
    for number in range(FRAMES):
        factor = 1 + total * number / (FRAMES - 1)
        room = width * (1 - 1 / factor) / 2, height * (1 - 1 / factor) / 2
        box = (room[0], room[1], width - room[0], height - room[1])
        yield np.asarray(image.resize(image.size, Image.Resampling.BICUBIC, box=box))


def faded(frames: Iterator[Pixels], dark: Callable[[int], float]) -> Iterator[Pixels]:
    for number, pixels in enumerate(frames):
        yield (pixels * (1 - dark(number))).astype(np.uint8)


def glint(image: Image.Image) -> Iterator[Pixels]:
    """Six pixels wide, and there for a fifth of the time."""
    for number in range(FRAMES):
        shown = image.copy()
        if 40 < number < 64:
            ImageDraw.Draw(shown).ellipse((180, 70, 186, 76), fill="white")
        yield np.asarray(shown)


def steam(image: Image.Image) -> Iterator[Pixels]:
    """Six levels at most over a tenth of the picture."""
    chance = np.random.default_rng(2).normal(0, 1, (60, 12)).astype(np.float32)
    plume = np.asarray(Image.fromarray(chance).resize((60, 600), Image.Resampling.BICUBIC))
    for number in range(FRAMES):
        shown = np.asarray(image, np.float32).copy()
        shown[30:130, 130:190] += 6 * np.clip(plume[number * 4 : number * 4 + 100], 0, 1)[..., None]
        yield np.clip(shown, 0, 255).astype(np.uint8)


def white_on_white(ground: int = 255, body: int = 250) -> Image.Image:
    image = Image.new("RGB", SIZE, (ground,) * 3)
    ImageDraw.Draw(image).rounded_rectangle((120, 60, 200, 190), 16, fill=(body,) * 3)
    return image.filter(ImageFilter.GaussianBlur(2))


def rim_on_black() -> Image.Image:
    image = Image.new("RGB", SIZE, (4, 4, 4))
    ImageDraw.Draw(image).line((150, 60, 150, 180), fill=(90, 90, 90), width=2)
    return image


BLACK = Image.new("RGB", SIZE, "black")
RED = Image.new("RGB", SIZE, (180, 20, 30))
CLIPS: dict[str, Callable[[], Iterator[Pixels]]] = {
    "black": lambda: still(BLACK),
    "black with grain": lambda: grain(BLACK, 3),
    "black after two fifths": lambda: faded(zoom(photo(), 0.1), lambda number: float(number > 48)),
    "red": lambda: still(RED),
    "still": lambda: still(photo()),
    "still mug": lambda: still(photo("mug")),
    "push": lambda: zoom(photo(), 0.1),
    "slowest push": lambda: zoom(photo(), 0.005),
    "fades in and out": lambda: faded(
        zoom(photo(), 0.1), lambda number: max(0.0, 1 - number / 19, (number - 101) / 19)
    ),
    "rim on black": lambda: zoom(rim_on_black(), 0.1),
    "white on white": lambda: zoom(white_on_white(), 0.1),
    "white on white, slowly": lambda: zoom(white_on_white(), 0.02),
    "glint": lambda: glint(photo("mug")),
    "steam": lambda: steam(photo("mug")),
}


@pytest.fixture(scope="session")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("clips")

    def made(name: str) -> Path:
        path = folder / f"{name}.mp4"
        if not path.exists():
            write_frames(CLIPS[name](), path)
        return path

    return made


Clips = Callable[[str], Path]


def write_video(path: Path, frames: int, *, fps: int = 24, size: tuple[int, int] = (64, 48)) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height = size
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, fps)
        for number in range(frames):
            container.mux(stream.encode(grey_frame(size, number, fps)))
        container.mux(stream.encode())
    return path


def grey_frame(size: tuple[int, int], number: int, fps: int) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([100 + number % 50]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, fps)
    return frame


# ---------------------------------------------------------------------- what looks wrong


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("black", Sign.BLACK),
        ("black with grain", Sign.BLACK),
        ("black after two fifths", Sign.BLACK),
        ("red", Sign.FLAT),
        ("still", Sign.FROZEN),
        ("still mug", Sign.FROZEN),
    ],
)
def test_what_looks_wrong_is_a_warning(name: str, sign: Sign, clip_of: Clips) -> None:
    assert check_clip(clip_of(name), 5).warnings == (sign,)


@pytest.mark.parametrize(
    "name",
    [
        "push",
        "slowest push",
        "fades in and out",
        "rim on black",
        "white on white",
        "white on white, slowly",
        "glint",
        "steam",
    ],
)
def test_what_only_comes_near_is_none(name: str, clip_of: Clips) -> None:
    assert check_clip(clip_of(name), 5).warnings == ()


def test_a_clip_of_another_picture_is_told(clip_of: Clips, tmp_path: Path) -> None:
    others = [path for path in IMAGES if path.stem != "espresso"]
    found = [check_clip(clip_of("push"), 5, picture=partial(Path, path)).warnings for path in others]
    assert found == [(Sign.UNLIKE_PICTURE,)] * len(others)
    assert check_clip(clip_of("still mug"), 5, picture=lambda: others[0]).warnings == (Sign.FROZEN, Sign.UNLIKE_PICTURE)


def test_a_clip_of_its_own_picture_is_not_also_when_it_fades_in(clip_of: Clips) -> None:
    (own,) = (path for path in IMAGES if path.stem == "espresso")
    for name in ("push", "fades in and out"):
        assert check_clip(clip_of(name), 5, picture=lambda: own).warnings == ()


def test_a_picture_that_shows_next_to_nothing_or_cannot_be_read_proves_nothing(clip_of: Clips, tmp_path: Path) -> None:
    white_on_white().save(tmp_path / "white.png")
    (tmp_path / "no.png").write_bytes(b"not a picture")
    for picture in (tmp_path / "white.png", tmp_path / "no.png", tmp_path / "gone.png"):
        assert check_clip(clip_of("push"), 5, picture=partial(Path, picture)).warnings == ()


@pytest.mark.parametrize("path", IMAGES[::2], ids=lambda path: path.stem)
def test_our_own_previews_look_right(path: Path, tmp_path: Path) -> None:
    render(path, Wish(prompt="slow push in"), tmp_path / "clip.mp4", area_px=640 * 360)
    facts = check_clip(tmp_path / "clip.mp4", 5, Checks.STRICT, picture=lambda: path)
    assert (facts.frames, facts.fps, facts.duration_s, facts.warnings) == (FRAMES, 24, 5.042, ())
    assert abs(facts.width_px * facts.height_px - 640 * 360) < 3000


def test_a_clip_too_small_to_be_a_models_is_not_compared(tmp_path: Path) -> None:
    render(IMAGES[1], Wish(prompt="slow push in"), tmp_path / "clip.mp4", area_px=320 * 180)
    assert check_clip(tmp_path / "clip.mp4", 5, picture=lambda: IMAGES[0]).warnings == ()


def test_every_sign_has_a_meaning_and_an_unknown_word_stands_for_itself() -> None:
    assert set(MEANING) == set(Sign)
    assert in_words(["frozen", "upside_down"]) == "frozen (nothing moves in it); upside_down"


# ---------------------------------------------------------------------- how closely


def test_strict_rejects_what_full_only_tells(clip_of: Clips, tmp_path: Path) -> None:
    with pytest.raises(WarnedClipError, match=r"strict.*black \(at least half of it is black\)") as raised:
        check_clip(clip_of("black"), 5, Checks.STRICT, poster=tmp_path / "p.webp")
    assert raised.value.facts.warnings == (Sign.BLACK,)
    assert not (tmp_path / "p.webp").exists()
    assert check_clip(clip_of("push"), 5, Checks.STRICT).warnings == ()


def test_quick_believes_the_header_and_full_does_not(clip_of: Clips, tmp_path: Path) -> None:
    path = tmp_path / "torn.mp4"
    data = bytearray(clip_of("push").read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 20_000] = bytes(len(data[middle : middle + 20_000]))
    path.write_bytes(data)
    quick = check_clip(path, 5, Checks.QUICK)
    assert (quick.frames, quick.duration_s, quick.checks, quick.warnings) == (FRAMES, 5.042, "quick", ())
    with pytest.raises(BrokenClipError):
        check_clip(path, 5)
    assert check_clip(clip_of("black"), 5, Checks.QUICK).warnings == ()


def test_all_say_the_same_of_a_whole_clip(clip_of: Clips) -> None:
    found = {check_clip(clip_of("push"), 5, checks).as_json().replace(f'"{checks}"', '""') for checks in Checks}
    assert len(found) == 1


@pytest.mark.parametrize("checks", Checks)
def test_another_length_than_was_bought(checks: Checks, clip_of: Clips) -> None:
    with pytest.raises(BrokenClipError, match=r"is 5\.04 s long, 10 s were bought"):
        check_clip(clip_of("black"), 10, checks)


@pytest.mark.parametrize("checks", Checks)
def test_a_cut_file_is_found_wherever_it_is_cut(checks: Checks, clip_of: Clips, tmp_path: Path) -> None:
    data = clip_of("black").read_bytes()
    for part in (0, 1, 7, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.mp4").write_bytes(data[:part])
        with pytest.raises(BrokenClipError):
            check_clip(tmp_path / "cut.mp4", 5, checks)


@pytest.mark.parametrize("checks", Checks)
def test_a_cut_file_is_found_behind_ever_so_many_boxes(checks: Checks, clip_of: Clips, tmp_path: Path) -> None:
    file = tmp_path / "many.mp4"
    file.write_bytes(clip_of("push").read_bytes() + 10_000 * struct.pack(">I4s", 8, b"free") + b"cut")
    with pytest.raises(BrokenClipError, match=r"more than 10,000 boxes: it is no clip of seconds"):
        check_clip(file, 5, checks)


# ---------------------------------------------------------------------- what is no clip at all


@pytest.mark.parametrize("checks", Checks)
def test_sound_without_a_picture(checks: Checks, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), format="fltp", layout="mono")
        frame.rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(BrokenClipError, match="holds no video"):
        check_clip(tmp_path / "a.mp4", 5, checks)


@pytest.mark.parametrize("checks", Checks)
def test_a_video_without_frames(checks: Checks, tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "v.mp4", FRAMES).read_bytes())
    at = data.index(b"stsz") + 12
    data[at : at + 4] = bytes(4)
    (tmp_path / "v.mp4").write_bytes(data)
    with pytest.raises(BrokenClipError, match=r"no frame|is 0\.\d\d s long"):
        check_clip(tmp_path / "v.mp4", 5, checks)


def test_a_codec_that_nobody_knows(clip_of: Clips, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(clip_of("black").read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(BrokenClipError, match="holds no video that can be decoded"):
        check_clip(tmp_path / "v.mp4", 5)
    with pytest.raises(BrokenClipError, match="holds no video that can be decoded"):
        first_frame(tmp_path / "v.mp4")


@pytest.mark.parametrize("checks", Checks)
def test_frames_of_an_absurd_size(checks: Checks, tmp_path: Path) -> None:
    write_video(tmp_path / "huge.mp4", 1, size=(4320, 4320))
    with pytest.raises(BrokenClipError, match="size 4320×4320 is not plausible"):
        check_clip(tmp_path / "huge.mp4", 5, checks)


def test_frames_that_grow_absurdly_behind_a_harmless_header(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "grows.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 24)
        for number in range(FRAMES - 1):
            container.mux(stream.encode(grey_frame((64, 48), number, 24)))
        container.mux(stream.encode())
        huge = av.CodecContext.create("libx264", "w")
        huge.width, huge.height, huge.pix_fmt, huge.time_base = 4320, 4320, "yuv420p", Fraction(1, 24)
        huge.options = {"preset": "ultrafast"}
        for packet in [*huge.encode(grey_frame((4320, 4320), FRAMES - 1, 24)), *huge.encode()]:
            packet.stream = stream
            container.mux(packet)
    with pytest.raises(BrokenClipError, match=r"cannot be decoded|of the 121 frames"):
        check_clip(tmp_path / "grows.mp4", 5)


def test_more_frames_than_any_clip_has(tmp_path: Path) -> None:
    write_video(tmp_path / "many.mp4", 1600, fps=320)
    with pytest.raises(BrokenClipError, match="more than 240 frames a second"):
        check_clip(tmp_path / "many.mp4", 5)


def test_an_endless_clip_is_not_decoded_to_its_end(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", 1200)
    data = bytearray((tmp_path / "long.mp4").read_bytes())
    at = data.index(b"mdhd") + 20  # the header may say what it likes
    data[at : at + 4] = struct.pack(">I", 5 * struct.unpack(">I", data[at - 4 : at])[0])
    (tmp_path / "long.mp4").write_bytes(data)
    with pytest.raises(BrokenClipError, match=r"is 5\.[89]\d s long, 5 s were bought"):
        check_clip(tmp_path / "long.mp4", 5)


def test_an_index_of_absurd_size(clip_of: Clips, tmp_path: Path) -> None:
    data = clip_of("black").read_bytes()
    with (tmp_path / "index.mp4").open("wb") as file:
        file.write(data[: data.index(b"moov") - 4] + struct.pack(">I4s", 20_000_000, b"moov"))
        file.truncate(file.tell() + 20_000_000)
    with pytest.raises(BrokenClipError, match="index of 20000000 bytes"):
        check_clip(tmp_path / "index.mp4", 5)


def test_whatever_is_garbled_it_is_a_broken_clip_or_a_whole_one(clip_of: Clips, tmp_path: Path) -> None:
    """Nothing else is raised, whichever bytes are changed: what escapes would end the run."""
    data, chance = clip_of("rim on black").read_bytes(), random.Random(5)
    broken = 0
    for _ in range(60):
        garbled = bytearray(data)
        for _ in range(chance.choice([1, 3, 40])):
            garbled[chance.randrange(len(data) if chance.random() < 0.5 else 3000)] = chance.randrange(256)
        (tmp_path / "g.mp4").write_bytes(garbled)
        for checks in (Checks.QUICK, Checks.FULL):
            try:
                check_clip(tmp_path / "g.mp4", 5, checks)
            except BrokenClipError:
                broken += 1
    assert broken > 20


def test_a_title_that_is_no_text_breaks_no_clip(tmp_path: Path) -> None:
    render(IMAGES[0], Wish(prompt="x"), tmp_path / "clip.mp4", area_px=64 * 64)
    data = (tmp_path / "clip.mp4").read_bytes()
    assert b"batchrun preview" in data
    (tmp_path / "clip.mp4").write_bytes(data.replace(b"batchrun preview", b"\xff" * 16))
    assert check_clip(tmp_path / "clip.mp4", 5).frames == FRAMES


# ---------------------------------------------------------------------- the poster


@pytest.mark.parametrize("checks", [Checks.FULL, Checks.QUICK])
def test_a_poster_is_a_small_webp_of_the_clip(checks: Checks, clip_of: Clips, tmp_path: Path) -> None:
    poster = tmp_path / "posters" / "shop" / "a.webp"
    check_clip(clip_of("push"), 5, checks, poster=poster)
    with Image.open(poster) as shown:
        assert (shown.format, shown.size) == ("WEBP", SIZE)
        pixels = np.asarray(shown.convert("RGB"), np.float32)
    middle = np.asarray(list(zoom(photo(), 0.1))[60 if checks is Checks.FULL else 48], np.float32)
    assert np.abs(pixels - middle).mean() < 6
    assert [path.name for path in poster.parent.iterdir()] == ["a.webp"]


def test_a_large_clip_has_a_poster_of_512_px(tmp_path: Path) -> None:
    write_video(tmp_path / "tall.mp4", 120, size=(720, 1280))
    check_clip(tmp_path / "tall.mp4", 5, poster=tmp_path / "p.webp")
    with Image.open(tmp_path / "p.webp") as shown:
        assert shown.size == (288, 512)


def test_the_poster_is_not_a_black_frame_where_there_is_another(clip_of: Clips, tmp_path: Path) -> None:
    for name, bright in (("black after two fifths", True), ("black", False)):
        check_clip(clip_of(name), 5, poster=tmp_path / "p.webp")
        with Image.open(tmp_path / "p.webp") as shown:
            assert bool(np.asarray(shown.convert("L")).max() > 200) is bright


def test_a_poster_that_cannot_be_written_fails_nothing(clip_of: Clips, tmp_path: Path) -> None:
    (tmp_path / "posters").write_text("a file where the folder should be")
    assert check_clip(clip_of("push"), 5, poster=tmp_path / "posters" / "shop" / "a.webp").frames == FRAMES
    (tmp_path / "a.webp").mkdir()
    assert check_clip(clip_of("push"), 5, poster=tmp_path / "a.webp").frames == FRAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "posters"]


def test_an_empty_poster_is_none(clip_of: Clips, tmp_path: Path) -> None:
    """It is not flushed, so a power cut may leave its name alone."""
    poster = tmp_path / "p.webp"
    assert not is_poster(poster)
    poster.touch()
    assert not is_poster(poster)
    check_clip(clip_of("push"), 5, poster=poster)
    assert is_poster(poster)


def test_a_broken_clip_leaves_the_older_poster_alone(clip_of: Clips, tmp_path: Path) -> None:
    (tmp_path / "p.webp").write_bytes(b"of the clip before")
    for checks, duration_s in ((Checks.FULL, 10), (Checks.STRICT, 5)):
        with pytest.raises(BrokenClipError):
            check_clip(clip_of("black"), duration_s, checks, poster=tmp_path / "p.webp")
    assert (tmp_path / "p.webp").read_bytes() == b"of the clip before"


def test_a_clip_that_is_left_before_its_end_is_let_go_of(clip_of: Clips) -> None:
    with opened_video(clip_of("still")) as (container, stream):
        watched = _Watched(container.demux(stream))
        next(frames_of(cast("Any", watched), stream))
    assert watched.is_closed


class _Watched:
    """A container whose packets do as PyAV's: nobody closes them for whoever does not."""

    def __init__(self, packets: Iterator[object]) -> None:
        self._packets = packets
        self.is_closed = False

    def demux(self, _: object) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        return next(self._packets)

    def close(self) -> None:
        self.is_closed = True


def test_facts_are_plain_json(clip_of: Clips) -> None:
    text = check_clip(clip_of("still"), 5).as_json()
    assert re.search(r'"codec": "h264", "checks": "full", "warnings": \["frozen"\]', text)
