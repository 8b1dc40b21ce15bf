"""Which prediction belongs to which unknown submit, by first frames: never a wrong one, and whatever is in doubt stays."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchrun.run.frames import MIN_PAIRS, Candidate, Threshold, Wanted, decided, learn, match, taught
from batchrun.video.likeness import FRAME_SIDE, SIDE
from batchrun.video.looks import Look
from tests.proof.shop import Product, Treatment, draw, look_alikes, near_duplicate, product, thumbnail, treated

THRESHOLD = Threshold(near=0.09, far=0.2)
MILD = Treatment(0.1)


def look(picture: Image.Image) -> Look:
    return Look(thumbnail(picture, SIDE).tobytes())


def frame(picture: Image.Image, seed: int = 0, how: Treatment = MILD) -> Look:
    return Look(thumbnail(treated(picture, how, random.Random(seed)), FRAME_SIDE).tobytes())


@cache
def shown(number: int) -> tuple[Look, Look]:
    """A picture and its first frame; each number is another article."""
    picture = draw(product(number))
    return look(picture), frame(picture, number)


def wanted(number: int, duration_s: int = 5, *, is_ambiguous: bool = False, name: str = "") -> Wanted:
    return Wanted(
        attempt_id=name or f"a{number}", picture=shown(number)[0], picture_sha256=f"sha{number}",
        duration_s=duration_s, is_ambiguous=is_ambiguous,
    )  # fmt: skip


def candidate(number: int, duration_s: int = 5, name: str = "") -> Candidate:
    return Candidate(prediction_id=name or f"p{number}", frame=shown(number)[1], duration_s=duration_s)


def others(*numbers: int) -> dict[str, Look]:
    return {f"sha{number}": shown(number)[0] for number in numbers}


def pairs(count: int) -> list[tuple[Look, Look]]:
    return [shown(number) for number in range(100, 100 + count)]


def test_twenty_distinct_pictures_teach_a_threshold_and_fewer_do_not() -> None:
    assert MIN_PAIRS == 20
    assert learn([]) is None
    assert learn(pairs(MIN_PAIRS - 1)) is None
    assert learn(pairs(MIN_PAIRS - 1) * 3) is None
    threshold = learn(pairs(MIN_PAIRS))
    assert threshold is not None
    assert 0 < threshold.near <= 0.09
    assert 2 * threshold.near <= threshold.far <= 0.2


def test_a_queue_whose_frames_hardly_differ_from_its_pictures_learns_to_be_strict() -> None:
    pictures = [draw(product(number)) for number in range(100, 125)]
    exact = [(look(one), Look(thumbnail(one, FRAME_SIDE).tobytes())) for one in pictures]
    threshold = learn(exact)
    assert threshold is not None
    assert threshold.near < 0.05
    assert threshold.far == 0.2


def test_frames_that_do_not_start_with_their_picture_teach_nothing() -> None:
    known = pairs(24)
    mixed = [(picture, known[number - 1][1]) for number, (picture, _) in enumerate(known)]
    assert learn(mixed) is None
    assert learn([*known[:23], (known[23][0], known[0][1])]) is None


def test_every_frame_of_a_picture_counts() -> None:
    """A picture that was animated twice: its worst frame says how far an own one may be."""
    known = pairs(24)
    assert learn([(known[0][0], known[5][1]), *known]) is None
    assert learn([*known, (known[0][0], known[5][1])]) is None
    assert learn([*known, (known[0][0], frame(draw(product(100)), 77))]) is not None


def test_a_queue_that_has_the_same_photograph_twice_teaches_nothing() -> None:
    picture = draw(product(100))
    twin = near_duplicate(picture, random.Random(1))
    assert learn([*pairs(24), (look(twin), frame(twin))]) is None
    tiny = picture.copy()
    tiny.putpixel((0, 0), (1, 2, 3))
    assert learn([*pairs(24), (look(tiny), frame(tiny, 5))]) is None


def test_the_own_clip_is_adopted_among_strangers() -> None:
    found = match(
        [wanted(1), wanted(2, 10)],
        [candidate(7), candidate(2, 10), candidate(1), candidate(8)],
        others(3, 4),
        THRESHOLD,
    )
    assert found == {"a1": "p1", "a2": "p2"}


def test_nothing_is_adopted_without_a_threshold() -> None:
    assert match([wanted(1)], [candidate(1)], {}, None) == {}
    assert match([], [candidate(1)], {}, THRESHOLD) == {}
    assert match([wanted(1)], [], {}, THRESHOLD) == {}


def test_the_only_candidate_proves_nothing() -> None:
    assert match([wanted(1)], [candidate(2)], {}, THRESHOLD) == {}


def test_another_duration_is_another_clip() -> None:
    assert match([wanted(1, 5)], [candidate(1, 10)], {}, THRESHOLD) == {}


def test_two_clips_of_the_picture_are_undecided_whatever_their_durations() -> None:
    twice = [candidate(1), replace(candidate(1), prediction_id="q", frame=frame(draw(product(1)), 99))]
    assert match([wanted(1)], twice, {}, THRESHOLD) == {}
    assert match([wanted(1)], [twice[0], replace(twice[1], duration_s=10)], {}, THRESHOLD) == {}


def test_the_same_picture_under_several_prompts_is_never_decided() -> None:
    assert match([wanted(1, is_ambiguous=True)], [candidate(1)], {}, THRESHOLD) == {}
    assert match([wanted(1), wanted(1, name="b")], [candidate(1)], {}, THRESHOLD) == {}
    assert match([wanted(1, 5), wanted(1, 10, name="b")], [candidate(1)], {}, THRESHOLD) == {}


def test_a_clip_of_a_picture_that_is_not_wanted_is_nobodys() -> None:
    assert match([wanted(1)], [candidate(2)], others(2), THRESHOLD) == {}


def test_the_wanted_picture_among_the_others_is_no_rival_of_itself() -> None:
    assert match([wanted(1)], [candidate(1)], others(1, 2, 3), THRESHOLD) == {"a1": "p1"}


@pytest.mark.parametrize("number", range(1, 13))
def test_the_same_photograph_in_another_crop_or_tint_stays_undecided(number: int) -> None:
    picture = draw(product(number))
    twin = near_duplicate(picture, random.Random(number))
    lost, theirs = wanted(number), Candidate(prediction_id="t", frame=frame(twin, number), duration_s=5)
    for listed in ([candidate(number)], [theirs], [candidate(number), theirs]):
        assert match([lost], listed, {"twin": look(twin)}, THRESHOLD) == {}
    both = [lost, replace(lost, attempt_id="b", picture=look(twin), picture_sha256="twin")]
    assert match(both, [candidate(number)], {}, THRESHOLD) == {}
    # and by the picture alone, also where a frame would seem to tell them apart
    assert match([lost], [candidate(number)], {"same": shown(number)[0]}, THRESHOLD) == {}


def alike(number: int, **changed: object) -> Image.Image:
    return draw(replace(product(number), **changed))  # type: ignore[arg-type]  # options by their names


@pytest.mark.parametrize("number", range(40, 60))
def test_another_colour_of_the_article_is_another_article(number: int) -> None:
    """A stranger of the same shop, made from a picture that is not in the queue: only the distance tells."""
    one: Product = product(number)
    if one.ground == "photo":
        one = replace(one, ground="white")
    theirs = draw(replace(one, hue=(one.hue + 0.4) % 1, saturation=max(0.5, one.saturation)))
    lost = replace(wanted(number), picture=look(draw(one)))
    listed = [Candidate(prediction_id="t", frame=frame(theirs, number), duration_s=5)]
    assert match([lost], listed, {}, THRESHOLD) == {}


def test_the_furthest_near_and_the_nearest_far_are_what_counts() -> None:
    """The bounds are those of the threshold, not other numbers: what is adopted under one is not under a stricter."""
    lost, listed = [wanted(1)], [candidate(1), candidate(2)]
    assert match(lost, listed, others(3), THRESHOLD) == {"a1": "p1"}
    assert match(lost, listed, others(3), Threshold(near=0.0001, far=0.2)) == {}
    assert match(lost, listed, others(3), Threshold(near=0.09, far=0.99)) == {}


def blank(number: int, side: int = SIDE) -> Look:
    return Look(number.to_bytes(2, "big") + bytes(side * side * 3 - 2))


def decide(frame_rows: list[list[float]], picture_rows: list[list[float]]) -> dict[str, str]:
    """Rows as measured: frames and wanted pictures down; the others' pictures and then the wanted ones across."""
    table = np.array([*frame_rows, *picture_rows], np.float32)
    count = len(picture_rows)
    lost = [
        Wanted(attempt_id=f"a{n}", picture=blank(n), picture_sha256=f"w{n}", duration_s=5, is_ambiguous=False)
        for n in range(count)
    ]
    listed = [
        Candidate(prediction_id=f"p{n}", frame=blank(n, FRAME_SIDE), duration_s=5) for n in range(len(frame_rows))
    ]
    pictures = [f"o{n}" for n in range(table.shape[1] - count)] + [one.picture_sha256 for one in lost]
    return dict(decided(lost, listed, pictures, table, THRESHOLD))


