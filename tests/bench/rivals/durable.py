"""A durable engine, DBOS on SQLite as it comes: a workflow a job, a step each for upload, submit, checks and download.

As cheap as its pages allow: async steps on one loop, workflows called from the slots instead of through its queues.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from dbos import DBOS, SetWorkflowID

from tests.bench.rivals.calls import Calls
from tests.bench.rivals.terms import Told, told
from tests.bench.shop import rows

_calls: Calls


@DBOS.step()
async def upload(picture: str) -> str:
    return await _calls.upload(Path(picture))


@DBOS.step()
async def submit(prompt: str, image_url: str) -> str:
    return await _calls.submit(prompt, image_url)


@DBOS.step()
async def poll(prediction_id: str) -> str:
    return await _calls.ended(prediction_id)


@DBOS.step()
async def download(url: str, target: str) -> None:
    await _calls.download(url, Path(target))


@DBOS.workflow()
async def carry(picture: str, prompt: str, target: str) -> None:
    url = await poll(await submit(prompt, await upload(picture)))
    await download(url, target)


async def main(mine: Told) -> None:
    """Every job, as many at once as there are slots."""
    global _calls  # noqa: PLW0603  # its steps are functions of a module
    left = rows(mine.table)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        _calls = Calls(mine, session)
        async with asyncio.TaskGroup() as group:
            for _ in range(mine.slots):
                group.create_task(_slot(mine, left))


async def _slot(mine: Told, left: Iterator[tuple[str, Path, str]]) -> None:
    for name, picture, prompt in left:
        with SetWorkflowID(name):
            await carry(str(picture), prompt, str(mine.clips / f"{name}.mp4"))


if __name__ == "__main__":
    work = told()
    database = work.clips / "dbos.sqlite"
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{database}", "log_level": "ERROR"})
    DBOS.launch()
    try:
        asyncio.run(main(work))
    finally:
        DBOS.destroy()
