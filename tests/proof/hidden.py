"""Many made-up queues whose provider hides what predictions were made from: is a stranger's clip ever adopted?

    python -m tests.proof hidden --cases 100000 --seed 1

A case is a moment of a queue: its pictures, some submits of unknown outcome of which some have arrived, and a list of
predictions between which strangers stand. Look-alikes are other articles of the same line: of another colour or
lightness, with another label or lid, turned by 8 degrees and more, mirrored. Left out, because no frame can tell it:
strangers made from the very same picture, or from the same photograph in another crop or tint, when that picture is not
in the queue; when it is, it is in the cases.
"""

import argparse
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from PIL import Image

from batchrun.run.frames import Candidate, Threshold, Wanted, learn, match
from batchrun.video.likeness import FRAME_SIDE, SIDE
from batchrun.video.looks import Look
from tests.proof.shop import Treatment, draw, look_alikes, near_duplicate, product, thumbnail, treated

STRENGTHS = ((0.0, 0.2), (0.2, 0.6), (0.6, 1.0))
"""How strongly a queue's provider changes pictures: each queue has one of them."""
CHUNK = 1000
"""Cases that share a shop. A chunk depends on its number and the seed alone, whatever runs beside it."""
KINDS = ("distinct", "resembling")
ARTICLES = 56
ALIKES = 2
PAIRS = 22
MOMENTS = 10
"""Cases of one queue: its threshold is learnt once."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture, and frames that a provider made from it."""

    name: str
    look: Look
    frames: tuple[Look, ...]
    """One a strength."""


@dataclass(frozen=True, slots=True)
class Article:
    """A picture with others that resemble it."""

    shot: Shot
    near: Shot
    """The same photograph, cropped and tinted a little differently."""
    alikes: tuple[Shot, ...]


@dataclass(slots=True)
class Case:
    """What the caller of `match` knows, and what is true."""

    wanted: list[Wanted] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    others: dict[str, Look] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)


def article(dice: random.Random) -> Article:
    one = product(dice.randrange(10**9))
    picture = draw(one)
    alikes = tuple(_shot(draw(alike), dice) for alike in look_alikes(one, ALIKES, dice))
    return Article(_shot(picture, dice), _shot(near_duplicate(picture, dice), dice), alikes)


def _shot(picture: Image.Image, dice: random.Random) -> Shot:
    frames = [treated(picture, Treatment(dice.uniform(*strength)), dice) for strength in STRENGTHS]
    return Shot(
        f"{dice.getrandbits(64):016x}",
        Look(thumbnail(picture, SIDE).tobytes()),
        tuple(Look(thumbnail(frame, FRAME_SIDE).tobytes()) for frame in frames),
    )


def run_chunk(seed: int, number: int, cases: int) -> Counter[str]:
    """What became of the cases of one chunk."""
    dice = random.Random(f"{seed}/{number}")
    shop = [article(dice) for _ in range(ARTICLES)]
    counts: Counter[str] = Counter()
    for start in range(0, cases, MOMENTS):
        counts += _run_queue(shop, min(MOMENTS, cases - start), dice)
    if counts["wrongly, all"]:
        counts[f"wrong in chunk {number}"] = counts["wrongly, all"]
    return counts


def _run_queue(shop: list[Article], moments: int, dice: random.Random) -> Counter[str]:
    strength = dice.randrange(len(STRENGTHS))
    mixed = dice.sample(shop, len(shop))
    known, rest = mixed[:PAIRS], mixed[PAIRS:]
    plain = dice.random() < 2 / 3
    pairs = [(one.shot.look, one.shot.frames[strength]) for one in known]
    if not plain and dice.random() < 0.25:  # the queue has made clips of resembling pictures before
        other = dice.choice([known[0].near, known[0].alikes[0]])
        pairs.append((other.look, other.frames[strength]))
    threshold = learn(pairs)
    kind = KINDS[0] if plain else KINDS[1]
    counts = Counter({f"queues {kind}": 1, f"queues {kind} taught": threshold is not None})
    for _ in range(moments):
        case = _case(dice.sample(rest, 10), known, strength, dice, resembling=not plain)
        counts += _judge(case, threshold, f"{kind} {strength}")
    return counts


def _case(
    articles: list[Article], known: list[Article], strength: int, dice: random.Random, *, resembling: bool
) -> Case:
    case = Case()
    ours, strange = articles[:7], articles[7:]
    lost = ours[: dice.randint(1, 3)]
    for one in (*ours, *dice.sample(known, 4)):
        case.others[one.shot.name] = one.shot.look
    for one in lost:
        _lose(case, one.shot, strength, dice)
    if resembling:
        _add_resembling(case, lost[0], strength, dice)
    for _ in range(dice.randint(0, 3)):
        one = dice.choice(lost)
        shot = dice.choice([*one.alikes, dice.choice(strange).shot, dice.choice(ours[3:]).shot])
        if all(shot.name != wanted.picture_sha256 for wanted in case.wanted):
            _list(case, shot, strength, dice.choice([5, 10]), dice)
    for wanted in case.wanted:
        case.others.pop(wanted.picture_sha256, None)
    dice.shuffle(case.candidates)
    return case