@pytest.mark.parametrize(
    ("frame_rows", "picture_rows", "found"),
    [
        ([[0.5, 0.05]], [[0.5, 0.0]], {"a0": "p0"}),
        ([[0.5, 0.09]], [[0.5, 0.0]], {"a0": "p0"}),
        ([[0.5, 0.10]], [[0.5, 0.0]], {}),  # not near enough
        ([[0.19, 0.05]], [[0.5, 0.0]], {}),  # the frame could be of another picture
        ([[0.21, 0.05]], [[0.5, 0.0]], {"a0": "p0"}),
        ([[0.5, 0.05]], [[0.19, 0.0]], {}),  # another picture resembles the wanted one
        ([[0.5, 0.05], [0.5, 0.19]], [[0.5, 0.0]], {}),  # another candidate could be it
        ([[0.5, 0.05], [0.5, 0.21]], [[0.5, 0.0]], {"a0": "p0"}),
        ([[0.05, 0.5], [0.5, 0.05]], [[0.0, 0.5], [0.5, 0.0]], {"a0": "p0", "a1": "p1"}),
        ([[0.05, 0.19], [0.5, 0.05]], [[0.0, 0.5], [0.5, 0.0]], {}),  # p0 could be either's
        ([[0.05, 0.5]], [[0.0, 0.5], [0.5, 0.0]], {"a0": "p0"}),
    ],
)
def test_the_decision_on_given_distances(
    frame_rows: list[list[float]], picture_rows: list[list[float]], found: dict[str, str]
) -> None:
    assert decide(frame_rows, picture_rows) == found


