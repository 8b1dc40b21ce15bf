"""The vendor's official SDK in a pool of threads, one a slot, at its own pace of checks: each second, scaled as the latencies."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import requests
from wavespeed import Client

from tests.bench.rivals.terms import KEY, MODEL, Told, inputs_of, told
from tests.bench.shop import rows

_POLL_PART = 1.0 / 5.0
"""The SDK's default of 1 s beside batchrun's 5 s."""


def main(mine: Told) -> None:
    """Every job."""
    client = Client(api_key=KEY, base_url=mine.url)
    with ThreadPoolExecutor(mine.slots) as threads:
        for _ in threads.map(partial(_carry, mine, client), rows(mine.table)):
            pass


def _carry(mine: Told, client: Client, job: tuple[str, Path, str]) -> None:
    name, picture, prompt = job
    inputs = inputs_of(prompt, client.upload(str(picture)))
    url = client.run(MODEL, inputs, poll_interval=mine.poll_s * _POLL_PART)["outputs"][0]
    with requests.get(url, stream=True, timeout=60) as answer, (mine.clips / f"{name}.mp4").open("wb") as file:
        answer.raise_for_status()
        for piece in answer.iter_content(1 << 16):
            file.write(piece)


if __name__ == "__main__":
    main(told())
