"""Pictures of a made-up shop, their look-alikes, and what a provider may do to a picture on its way to a first frame."""

import colorsys
import io
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

IMAGES = Path(__file__).parents[2] / "jobs" / "images"
SIDE = 128
Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
PHOTO_KINDS = ("turn", "label", "flip")
KINDS = (*PHOTO_KINDS, "colour", "lightness", "lid")
"""How one article of a line differs from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is drawn: a body of stacked parts on a ground, with a label on it."""

    seed: int
    hue: float
    lightness: float
    saturation: float
    ground: str
    """white, plain, shaded or photo."""
    label: int
    """Seed of the print on it."""
    turn: float = 0.0
    """Degrees."""
    flipped: bool = False
    lid: int = 0
    """Seed of the cap or lid."""


def product(seed: int) -> Product:
    dice = random.Random(seed)
    return Product(
        seed=seed, hue=dice.random(), lightness=dice.uniform(0.2, 0.75), saturation=dice.uniform(0.25, 0.9),
        ground=dice.choices(["white", "plain", "shaded", "photo"], [5, 1, 2, 2])[0], label=dice.randrange(10**6),
        lid=dice.randrange(10**6),
    )  # fmt: skip


def look_alikes(one: Product, count: int, dice: random.Random) -> list[Product]:
    """Other articles of the same line, each another in another way: no two of them have the same picture."""
    # A photograph has no parts that could be coloured
    kinds = PHOTO_KINDS if one.ground == "photo" else KINDS
    return [_look_alike(one, kind, dice) for kind in dice.sample(kinds, count)]


def _look_alike(one: Product, kind: str, dice: random.Random) -> Product:
    if kind == "colour":
        return replace(one, hue=(one.hue + dice.uniform(0.12, 0.88)) % 1, saturation=max(0.45, one.saturation))
    if kind == "lightness":
        return replace(one, lightness=one.lightness + (0.25 if one.lightness < 0.5 else -0.25))
    if kind == "label":
        return replace(one, label=dice.randrange(10**6))
    if kind == "lid":
        return replace(one, lid=dice.randrange(10**6))
    if kind == "turn":
        return replace(one, turn=one.turn + dice.choice([-1, 1]) * dice.uniform(8, 25))
    return replace(one, flipped=not one.flipped)


def near_duplicate(picture: Image.Image, dice: random.Random) -> Image.Image:
    """The same photograph, cropped by up to 6 % and tinted a little: what a shop has twice without knowing it."""
    width, height = picture.size
    x, y = _crop(dice, 0.06), _crop(dice, 0.06)
    cut = picture.resize(
        picture.size, Image.Resampling.BICUBIC, box=(x[0] * width, y[0] * height, x[1] * width, y[1] * height)
    )
    tint = np.array([dice.uniform(-4, 4) for _ in range(3)])
    return Image.fromarray(np.clip(np.asarray(cut, np.float64) + tint, 0, 255).astype(np.uint8))