@pytest.mark.parametrize(
    ("own", "other", "threshold"),
    [
        (0.04, 0.5, (0.05, 0.2)),
        (0.04, 0.15, (0.05, 0.15)),
        (0.085, 0.5, (0.09, 0.2)),  # never above the ceiling
        (0.18, 0.21, (0.09, 0.2)),
        (0.25, 0.22, None),  # overlap
        (0.22, 0.22, None),
        (0.06, 0.14, None),  # too small a gap
        (0.06, 0.16, (0.075, 0.16)),
    ],
)
def test_what_given_distances_teach(own: float, other: float, threshold: tuple[float, float] | None) -> None:
    table = np.full((MIN_PAIRS, MIN_PAIRS), 0.6, np.float32)
    np.fill_diagonal(table, 0.01)
    table[3, 3], table[5, 2] = own, other
    learnt = taught(table, range(MIN_PAIRS))
    assert (learnt and (learnt.near, learnt.far)) == (threshold and pytest.approx(threshold))


def created(attempts: Sequence[Wanted], made: Sequence[bool]) -> dict[str, Candidate]:
    return {
        one.attempt_id: candidate(int(one.attempt_id[1:]), one.duration_s)
        for one, is_made in zip(attempts, made, strict=True)
        if is_made
    }


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_never_a_wrong_one_and_always_one_to_one(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(1, 24), min_size=1, max_size=6, unique=True))
    cut = data.draw(st.integers(1, len(numbers)))
    lost = [wanted(number, data.draw(st.sampled_from([5, 10]))) for number in numbers[:cut]]
    truth = created(lost, data.draw(st.lists(st.booleans(), min_size=cut, max_size=cut)))
    strangers = data.draw(
        st.lists(st.integers(25, 40) | st.sampled_from(numbers[cut:] or [41]), max_size=4, unique=True)
    )
    listed = [*truth.values(), *(candidate(number) for number in strangers)]
    found = match(lost, data.draw(st.permutations(listed)), others(*numbers[cut:]), THRESHOLD)
    assert all(truth[attempt_id].prediction_id == prediction_id for attempt_id, prediction_id in found.items())
    assert len(set(found.values())) == len(found)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_one_more_stranger_or_picture_never_makes_an_adoption(data: st.DataObject) -> None:
    """More to doubt can only take away: a list that was read late decides less, not otherwise."""
    numbers = data.draw(st.lists(st.integers(1, 30), min_size=3, max_size=6, unique=True))
    lost, listed = (
        [wanted(numbers[0]), wanted(numbers[1])],
        [candidate(number) for number in numbers[: len(numbers) - 1]],
    )
    before = match(lost, listed, others(numbers[2]), THRESHOLD)
    one = product(numbers[0])
    more = draw(*look_alikes(one, 1, random.Random(data.draw(st.integers(0, 99)))))
    after = match(
        lost, [*listed, Candidate(prediction_id="x", frame=frame(more), duration_s=5)],
        others(numbers[2]) | {"x": look(more)}, THRESHOLD,
    )  # fmt: skip
    assert after.items() <= before.items()
