"""The preview's clips: no borders, no folds, frame 0 is the picture, and the file is what browsers and shops expect."""

import hashlib
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from batchrun.emulator.animate import camera, clip
from batchrun.emulator.animate.camera import Array, path_of
from batchrun.emulator.animate.depth import Scene, scene_of
from batchrun.emulator.animate.label import label_for
from batchrun.emulator.animate.picture import Planes, load, output_size, planes_of
from batchrun.emulator.animate.plan import Plan, UnreadablePictureError, Wish
from batchrun.emulator.animate.prompt import plan_of
from batchrun.emulator.animate.subject import find_subject
from batchrun.emulator.animate.vocabulary import vocabulary
from batchrun.emulator.animate.warp import FOCAL, Ground, calmed, kept_inside, look, pose_at
from batchrun.emulator.render import render

SMALL = 160 * 90
FORWARD = ["push in", "orbit right", "truck left", "pan right", "tilt down", "crane up", "roll left", "handheld",
           "dolly zoom", "turntable", "levitates", "crash zoom", "drift", "dramatic orbit, tilt up, zoom in",
           "zoom in then pan left", "static camera"]  # fmt: skip
BACKWARD = ["zoom out", "pull back", "pull back, orbit left"]
EFFECTS = ["steam", "fog", "rain", "snow", "sparkle", "light sweep", "flicker", "glow", "dust", "fade out"]


def product(size: tuple[int, int] = (320, 240), *, rough: bool = False) -> Image.Image:
    """A box on a ground that grows darker; or coloured noise."""
    width, height = size
    if rough:
        noise = np.random.default_rng(5).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    shades = np.linspace(200, 150, height, dtype=np.uint8)[:, None, None]
    image = Image.fromarray(np.repeat(np.repeat(shades, width, 1), 3, 2))
    draw = ImageDraw.Draw(image)
    box = (int(width * 0.35), int(height * 0.3), int(width * 0.65), int(height * 0.8))
    draw.rectangle(box, fill=(30, 90, 160))
    draw.rectangle((box[0] + 4, box[1] + 6, box[2] - 4, box[1] + 16), fill=(240, 220, 60))
    return image


def plan(prompt: str, duration_s: int = 5, guidance: float = 0.5) -> Plan:
    return plan_of(Wish(prompt=prompt, duration_s=duration_s, guidance=guidance))


def frames(image: Image.Image, chosen: Plan, area_px: int = SMALL) -> list[Array]:
    sized = image.resize(output_size(image.size, area_px), Image.Resampling.LANCZOS)
    return [one.copy() for one in clip.frames(sized, chosen)]


def psnr(one: Array, other: Array) -> float:
    error = np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


# ---------------------------------------------------------------- frame 0, and the last


