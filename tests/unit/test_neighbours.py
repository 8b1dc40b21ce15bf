"""A picture that is not there: the message says what may have been meant, and no other picture is taken for it."""

from pathlib import Path

import pytest

from batchrun.errors import ManifestError
from batchrun.manifest import neighbours
from batchrun.manifest.neighbours import Neighbours
from batchrun.manifest.read import load_manifest
from tests.conftest import make_picture


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("pics/mug.jpg", "/pics/mug.jpg; there is 'Mug.JPG', written otherwise"),
        ("Pics/Mug.JPG", "/Pics/Mug.JPG; there is 'pics', written otherwise"),
        ("pics/für.png", "/pics/für.png; there is 'fu\u0308r.png' in other bytes"),
        (r"pics\Mug.JPG", "; write / between folders, not \\"),
        (
            "//cdn.shop.example/a.jpg",
            "there is no file //cdn.shop.example/a.jpg; for a picture on the web write https://",
        ),
        ("www.shop.example/a.jpg", "/www.shop.example/a.jpg; for a picture on the web write https://"),
        ("www.png", "/www.png"),
        ("pics/gone.jpg", "/pics/gone.jpg"),
        ("gone/gone.jpg", "/gone/gone.jpg"),
    ],
)
def test_what_may_have_been_meant_is_said(tmp_path: Path, image: str, said: str) -> None:
    for name in ("Mug.JPG", "fu\u0308r.png"):
        make_picture(tmp_path / "pics" / name)
    (tmp_path / "m.yaml").write_text(f"version: 1\njobs: [{{id: a, image: '{image}', prompt: It turns}}]\n", "utf-8")
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "m.yaml")
    (problem,) = caught.value.problems
    assert said in problem.message
    assert (";" in problem.message) == (";" in said)


def test_a_folder_is_listed_once_and_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_NAMES", 150)
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        for at in range(100):
            (tmp_path / folder / f"A{at}.png").touch()
    found = Neighbours()
    hints = {
        folder: [found.hint(tmp_path / folder / f"a{at}.png") for at in range(100)]
        for folder in ("one", "two", "three")
    }
    assert sorted(sum(map(bool, one)) for one in hints.values()) == [0, 50, 100]
    (tmp_path / "one" / "B.png").touch()
    assert found.hint(tmp_path / "one" / "b.png") == ""