def _add_resembling(case: Case, one: Article, strength: int, dice: random.Random) -> None:
    """The queue also holds a picture like a lost one, known or lost itself, or asks for it twice."""
    kind = dice.choice(["same", "same twice", "near", "near lost", "near made", "alike", "alike lost", "alike made"])
    if kind == "same":
        _lose(case, one.shot, strength, dice)
    elif kind == "same twice":  # under another prompt, which was answered long ago
        case.wanted[0] = replace(case.wanted[0], is_ambiguous=True)
    else:
        shot = one.near if kind.startswith("near") else dice.choice(one.alikes)
        case.others[shot.name] = shot.look
        if kind.endswith("lost"):
            _lose(case, shot, strength, dice)
        elif kind.endswith("made"):
            _list(case, shot, strength, case.wanted[0].duration_s, dice)


def _lose(case: Case, shot: Shot, strength: int, dice: random.Random) -> None:
    attempt_id, duration_s = f"a{len(case.wanted)}", dice.choice([5, 5, 10])
    case.wanted.append(
        Wanted(
            attempt_id=attempt_id, picture=shot.look, picture_sha256=shot.name, duration_s=duration_s,
            is_ambiguous=False,
        )
    )  # fmt: skip
    if dice.random() < 0.6:
        case.truth[attempt_id] = _list(case, shot, strength, duration_s, dice)


def _list(case: Case, shot: Shot, strength: int, duration_s: int, dice: random.Random) -> str:
    prediction_id = f"p{dice.getrandbits(64):016x}"
    case.candidates.append(Candidate(prediction_id=prediction_id, frame=shot.frames[strength], duration_s=duration_s))
    return prediction_id


def _judge(case: Case, threshold: Threshold | None, kind: str) -> Counter[str]:
    found = match(case.wanted, case.candidates, case.others, threshold)
    right = sum(case.truth.get(attempt_id) == prediction_id for attempt_id, prediction_id in found.items())
    counts = {"unknown": len(case.wanted), "created": len(case.truth), "rightly": right, "wrongly": len(found) - right}
    return Counter({"cases": 1} | {f"{name}, {where}": n for name, n in counts.items() for where in ("all", kind)})


def simulate(seed: int, cases: int, processes: int) -> Counter[str]:
    """All chunks."""
    chunks = [(seed, start // CHUNK, min(CHUNK, cases - start)) for start in range(0, cases, CHUNK)]
    total: Counter[str] = Counter()
    for counts in _each(chunks, processes):
        total += counts
    return total


def _each(chunks: list[tuple[int, int, int]], processes: int) -> Iterator[Counter[str]]:
    if processes == 1:
        yield from (run_chunk(*chunk) for chunk in chunks)
        return
    # Each process does one thing at a time: several threads for these small products only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(run_chunk, *zip(*chunks, strict=True))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof hidden", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    began_s = time.perf_counter()
    total = simulate(asked.seed, asked.cases, asked.processes)
    took_s = time.perf_counter() - began_s
    print(f"seed {asked.seed}: {total['cases']} cases in {took_s:.0f} s, {total['cases'] / took_s:.0f} a second")
    print(report(total))
    return 1 if total["wrongly, all"] else 0


def report(total: Counter[str]) -> str:
    """A line for every kind of queue; provider 0 hardly changes pictures, provider 2 strongly."""
    kinds = ["all", *(f"{kind} {strength}" for kind in KINDS for strength in range(len(STRENGTHS)))]
    lines = [f"{'queues':<14} {'unknown':>8} {'created':>8} {'adopted':>8} {'wrongly':>8} {'undecided':>10}"]
    for kind in kinds:
        unknown, created, right, wrong = (
            total[f"{name}, {kind}"] for name in ("unknown", "created", "rightly", "wrongly")
        )
        lines.append(f"{kind:<14} {unknown:>8} {created:>8} {right:>8} {wrong:>8} {unknown - right - wrong:>10}")
    lines += [f"{name}: {count}" for name, count in total.items() if name.startswith("wrong in")]
    for kind in KINDS:
        lines.append(f"{kind}: {total[f'queues {kind} taught']} of {total[f'queues {kind}']} queues taught a threshold")
    return "\n".join(lines)