def draw(one: Product) -> Image.Image:
    """The picture of a product: a square of SIDE pixels."""
    if one.ground == "photo":
        picture = _scene(one)
    else:
        picture = _ground(one)
        body, mask = _body(one)
        shadow = mask.filter(ImageFilter.GaussianBlur(6)).point(lambda value: value // 4)
        picture.paste((90, 90, 95), (3, 5), shadow)
        picture.paste(body, (0, 0), mask)
    if one.flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture


@cache
def _photo(number: int) -> Image.Image:
    with Image.open(sorted(IMAGES.glob("*.jpg"))[number % 7]) as opened:
        return opened.convert("RGB").resize((4 * SIDE, 4 * SIDE), Image.Resampling.BOX)


def _scene(one: Product) -> Image.Image:
    """A part of a real picture, turned a little, with a small mark of the product on it."""
    dice = random.Random(one.seed)
    photo = _photo(dice.randrange(7))
    side = dice.randint(2 * SIDE, 4 * SIDE)
    left, top = dice.randint(0, 4 * SIDE - side), dice.randint(0, 4 * SIDE - side)
    scene = photo.crop((left, top, left + side, top + side)).rotate(one.turn, Image.Resampling.BILINEAR)
    scene = scene.resize((SIDE, SIDE), Image.Resampling.BOX)
    _print(ImageDraw.Draw(scene), one.label, (52, 58, 90, 92))
    return scene


def _ground(one: Product) -> Image.Image:
    dice = random.Random(one.seed + 1)
    if one.ground == "white":
        return Image.new("RGB", (SIDE, SIDE), (dice.randint(246, 255),) * 3)
    first, second = (_rgb(dice.random(), dice.uniform(0.5, 0.9), dice.uniform(0.1, 0.4)) for _ in range(2))
    if one.ground == "plain":
        return Image.new("RGB", (SIDE, SIDE), first)
    way = np.linspace(0, 1, SIDE)[:, None, None]
    shades = np.broadcast_to((1 - way) * np.array(first) + way * np.array(second), (SIDE, SIDE, 3))
    return Image.fromarray(shades.astype(np.uint8))


def _body(one: Product) -> tuple[Image.Image, Image.Image]:
    dice = random.Random(one.seed + 2)
    body, mask = Image.new("RGB", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
    drawn, shape = ImageDraw.Draw(body), ImageDraw.Draw(mask)
    width, height = dice.randint(22, 44), dice.randint(24, 40)
    middle = SIDE // 2 + dice.randint(-6, 6)
    box = (middle - width, 70 - height, middle + width, 70 + height)
    colour = _rgb(one.hue, one.lightness, one.saturation)
    form = dice.choice(["round", "box", "soft"])
    for where, fill in ((drawn, colour), (shape, 255)):
        if form == "round":
            where.ellipse(box, fill=fill)
        elif form == "box":
            where.rectangle(box, fill=fill)
        else:
            where.rounded_rectangle(box, radius=dice.randint(6, 14), fill=fill)
    cap = random.Random(one.lid)
    wide, high = cap.randint(6, width), cap.randint(6, 22)
    top = (middle - wide, 72 - height - high, middle + wide, 74 - height)
    drawn.rectangle(top, fill=_rgb(cap.random(), cap.uniform(0.1, 0.8), cap.uniform(0, 0.7)))
    shape.rectangle(top, fill=255)
    _print(drawn, one.label, (middle - width // 2, 60, middle + width // 2, 60 + height // 2))
    light = (1.15 - 0.45 * np.abs(np.linspace(-0.7, 1, SIDE)))[None, :, None]
    body = Image.fromarray(np.clip(np.asarray(body) * light, 0, 255).astype(np.uint8))
    turned = [image.rotate(one.turn, Image.Resampling.BILINEAR, center=(middle, 70)) for image in (body, mask)]
    return turned[0], turned[1]


def _print(drawn: ImageDraw.ImageDraw, label: int, box: tuple[int, int, int, int]) -> None:
    """A print of a few stripes and dots on a patch."""
    dice = random.Random(label)
    left, top, right, bottom = box
    drawn.rectangle(box, fill=_rgb(dice.random(), dice.uniform(0.1, 0.9), dice.uniform(0, 0.8)))
    for _ in range(dice.randint(1, 3)):
        x, y = dice.randint(left, right), dice.randint(top, bottom)
        colour = _rgb(dice.random(), dice.uniform(0.1, 0.9), dice.uniform(0.2, 0.9))
        drawn.rectangle((left, y, x, min(bottom, y + 4)), fill=colour)


def _rgb(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, min(1, max(0, lightness)), min(1, max(0, saturation)))
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True, slots=True)
class Treatment:
    """How strongly a provider changes pictures, 0 (hardly) to 1: at 1 crops of 15 %, colours off by 8 levels."""

    strength: float


def treated(picture: Image.Image, how: Treatment, dice: random.Random) -> Image.Image:
    """A first frame: cropped, scaled, tinted, brighter or darker, noisy, compressed."""
    s = how.strength
    width, height = picture.size
    boxes = [_crop(dice, 0.15 * s) for _ in range(2)]
    box = (boxes[0][0] * width, boxes[1][0] * height, boxes[0][1] * width, boxes[1][1] * height)
    side = dice.choice([96, 112, 128, 160])
    frame = picture.resize((side, side), dice.choice([Image.Resampling.BICUBIC, Image.Resampling.BILINEAR]), box=box)
    gain = 1 + dice.uniform(-0.08, 0.08) * s
    tint = np.array([dice.uniform(-6, 6) * s for _ in range(3)], np.float32) + dice.uniform(-8, 8) * s
    noise = 5 * s * np.random.default_rng(dice.randrange(2**32)).standard_normal((side, side, 3), np.float32)
    values = (np.asarray(frame, np.float32) - 128) * gain + 128 + tint + noise
    packed = io.BytesIO()
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(packed, "JPEG", quality=int(92 - 55 * s))
    with Image.open(packed) as opened:
        return opened.convert("RGB")


def _crop(dice: random.Random, most: float) -> tuple[float, float]:
    """Where a cropped frame starts and ends: about the middle, as an aspect change does it."""
    lost = dice.uniform(0, most)
    share = dice.uniform(0.4, 0.6)
    return lost * share, 1 - lost * (1 - share)


def thumbnail(picture: Image.Image, side: int) -> Pixels:
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), np.uint8)
