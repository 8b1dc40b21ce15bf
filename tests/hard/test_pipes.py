"""A pipe or a device under a name that a person controls: opening it must never wait for somebody who writes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchrun.manifest.digests import DigestCache
from batchrun.report.page import is_ours
from batchrun.run.events import Kind
from batchrun.run.stop import Stop
from batchrun.video.download import sha256_of
from batchrun.video.looks import NoLookError, look_of_picture
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.run.test_session import code_of, counts

pytestmark = pytest.mark.timeout(20)


async def test_a_picture_that_is_a_pipe_by_now(shop: Shop) -> None:
    """Its clip is paid for and comes; only whether it begins with the picture cannot be seen."""
    shop.add("a")
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: stop.ask() or stop.ask()
    picture = shop.folder / "pics" / "a.png"
    async with emulated() as emulator:
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        picture.unlink()
        os.mkfifo(picture)
        result = await run_shop(shop, emulator, no_new=True)
        assert (counts(result)["done"], code_of(result)) == (1, 0)


async def test_an_output_that_is_a_pipe_is_occupied(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("job-00").unlink()
        os.mkfifo(shop.output("job-00"))
        shop.manifest.write_text(shop.manifest.read_text().replace("It turns", "It jumps"))
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"done": 1, "failed": 1, "total": 2}, 4)


def refused(path: Path) -> bool:
    with pytest.raises(OSError, match="not a regular file"):
        sha256_of(path)
    return True


def not_looked_at(path: Path) -> bool:
    with pytest.raises(NoLookError):
        look_of_picture(path)
    return True


@pytest.mark.parametrize(
    "reads",
    [refused, not_looked_at, lambda path: not is_ours(path), lambda path: DigestCache(path, lambda: 0) is not None],
    ids=["digest", "look", "page", "cache"],
)
@pytest.mark.parametrize("device", [None, Path("/dev/zero")], ids=["pipe", "device"])
def test_nothing_waits_for_a_pipe(tmp_path: Path, reads: Callable[[Path], bool], device: Path | None) -> None:
    path = tmp_path / "pipe"
    if device is None:
        os.mkfifo(path)
    else:
        path.symlink_to(device)
    assert reads(path)