@pytest.mark.parametrize("rough", [False, True])
@pytest.mark.parametrize("prompt", [*FORWARD, ", ".join(["orbit", *EFFECTS])])
def test_frame_0_is_the_picture(prompt: str, rough: bool) -> None:  # noqa: FBT001  # hypothesis names it
    image = product((160, 90), rough=rough)
    first = next(clip.frames(image, plan(prompt)))
    whole = np.empty_like(first)
    planes, own = Planes.within(whole), planes_of(image)
    for target, plane in ((planes.y, own.y), (planes.u, own.u), (planes.v, own.v)):
        target[:] = plane
    label = label_for(160, 90)
    if label is not None:
        label.burn(planes.y)
    assert np.abs(first.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("prompt", BACKWARD[:2])
def test_who_moves_back_ends_on_the_whole_picture(prompt: str) -> None:
    image = product((160, 90))
    shown = frames(image, plan(prompt))
    own = planes_of(image.resize(output_size(image.size, SMALL), Image.Resampling.LANCZOS))
    assert psnr(Planes.within(shown[-1]).y[:70], own.y[:70]) > 45
    assert psnr(Planes.within(shown[0]).y[:70], own.y[:70]) < 30


@pytest.mark.parametrize("prompt", [one for one in (*FORWARD, *BACKWARD) if one != "static camera"])
def test_every_move_is_seen(prompt: str) -> None:
    shown = frames(product(rough=True), plan(prompt))
    assert max(psnr(shown[0], one) for one in shown[50:52]) < 33


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_effect_is_seen_and_every_frame_is_legal(effect: str) -> None:
    shown = frames(product(), plan(f"static camera, {effect}"))
    still = frames(product(), plan("static camera"))
    changed = [np.abs(one.astype(int) - other).max() for one, other in zip(shown, still, strict=True)]
    assert changed[0] <= 1
    assert max(changed) > 12
    assert all(Planes.within(one).y.max() <= 236 for one in shown)


def test_a_fade_in_begins_in_black() -> None:
    shown = frames(product(), plan("static camera, fade in"))
    assert Planes.within(shown[0]).y[:60].max() <= 17
    assert psnr(shown[-1], frames(product(), plan("static camera"))[-1]) > 60


# ---------------------------------------------------------------- the camera


@pytest.mark.parametrize(
    ("prompt", "right", "down"),
    [
        ("truck right", 1, 0),
        ("truck left", -1, 0),
        ("pan right", 1, 0),
        ("pan left", -1, 0),
        ("tilt up", 0, -1),
        ("tilt down", 0, 1),
        ("crane up", 0, -1),
        ("crane down", 0, 1),
    ],
)
def test_the_camera_goes_where_it_is_sent(prompt: str, right: int, down: int) -> None:
    """Seen in the frames: what the camera goes to comes from that side."""
    image = product(rough=True)
    shown = frames(image, plan(prompt), 320 * 180)
    middle = [Planes.within(one).y[40:140, 70:170].astype(np.float32) for one in (shown[0], shown[35])]
    (moved_x, moved_y), _ = cv2.phaseCorrelate(*middle, cv2.createHanningWindow((100, 100), cv2.CV_32F))
    assert (np.sign(-moved_x) == right and abs(moved_x) > 1) or not right
    assert (np.sign(-moved_y) == down and abs(moved_y) > 1) or not down


def test_an_orbit_holds_the_middle_and_moves_the_ground() -> None:
    ground = Ground(320, 180, np.full((18, 32), 0.6, np.float32))
    near = replace(ground, depth=np.ones((18, 32), np.float32))
    pose = pose_at(path_of(plan("orbit right")), 120)
    zero = np.zeros((1, 1), np.float32)
    assert abs(near.source(pose, zero, zero)[0]) < 1e-4
    assert abs(ground.source(pose, zero, zero)[0]) > 0.02


def test_the_pace_is_soft_and_has_no_jerks() -> None:
    way = camera.ease(np.linspace(0, 1, 121))
    assert way[0] == 0
    assert way[-1] == pytest.approx(1)
    assert (np.diff(way) > 0).all()
    assert np.abs(np.diff(way, 2)).max() < 6e-4  # of the whole way, a frame
    for prompt in FORWARD:
        if prompt == "handheld":
            continue  # a hand does shake
        path = path_of(plan(prompt))
        for curve in (path.x, path.y, path.z, path.yaw, path.pitch, path.roll):
            assert curve[0] == pytest.approx(0)
            reach = np.ptp(curve)
            assert np.abs(np.diff(curve, 2)).max() <= 0.03 * reach + 1e-9, prompt


@pytest.mark.parametrize(("duration_s", "count"), [(5, 121), (10, 241)])
def test_the_number_of_frames_is_the_models(duration_s: int, count: int) -> None:
    assert camera.frame_count(duration_s) == count
    assert len(frames(product(), plan("orbit", duration_s), 64 * 64)) == count


@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(1, 3)),
    st.integers(0, 15),
)
def test_a_calmed_curve_is_never_below_its_own(needed: Array, reach: int) -> None:
    needed[0] = 1
    calm = calmed(needed, reach)
    assert calm[0] == 1
    assert (calm >= needed - 1e-9).all()
    assert calm.max() <= needed.max() + 1e-9


