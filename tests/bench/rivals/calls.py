"""The requests of one job through aiohttp, with nothing around them: for the floor and for the durable engine."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from batchrun.run.polling import Latency, next_check_s
from tests.bench.rivals.terms import KEY, MODEL, Told, inputs_of

_SIGMA = 0.42
_AUTH = {"Authorization": f"Bearer {KEY}"}
_STUCK_S = 3600.0


class Calls:
    """One session."""

    def __init__(self, told: Told, session: aiohttp.ClientSession) -> None:
        self._told = told
        self._api = f"{told.url}/api/v3"
        self._session = session
        # What batchrun has to learn first: how long clips take.
        self._latency = Latency(told.median_s, _SIGMA) if told.median_s else Latency(1.0, _SIGMA, is_learnt=False)

    async def upload(self, picture: Path) -> str:
        """The picture's address at the provider."""
        data = picture.read_bytes()
        asked = {"filename": picture.name, "size": len(data), "content_type": "image/png"}
        ticket = await self._asked("POST", f"{self._api}/media/uploads", asked)
        place = ticket["upload"]
        async with self._session.put(place["url"], data=data, headers=place["headers"]) as answer:
            answer.raise_for_status()
        return str(ticket["download_url"])

    async def submit(self, prompt: str, image_url: str) -> str:
        """The prediction's id."""
        return str((await self._asked("POST", f"{self._api}/{MODEL}", inputs_of(prompt, image_url)))["id"])

    async def ended(self, prediction_id: str) -> str:
        """The clip's address, by the same schedule of checks as batchrun's."""
        begin_s = asyncio.get_running_loop().time()
        while True:
            age_s = asyncio.get_running_loop().time() - begin_s
            await asyncio.sleep(next_check_s(age_s, self._latency, self._told.poll_s, _STUCK_S))
            found = await self._asked("GET", f"{self._api}/predictions/{prediction_id}/result")
            if found["status"] == "completed":
                return str(found["outputs"][0])

    async def download(self, url: str, target: Path) -> None:
        """The clip into its file."""
        async with self._session.get(url) as answer:
            answer.raise_for_status()
            with target.open("wb") as file:
                async for piece in answer.content.iter_any():
                    file.write(piece)

    async def _asked(self, method: str, url: str, body: object = None) -> dict[str, Any]:
        async with self._session.request(method, url, json=body, headers=_AUTH) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = (await answer.json())["data"]
            return found
