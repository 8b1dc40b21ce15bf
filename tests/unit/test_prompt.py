"""What a prompt means to the preview's camera."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.emulator.animate.clip import EFFECTS
from batchrun.emulator.animate.plan import Plan, Wish
from batchrun.emulator.animate.prompt import MAX_MOVES, MAX_PARTS, plan_of
from batchrun.emulator.animate.vocabulary import Sense, stems, vocabulary


def shown(prompt: str, negative: str = "") -> list[str]:
    return list(plan_of(Wish(prompt=prompt, negative_prompt=negative)).understood)


STILL = "the camera holds still"
DEFAULT = "no camera move is named: a soft push in"


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        # the catalog's own
        ("Steam rises from the mug as the camera slowly pushes in", ["push in", "steam"]),
        ("The camera orbits the bottle, a light sweep glides across the glass", ["orbit left", "sweep"]),
        ("Slow truck to the right along the skincare set, soft studio light", ["truck right"]),
        ("The donut turns slowly on a turntable, sugar glitters", ["turntable left", "sparkle"]),
        ("The camera cranes up from the pot to the tip of the cactus, dust floats in warm light", ["crane up", "dust"]),
        ("Static camera, the lamp flickers once and then glows warmly", [STILL, "flicker", "glow"]),
        ("Gentle push in on the cup, crema swirling slowly", ["push in"]),
        # forms and directions
        ("zooming in slowly", ["zoom in"]),
        ("Zooms slowly out", ["zoom out"]),
        ("crash zoom on the logo", ["crash"]),
        ("the camera pulls back to reveal the room", ["push out"]),
        ("pan", ["pan right"]),
        ("camera pans gently to the left", ["pan left"]),
        ("left pan", ["pan left"]),
        ("whip pan left", ["whip left"]),
        ("the camera is tilting down", ["tilt down"]),
        ("tracking shot moving left", ["truck left"]),
        ("orbit around the shoe counterclockwise", ["orbit right"]),
        ("camera circles the vase clockwise", ["orbit left"]),
        ("the watch spins 360 degrees", ["turntable left"]),
        ("jib down", ["crane down"]),
        ("aerial view, drone shot descending, camera descends", ["crane down"]),
        ("dutch angle, roll left", ["roll left"]),
        ("handheld documentary look", ["handheld"]),
        ("vertigo effect", ["vertigo"]),
        ("subtle motion", ["drift"]),
        ("The bottle levitates and hovers", ["float"]),
        # several, and too many
        ("Dolly in while tilting up", ["push in", "tilt up"]),
        ("zoom in and push in", ["zoom in"]),
        ("gentle camera pan revealing the scene", ["pan right"]),
        ("tilts down, zooms in, pans left and rolls left", ["tilt down", "zoom in", "pan left"]),
        # what only looks like a move
        ("a frying pan on the stove", [DEFAULT]),
        ("sizzling in a pan, slow zoom in", ["zoom in"]),
        ("still life with sparkling water", [DEFAULT]),
        ("turns on the light", [DEFAULT]),
        ("A mug on a table", [DEFAULT]),
        ("", [DEFAULT]),
        # negations
        ("fixed camera position, no zoom, no pan, no tilt", [STILL]),
        ("no camera movement, snow falls", [STILL, "snow"]),
        ("push in without any zoom or pan", ["push in"]),
        ("the shot pans right, never zooms", ["pan right"]),
        ("no steam, slow zoom in", ["zoom in"]),
        # a thing may turn before a camera that stands
        ("Tripod shot, the sneaker rotates", ["turntable left"]),
        ("static camera, zoom in", [STILL]),
        ("static background, camera orbits right", ["orbit right"]),
        # one after the other
        ("zoom in then pan left", ["zoom in", "pan left"]),
        ("Push in, followed by an orbit to the right", ["push in", "orbit right"]),
        ("First orbit left, then sugar glitters", ["orbit left", "sparkle"]),
    ],
)
def test_what_is_understood(prompt: str, wanted: list[str]) -> None:
    assert shown(prompt) == wanted


@pytest.mark.parametrize(
    ("negative", "wanted"),
    [
        ("zoom", ["pan left"]),
        ("zoom in", ["pan left"]),
        ("zoom out", ["zoom in", "pan left"]),
        ("pan right", ["zoom in", "pan left"]),
        ("pan", ["zoom in"]),
        ("camera movement, blur", [STILL]),
        ("any motion", [STILL]),
        ("static, still, blurry", ["zoom in", "pan left"]),
        ("blurry, distorted, watermark, shaky, camera shake", ["zoom in", "pan left"]),
        ("motion blur, slow motion, jerky motion, unnatural movement", ["zoom in", "pan left"]),
    ],
)
def test_what_a_negative_prompt_takes_away(negative: str, wanted: list[str]) -> None:
    assert shown("zoom in, pan left", negative) == wanted


def test_a_banned_effect_is_not_painted() -> None:
    assert shown("slow zoom in, snow falls", "snow, text") == ["zoom in"]


def test_parts_have_their_own_time() -> None:
    plan = plan_of(Wish(prompt="zoom in, then pan left, then it snows"))
    spans = [(round(one.span.start, 2), round(one.span.end, 2)) for one in plan.moves]
    assert spans == [(0, 0.33), (0.33, 1)]  # the snow has no move: the pan goes on
    assert [(one.name, round(one.span.start, 2), one.span.end) for one in plan.effects] == [("snow", 0.67, 1)]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("A woman walks and smiles", "people and hands do not move (woman, walks, smiles)"),
        ("Coffee is poured, no splashing", "liquids do not flow (poured)"),
        ("The flower blooms", "things do not change shape (blooms)"),
        ("The watch rotates", "turntable: the thing itself does not turn, the camera rocks around it"),
        ("zoom in and push in", "push in: only one move of its kind at a time"),
        ("zoom out", "there is nothing around the picture: the clip starts closer and ends on the whole picture"),
    ],
)
def test_what_a_preview_cannot_show_is_said(prompt: str, said: str) -> None:
    assert plan_of(Wish(prompt=prompt)).not_shown == (said,)


def test_what_it_shows_completely_needs_no_words() -> None:
    assert plan_of(Wish(prompt="Slow orbit, steam rises")).not_shown == ()


def amount(plan: Plan) -> float:
    return abs(plan.moves[0].curves[0][1])


def test_guidance_speed_and_duration_give_the_strength() -> None:
    plain = amount(plan_of(Wish(prompt="orbit")))
    assert plain == pytest.approx(0.085)
    assert amount(plan_of(Wish(prompt="orbit", guidance=1.0))) > 1.5 * plain
    assert amount(plan_of(Wish(prompt="very slow orbit"))) == pytest.approx(0.55 * plain)
    assert amount(plan_of(Wish(prompt="dramatic orbit"))) == pytest.approx(1.45 * plain)
    assert amount(plan_of(Wish(prompt="orbit", duration_s=10))) == pytest.approx(2**0.5 * plain)
    assert amount(plan_of(Wish(prompt="dolly zoom", guidance=1.0))) == pytest.approx(0.13)


@given(st.text(max_size=200), st.text(max_size=80), st.floats(0, 1), st.sampled_from([5, 10]))
def test_any_text_gives_a_plan(prompt: str, negative: str, guidance: float, duration_s: int) -> None:
    plan = plan_of(Wish(prompt=prompt, negative_prompt=negative, guidance=guidance, duration_s=duration_s))
    assert plan.understood


words = st.sampled_from(sorted({" ".join(e.stems) for ones in vocabulary().entries.values() for e in ones}))


@given(st.lists(st.one_of(words, st.sampled_from(["then", "no", "left", "the", ",", "camera"])), max_size=14))
def test_any_words_of_the_table_give_a_plan_within_its_bounds(some: list[str]) -> None:
    plan = plan_of(Wish(prompt=" ".join(some)))
    for count in Counter(one.span for one in plan.moves).values():
        assert count <= MAX_MOVES
    assert len({one.span for one in plan.moves}) <= MAX_PARTS
    for one in (*plan.moves, *plan.effects):
        assert 0 <= one.span.start < one.span.end <= 1


def test_every_phrase_of_the_table_is_found_as_what_it_is() -> None:
    table = vocabulary()
    for ones in table.entries.values():
        for entry in ones:
            (match,) = table.matches(entry.stems)
            assert match.entry.stems == entry.stems
    phrases = Counter(entry.stems for ones in table.entries.values() for entry in ones)
    assert [one for one, count in phrases.items() if count > 1] == []


def test_every_effect_of_the_table_can_be_painted() -> None:
    named = {one.name for ones in vocabulary().entries.values() for one in ones if one.sense is Sense.EFFECT}
    assert named == set(EFFECTS)


def test_forms_of_a_word_are_one() -> None:
    for forms in ("zoom zooms zooming zoomed", "pan pans panning panned", "dolly dollies", "rise rises rising",
                  "slow slowly", "rotate rotates rotating", "roll rolls rolling", "glide glides gliding"):  # fmt: skip
        assert len(set(stems(forms))) == 1, forms