# ---------------------------------------------------------------- no borders, no folds

moves = st.lists(
    st.sampled_from(
        [f"{speed} {one}" for speed in ("", "very slow", "dramatic") for one in (*FORWARD, *BACKWARD, "roll right")]
    ),
    min_size=1,
    max_size=3,
).map(" then ".join)


def staged(prompt: str, guidance: float, size: tuple[int, int], seed: int) -> tuple[Ground, camera.Path]:
    """A picture of soft blots, with its depth, and the way of the camera through it."""
    blots = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    rgb = np.asarray(Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC))
    path = path_of(plan(prompt, guidance=guidance))
    ground = Ground(*size, scene_of(rgb, path, FOCAL).depth)
    return ground, kept_inside(ground, path, 0.0, (0.03 * (seed % 9), 0.4 + 0.03 * (seed % 18)))


sizes = st.sampled_from([(96, 54), (54, 96), (72, 72), (120, 48), (48, 120)])


@settings(max_examples=25, deadline=None)
@example("dramatic orbit, tilt up, zoom in then dramatic orbit, tilt up, zoom in", 1.0, (120, 48), 0)
@given(moves, st.floats(0, 1), sizes, st.integers(0, 99))
def test_no_frame_shows_what_lies_outside_or_folds(
    prompt: str, guidance: float, size: tuple[int, int], seed: int
) -> None:
    ground, path = staged(prompt, guidance, size, seed)
    for number in (0, 7, 30, 60, 61, 90, 113, 120):
        columns, rows = look(ground, pose_at(path, number)).luma
        assert columns.min() > -0.3
        assert columns.max() < size[0] - 0.7
        assert rows.min() > -0.3
        assert rows.max() < size[1] - 0.7
        (by_row_x, by_column_x), (by_row_y, by_column_y) = np.gradient(columns), np.gradient(rows)
        assert (by_column_x * by_row_y - by_row_x * by_column_y).min() > 0  # no part is shown twice


@settings(max_examples=20, deadline=None)
@given(moves, sizes, st.integers(0, 120), st.integers(0, 99))
def test_where_a_point_is_seen_is_the_reverse_of_what_a_pixel_shows(
    prompt: str, size: tuple[int, int], number: int, seed: int
) -> None:
    ground, path = staged(prompt, 0.5, size, seed)
    pose = pose_at(path, number)
    u, v = ground.grid
    back_u, back_v = ground.seen(pose, *ground.source(pose, u, v))
    assert np.abs((back_u - u) * ground.focal_px).max() < 0.6
    assert np.abs((back_v - v) * ground.focal_px).max() < 0.6


def test_an_even_ground_may_be_mirrored_a_little_instead_of_cropped() -> None:
    image = product()
    path = path_of(plan("truck right"))
    scene = scene_of(np.asarray(image), path, FOCAL)
    assert scene.subject is not None
    assert scene.subject.plain
    ground = Ground(*image.size, scene.depth)
    tight, loose = (kept_inside(ground, path, margin).zoom[-1] for margin in (0.0, 0.05))
    assert 1 < loose < tight - 0.05


def test_a_longer_lens_does_not_cut_the_subject_off() -> None:
    image = product()
    draw = ImageDraw.Draw(image)
    draw.rectangle((140, 12, 180, 150), fill=(30, 30, 30))  # a tall neck
    path = path_of(plan("truck right", duration_s=10))
    scene = scene_of(np.asarray(image), path, FOCAL)
    rows = scene.rows()
    assert rows is not None
    assert rows[0] < 0.08
    ground = Ground(*image.size, scene.depth)
    neck = np.array([[0.0]], np.float32), np.array([[(rows[0] - 0.5) * 240 / ground.focal_px]], np.float32)
    half = 120 / ground.focal_px
    loose, held = (kept_inside(ground, path, 0.0, given) for given in (None, rows))
    assert ground.seen(pose_at(loose, 240), *neck)[1] < -half
    assert ground.seen(pose_at(held, 240), *neck)[1] > -half
    assert np.abs(np.diff(held.lift, 2)).max() < 0.002


