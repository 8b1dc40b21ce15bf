"""A picture whose end is missing is refused before it is bought; a whole one never is, whatever follows its end."""

import io
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batchrun.errors import ManifestError
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.read import load_manifest

TEXT = "version: 1\njobs: [{image: pic.png, prompt: x}]\n"


def noise(seed: int = 0) -> Image.Image:
    return Image.effect_noise((400, 400), 90 + seed).convert("RGB")


def exif(thumbnail: bytes) -> bytes:
    """What cameras write: a whole small picture inside the header of the large one."""
    return b"Exif\0\0" + thumbnail


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    noise().save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def notes(chars: int) -> PngInfo:
    """What editors keep of a picture's history."""
    info = PngInfo()
    info.add_text("history", "layer " * (chars // 6), zip=True)
    return info


def small_picture() -> bytes:
    file = io.BytesIO()
    noise().resize((40, 40)).save(file, "JPEG")
    return file.getvalue()


WHOLE: dict[str, bytes] = {
    "jpeg": saved("JPEG"),
    "progressive": saved("JPEG", progressive=True, quality=95),
    "restarts": saved("JPEG", restart_marker_rows=1),
    "thumbnail": saved("JPEG", exif=exif(small_picture())),
    "comment": saved("JPEG", comment=b"\xff\xd9" * 10, icc_profile=b"\xff\xda\xff\xd9" * 100),
    "phone": saved("MPO", save_all=True, append_images=[noise(1)]),
    "png": saved("PNG"),
    "packed notes": saved("PNG", pnginfo=notes(2_000_000), icc_profile=b"\0" * 1_500_000),
    "interlaced text": saved("PNG", compress_level=0),
}


def judged(folder: Path, data: bytes) -> str:
    (folder / "pic.png").write_bytes(data)
    (folder / "shop.yaml").write_text(TEXT)
    try:
        load_manifest(folder / "shop.yaml")
    except ManifestError as error:
        (problem,) = error.problems
        return problem.message
    return "taken"


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"appended by a phone", b"\xff" * 7], ids=len)
def test_a_whole_picture_is_taken_whatever_follows_it(tmp_path: Path, kind: str, tail: bytes) -> None:
    assert judged(tmp_path, WHOLE[kind] + tail) == "taken"


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "phone"])
@pytest.mark.parametrize("left", [0.3, 0.6, 0.9, -1])
@pytest.mark.parametrize("tail", [b"", b"\0" * 9000], ids=len)
def test_a_picture_that_is_cut_is_refused(tmp_path: Path, kind: str, left: float, tail: bytes) -> None:
    data = WHOLE[kind]
    end = len(data) - 6 if left < 0 else int(len(data) * left)
    assert judged(tmp_path, data[:end] + tail) == "pic.png is cut off: its end is missing; copy it again"


def test_a_phones_first_picture_counts(tmp_path: Path) -> None:
    data = WHOLE["phone"]
    second = data.rindex(b"\xff\xd8\xff")
    assert judged(tmp_path, data[: second + 5000]) == "taken"  # the provider looks at the first as well
    assert judged(tmp_path, data[: second // 2]) == "pic.png is cut off: its end is missing; copy it again"


def test_what_is_remembered_is_not_looked_at_again(tmp_path: Path) -> None:
    assert judged(tmp_path, WHOLE["jpeg"]) == "taken"
    newest_ms = (tmp_path / "pic.png").stat().st_ctime_ns // 1_000_000
    cache = DigestCache(tmp_path / "digests.cache", lambda: newest_ms + 3_600_000)
    batch = load_manifest(tmp_path / "shop.yaml", cache=cache)
    assert load_manifest(tmp_path / "shop.yaml", cache=cache).jobs[0].picture == batch.jobs[0].picture


def test_a_picture_of_too_many_pixels_is_not_called_unreadable(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (20_000, 20_000)).save(file, "PNG")
    assert judged(tmp_path, file.getvalue()) == "pic.png has more than 178 million pixels; make it smaller"
