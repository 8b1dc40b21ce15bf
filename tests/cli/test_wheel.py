"""What `pip install` brings is the whole package: built as a wheel, unpacked elsewhere, and used there."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import make_picture

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return folder / built.stdout.splitlines()[-1]


def test_it_carries_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        carried = {name for name in file.namelist() if ".dist-info/" not in name}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "batchrun").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert carried == package
    kinds = {Path(name).suffix for name in carried}
    assert {".py", ".sql", ".yaml", ".html", ".css", ".js", ".typed"} <= kinds


def test_the_source_archive_carries_what_the_readme_shows(tmp_path: Path) -> None:
    build = BUILD.replace("wheel", "sdist")
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with tarfile.open(tmp_path / built.stdout.splitlines()[-1]) as file:
        carried = {name.partition("/")[2] for name in file.getnames()}
    shown = set(re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8")))
    assert shown
    assert not shown - carried


def test_it_works_where_the_sources_are_not(wheel: Path, tmp_path: Path) -> None:
    library, shop = tmp_path / "library", tmp_path / "shop"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(library)  # noqa: S202  # our own wheel, built above
    make_picture(shop / "pics" / "vase.png", 3)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=shop, env=os.environ | {"PYTHONPATH": str(library)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = run("-c", "import batchrun; print(batchrun.__file__)").strip()
    assert Path(place).is_relative_to(library)
    assert "pics.yaml" in run("-m", "batchrun", "init", "pics")
    assert "pics: 1 job: 1 done" in run("-m", "batchrun", "pics.yaml", "--preview", "-q")
    page = shop / run("-m", "batchrun", "report", "pics.yaml", "--preview").strip()
    assert "<style>" in page.read_text("utf-8")
    assert "Rehearsal of 1 job" in run(
        "-m", "batchrun", "pics.yaml", "--preview", "--no-render", "--speed", "1000", "-q"
    )