# ---------------------------------------------------------------- the subject


def test_the_subject_is_found_and_stands_in_front() -> None:
    image = product()
    scene = scene_of(np.asarray(image), path_of(plan("orbit")), FOCAL)
    assert scene.subject is not None
    truth = np.zeros((240, 320), bool)
    truth[72:193, 112:209] = True
    both, either = (scene.subject.mask & truth).sum(), (scene.subject.mask | truth).sum()
    assert both / either > 0.9
    assert scene.depth[120, 160] > scene.depth[120, 20] + 0.1
    x, y, width = scene.top()
    assert (round(x, 1), round(y, 1), round(width, 1)) == (0.5, 0.3, 0.3)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_an_empty_picture_has_no_subject(shade: int) -> None:
    assert find_subject(np.full((90, 160, 3), shade, np.uint8)) is None


def test_noise_has_no_subject_and_still_gets_a_depth() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    scene = scene_of(noise, path_of(plan("orbit")), FOCAL)
    assert scene.subject is None
    assert scene.depth[-1].mean() > scene.depth[0].mean()


def test_white_on_white_keeps_its_shape() -> None:
    """All faces of a pale box belong to it: one that stayed behind would shear."""
    pale = np.full((200, 300, 3), 250, np.uint8)
    pale[60:150, 100:160], pale[60:150, 160:200] = 240, 226
    subject = find_subject(pale)
    assert subject is not None
    assert subject.mask[70:140, 105:195].mean() > 0.95


def test_a_ring_is_filled() -> None:
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).ellipse((90, 40, 210, 160), outline="black", width=5)
    subject = find_subject(np.asarray(image))
    assert subject is not None
    assert subject.mask[100, 150]


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1920, 1080), (1280, 720)),
        ((1000, 1000), (960, 960)),
        ((720, 1280), (720, 1280)),
        ((2500, 1000), (1518, 608)),
        ((300, 300), (960, 960)),
    ],
)
def test_the_clip_has_the_pictures_aspect_on_the_models_area(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert output_size(size, 1280 * 720) == wanted


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([64 * 64, 320 * 180, 1280 * 720]))
def test_any_picture_gets_even_sides(width: int, height: int, area_px: int) -> None:
    sides = output_size((width, height), area_px)
    assert all(side >= 2 and side % 2 == 0 for side in sides)


def test_a_turned_photo_stands_upright(tmp_path: Path) -> None:
    image = product((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    shown = load(tmp_path / "turned.jpg", SMALL)
    assert shown.size == output_size((400, 300), SMALL)
    assert psnr(np.asarray(shown), np.asarray(image.resize(shown.size, Image.Resampling.LANCZOS))) > 30


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = product().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    image.save(tmp_path / "clear.png")
    assert np.asarray(load(tmp_path / "clear.png", SMALL)).min() == 255


def test_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    grey = np.asarray(product().convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    shown = np.asarray(load(tmp_path / "deep.png", 320 * 240))
    assert abs(shown.mean() - grey.mean()) < 2


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "RGBA"])
def test_any_mode_is_taken(mode: str, tmp_path: Path) -> None:
    name = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    product().convert(mode).save(name)
    assert load(name, SMALL).mode == "RGB"


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    product().save(tmp_path / "whole.jpg")
    cases = {"text": b"hello", "empty": b"", "cut": (tmp_path / "whole.jpg").read_bytes()[:600]}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadablePictureError):
            load(tmp_path / name, SMALL)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (7, 5)])
@pytest.mark.parametrize("prompt", ["dramatic orbit, " + ", ".join(EFFECTS), "pull back then tilt up, steam, snow"])
def test_the_smallest_pictures_are_rendered_too(size: tuple[int, int], prompt: str) -> None:
    image = product(size, rough=True).resize(output_size(size, 24 * 24))
    assert len(list(islice(clip.frames(image, plan(prompt)), 30))) == 30


