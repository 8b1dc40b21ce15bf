"""Which prediction belongs to which unknown submit: never a wrong one, whatever the list holds."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.provider.outcome import Prediction, Progress
from batchrun.queue.records import KnownPrediction, OpenSubmit, Revision
from batchrun.queue.states import AttemptState, JobState
from batchrun.run.evidence import SLACK_MS, Fit, OpenAttempt, Verdict, fit
from batchrun.run.evidence import judge as judge_with
from batchrun.run.sweeps import until_ms

NOW = 1_800_000_000_000
MODEL = "kwaivgi/kling-v1.6-i2v-standard"


SETTLE_MS = 300_000


def judge(attempts: list[OpenAttempt], listed: list[Prediction], ours: dict[str, int]) -> Verdict:
    known = {name: KnownPrediction(submitted_ms, None) for name, submitted_ms in ours.items()}
    return judge_with(attempts, listed, known, SETTLE_MS)


def attempt(
    name: str, *, marked: bool = True, unknown: bool = True, at: int = NOW, image: str | None = None, prompt: str = "x"
) -> OpenAttempt:
    inputs = {"prompt": prompt, "image": image or f"https://m/{name}.png", "guidance_scale": 0.5, "duration": 5}
    return OpenAttempt(
        attempt_id=name, batch="b", key=name, model=MODEL, unknown=unknown, submitted_ms=at, until_ms=at + 60_000,
        inputs=inputs, is_marked=marked,
    )  # fmt: skip


def prediction(name: str, inputs: dict[str, object] | None = None, *, at: int | None = NOW) -> Prediction:
    return Prediction(
        prediction_id=name, model=MODEL, progress=Progress.RUNNING, status_word="x", outputs=(), code=0, error="",
        created_ms=at, inputs=inputs or {},
    )  # fmt: skip


def echo(one: OpenAttempt) -> dict[str, object]:
    return dict(one.inputs) | {"guidance_scale": Decimal("0.50")}


A = attempt("a")
URL = attempt("u", marked=False, image="https://shop/u.png")


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (A, prediction("p", echo(A)), Fit.MARKED),
        (A, prediction("p", echo(A) | {"image": "https://m/other.png"}), Fit.NO),
        (A, prediction("p"), Fit.MAYBE),
        (A, prediction("p", echo(A), at=NOW + 3_600_000), Fit.MARKED),
        (A, prediction("p", at=NOW + 60_000 + SETTLE_MS + SLACK_MS), Fit.MAYBE),
        (A, prediction("p", at=NOW + 60_000 + SETTLE_MS + SLACK_MS + 1), Fit.NO),
        (A, prediction("p", at=NOW - SLACK_MS - 1), Fit.NO),
        (replace(A, ahead_ms=7_200_000), prediction("p"), Fit.NO),
        (replace(A, ahead_ms=7_200_000), prediction("p", at=NOW + 7_200_000), Fit.MAYBE),
        (A, prediction("p", echo(A), at=None), Fit.MARKED),
        (A, replace(prediction("p"), model="other"), Fit.NO),
        (URL, prediction("p", echo(URL)), Fit.EQUAL),
        (URL, prediction("p", echo(URL) | {"prompt": "y"}), Fit.OTHER),
        (URL, prediction("p", echo(URL) | {"duration": 10}), Fit.OTHER),
        (URL, prediction("p", echo(URL) | {"image": "https://shop/other.png"}), Fit.NO),
    ],
)
def test_how_a_prediction_fits(one: OpenAttempt, other: Prediction, wanted: Fit) -> None:
    assert fit(one, other, SETTLE_MS) is wanted


def test_a_marker_is_proof_also_among_strangers() -> None:
    listed = [prediction("s1"), prediction("p", echo(A)), prediction("s2")]
    assert judge([A], listed, {}).found == {"a": "p"}


def test_equal_inputs_are_proof_only_one_to_one() -> None:
    twin = attempt("v", marked=False, image="https://shop/u.png")
    assert judge([URL], [prediction("p", echo(URL))], {}).found == {"u": "p"}
    assert judge([URL], [prediction("p", echo(URL)), prediction("q", echo(URL))], {}).found == {}
    assert judge([URL, twin], [prediction("p", echo(URL))], {}).found == {}
    assert judge([URL], [prediction("p", echo(URL)), prediction("hidden")], {}).found == {}


def test_an_answer_that_may_still_come_is_not_taken_away() -> None:
    going = attempt("u", marked=False, image="https://shop/u.png", unknown=False)
    verdict = judge([going], [prediction("p", echo(going))], {})
    assert (verdict.found, verdict.unclear) == ({}, {"u": ("p",)})


def test_our_own_known_predictions_are_nobody_elses() -> None:
    verdict = judge([A], [prediction("known")], {"known": NOW})
    assert (verdict.found, verdict.unclear) == ({}, {})


def test_only_a_later_prediction_of_ours_is_a_witness() -> None:
    assert judge([A], [prediction("k")], {"k": A.until_ms}).witnessed == frozenset()
    assert judge([A], [prediction("k")], {"k": A.until_ms + 1}).witnessed == {"a"}
    assert judge([A], [], {"k": A.until_ms + 1}).witnessed == frozenset()


@pytest.mark.parametrize("created_ms", [None, A.until_ms + 1 - SLACK_MS, A.until_ms + 1 + SLACK_MS])
def test_a_witness_whose_clock_differs_from_ours_is_none(created_ms: int | None) -> None:
    """The window of the list is made with our clock: with another one it may have missed the attempt."""
    assert judge([A], [prediction("k", at=created_ms)], {"k": A.until_ms + 1}).witnessed == frozenset()


@given(st.data())
def test_nothing_is_ever_adopted_wrongly(data: st.DataObject) -> None:
    """Some submits created a prediction, some did not; strangers and hidden inputs stand between them."""
    attempts = [attempt(f"a{n}") for n in range(data.draw(st.integers(1, 4)))]
    truth: dict[str, str] = {}
    listed: list[Prediction] = []
    for one in attempts:
        if data.draw(st.booleans()):
            truth[one.attempt_id] = f"p-{one.attempt_id}"
            shown = data.draw(st.booleans())
            listed.append(prediction(truth[one.attempt_id], echo(one) if shown else None))
    for number in range(data.draw(st.integers(0, 3))):
        inputs = data.draw(st.sampled_from([None, echo(attempt("stranger"))]))
        listed.append(prediction(f"s{number}", inputs))
    verdict = judge(attempts, data.draw(st.permutations(listed)), {})
    for attempt_id, prediction_id in verdict.found.items():
        assert truth[attempt_id] == prediction_id
    for one in attempts:  # what exists is found, or at least never taken for absent
        if one.attempt_id in truth:
            assert one.attempt_id in verdict.found or one.attempt_id in verdict.unclear


def test_an_answer_before_its_request_says_nothing_of_when_that_left() -> None:
    """The clock was set back by an hour meanwhile: a window that ends before it begins would miss the prediction."""
    submit = OpenSubmit(
        attempt_id="a", batch="b", key="a", state=AttemptState.UNKNOWN, submitted_ms=NOW, send_by_ms=NOW + 30_000,
        answered_ms=NOW - 3_600_000, server_ahead_ms=0, image_url="https://m/a.png", job_state=JobState.UNKNOWN,
        message=None,
        revision=Revision(
            revision_id=1, take=1, model=MODEL, prompt="x", negative_prompt="", guidance_hundredths=50, duration_s=5,
            image_path=None, image_url="https://m/a.png", image_sha256=None,
        ),
    )  # fmt: skip
    assert until_ms(submit) == NOW + 90_000
    assert until_ms(replace(submit, answered_ms=NOW + 500)) == NOW + 500
