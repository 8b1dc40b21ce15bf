"""What simulations pay for the provider's side: the emulated API without a network."""

import json
import time

from batchrun.emulator.api import API, Api
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice
from batchrun.emulator.latency import Latency
from batchrun.emulator.world import MODEL, World
from tests.bench.answers import Answer, Line, Setting
from tests.clocks import StillClock
from tests.links import PlainLinks


def _answers_s(predictions: int) -> float:
    """Answers a second: a submit and a result each, a full page of the list each hundred."""
    clock = StillClock()
    world = World(clock, Latency(), Dice(), books=Books(10**12), seed=1)
    world.on_created = world.rendered
    api = Api(world, PlainLinks())
    begin = time.perf_counter()
    for number in range(predictions):
        inputs = {"prompt": "It turns", "image": f"https://x.example/{number}.png", "duration": 5}
        created = api.answer("POST", f"{API}/{MODEL}", {}, json.dumps(inputs).encode())
        task_id = json.loads(created.body)["data"]["id"]
        assert api.answer("GET", f"{API}/predictions/{task_id}/result", {}, b"").status == 200
        if number % 100 == 99:
            assert api.answer("POST", f"{API}/predictions", {}, b"{}").status == 200
        clock.advance(0.05)
    return predictions * 2.01 / (time.perf_counter() - begin)


def ask(setting: Setting) -> Answer:
    """One rate."""
    rate = _answers_s(2 * setting.sizes.rows)
    answer = Answer(figures={"answers_s": rate})
    answer.lines.append(Line("emulated API in process", f"{rate:,.0f} answers/s"))
    return answer