def test_colours_are_those_of_the_picture() -> None:
    """Flat colours, through the planes and back as a player does by BT.709."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 240, 230), (90, 60, 30), (0, 0, 0), (255, 255, 255)]
    for colour in colours:
        planes = planes_of(Image.new("RGB", (16, 16), colour))
        y, u, v = (float(plane.mean()) for plane in (planes.y, planes.u, planes.v))
        light, blue, red = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
        shown = (light + 1.5748 * red, light - 0.1873 * blue - 0.4681 * red, light + 1.8556 * blue)
        assert np.abs(np.array(shown) - colour).max() < 2.5


# ---------------------------------------------------------------- the file


def boxes(path: Path) -> Iterator[bytes]:
    data, at = path.read_bytes(), 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name
        at += size


def test_the_file_is_as_browsers_like_it(tmp_path: Path) -> None:
    product().save(tmp_path / "a.png")
    said = render(tmp_path / "a.png", Wish(prompt="orbit, water is poured"), tmp_path / "a.mp4", SMALL)
    assert said == ("liquids do not flow (poured)",)
    names = list(boxes(tmp_path / "a.mp4"))
    assert names.index(b"moov") < names.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["title"] == "batchrun preview"
        assert "Shown: orbit left. Not shown: liquids do not flow (poured)." in container.metadata["comment"]
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert (context.width, context.height) == output_size((320, 240), SMALL)
        assert (stream.average_rate, len(container.streams)) == (24, 1)
        decoded = list(container.decode(video=0))
    assert len(decoded) == 121
    assert sum(frame.key_frame for frame in decoded) == 3
    tags = {(one.colorspace, one.color_range, one.color_primaries, one.color_trc) for one in decoded}
    assert tags == {(1, 1, 1, 1)}
    first = decoded[0].to_ndarray(format="yuv420p")
    own = planes_of(load(tmp_path / "a.png", SMALL))
    rows = slice(0, len(own.y) * 3 // 4)  # above the label
    assert psnr(first[rows], own.y[rows]) > 42


def digest(image: Image.Image, chosen: Plan) -> str:
    some = islice(clip.frames(image.resize((80, 60)), chosen), 40)
    return hashlib.sha256(b"".join(one.tobytes() for one in some)).hexdigest()


def test_the_same_wish_gives_the_same_frames_in_any_thread() -> None:
    """The frames, not the bytes of the file: x264 does not promise those."""
    chosen = plan("handheld orbit, " + ", ".join(EFFECTS))
    with ThreadPoolExecutor(2) as threads:
        digests = list(threads.map(lambda _: digest(product(), chosen), range(3)))
    assert len({*digests, digest(product(), chosen)}) == 1
    assert digest(product(), replace(chosen, seed=chosen.seed + 1)) not in digests


@pytest.mark.parametrize(
    "size", [(1280, 720), (960, 960), (720, 1280), (1518, 608), (606, 1518), (320, 180), (152, 380)]
)
def test_every_clip_that_people_see_is_marked(size: tuple[int, int]) -> None:
    label = label_for(*size)
    assert label is not None
    assert label.columns.stop <= 7 / 16 * size[0]
    assert label.rows.start >= 7 / 8 * size[1]


def test_the_heavy_libraries_are_loaded_with_the_first_clip() -> None:
    code = "import sys, batchrun.emulator.server; print([one for one in ('cv2', 'av') if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_of_moves_knows_only_curves_and_paces_that_there_are() -> None:
    for family in vocabulary().families.values():
        some = Plan(moves=(), effects=(), understood=(), not_shown=(), seed=0, duration_s=5)
        assert {name for name, _ in family.curves} <= {"zoom", "x", "y", "z", "yaw", "pitch", "roll"}
        assert family.pace in ("ease", "snap", "rock", "bob", "noise")
        assert len(path_of(some)) == 121
        assert family.default in (*family.directions, "any", "in")


def test_a_scene_without_a_subject_has_a_place_for_steam() -> None:
    assert Scene(depth=np.ones((9, 16), np.float32), subject=None).top() == (0.5, 0.45, 0.3)
