"""The floor: a bare aiohttp loop that keeps nothing, limits nothing and checks nothing. The same requests, the same slots."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from tests.bench.rivals.calls import Calls
from tests.bench.rivals.terms import Told, told
from tests.bench.shop import rows


async def main(mine: Told) -> None:
    """Every job, as many at once as there are slots."""
    left = rows(mine.table)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        calls = Calls(mine, session)
        async with asyncio.TaskGroup() as group:
            for _ in range(mine.slots):
                group.create_task(_slot(mine, calls, left))


async def _slot(mine: Told, calls: Calls, left: Iterator[tuple[str, Path, str]]) -> None:
    for name, picture, prompt in left:
        prediction_id = await calls.submit(prompt, await calls.upload(picture))
        await calls.download(await calls.ended(prediction_id), mine.clips / f"{name}.mp4")


if __name__ == "__main__":
    asyncio.run(main(told()))
