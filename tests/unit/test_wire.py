"""What an answer proves: the outcome table of a submit, status words, shapes with and without envelope."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.provider.outcome import Accepted, Progress, RefusalKind, Refused, Unknown
from batchrun.provider.wire import (
    decode,
    http_date_ms,
    moment_ms,
    outputs_of,
    prediction_of,
    progress_of,
    retry_after_s,
    submit_outcome,
)

ID = "5d0c7a2be1f94f6c8a3b9e2071c4d8aa"
HTML = b"<html><body>Bad Gateway</body></html>"


def body(code: int, message: str = "m", data: object = None, **more: object) -> bytes:
    return json.dumps({"code": code, "message": message, "data": data, **more}).encode()


ACCEPTED = [
    (200, body(200, data={"id": ID, "status": "created"})),
    (200, json.dumps({"id": ID, "status": "processing", "outputs": None}).encode()),
    (201, body(200, data={"id": ID, "status": "some-new-word"})),
]
ACCEPTED.append((200, body(1402, "could not fetch", data={"id": ID, "status": "created"})))
REFUSED = [
    (400, body(400, "bad"), RefusalKind.REQUEST),
    (400, body(1401, "invalid duration"), RefusalKind.REQUEST),
    (200, body(1400, "missing"), RefusalKind.REQUEST),
    (200, body(400, "bad"), RefusalKind.REQUEST),
    (413, body(413, "too large"), RefusalKind.REQUEST),
    (404, body(404, "no such model"), RefusalKind.REQUEST),
    (400, body(1407, "insufficient credits"), RefusalKind.CREDIT),
    (402, body(402, "pay"), RefusalKind.CREDIT),
    (200, body(402, "pay"), RefusalKind.CREDIT),
    (400, body(400, "Insufficient balance"), RefusalKind.CREDIT),
    (401, body(401, "invalid key"), RefusalKind.KEY),
    (200, body(401, "invalid key"), RefusalKind.KEY),
    (403, body(403, "no", error_code="role"), RefusalKind.ACCOUNT),
    (429, body(429, "slow down"), RefusalKind.THROTTLED),
]
UNKNOWN = [
    (200, b""),
    (200, HTML),
    (200, body(200, data={"status": "created"})),
    (200, body(200, data={"id": "", "status": "created"})),
    (200, body(200, data={"id": "../../x", "status": "created"})),
    (200, body(200, data=None)),
    (200, b'{"code": 200, "message": "success", "data": {"id": "5d'),
    (200, body(500, "internal")),
    (301, b""),
    (400, HTML),
    (400, b'{"detail": "bad"}'),
    (401, HTML),
    (400, body(400, "bad", data={"id": ID})),
    (422, body(422, "bad")),
    (429, HTML),
    (500, body(400, "bad")),
    (500, body(500, "internal")),
    (502, HTML),
    (503, b""),
    (504, b"upstream timeout"),
    (200, b"[" * 100_000),
]


@pytest.mark.parametrize(("status", "data"), ACCEPTED)
def test_accepted(status: int, data: bytes) -> None:
    outcome = submit_outcome(decode(status, data), None)
    assert isinstance(outcome, Accepted)
    assert outcome.prediction.prediction_id == ID
    assert outcome.prediction.progress is Progress.RUNNING


@pytest.mark.parametrize(("status", "data", "kind"), REFUSED)
def test_refused_only_by_the_providers_own_envelope(status: int, data: bytes, kind: RefusalKind) -> None:
    outcome = submit_outcome(decode(status, data), 3.0)
    assert isinstance(outcome, Refused)
    assert (outcome.kind, outcome.retry_after_s) == (kind, 3.0)


@pytest.mark.parametrize(("status", "data"), UNKNOWN)
def test_everything_else_is_unknown(status: int, data: bytes) -> None:
    assert isinstance(submit_outcome(decode(status, data), None), Unknown)


@given(st.integers(100, 599), st.binary(max_size=300))
def test_no_answer_makes_the_reader_crash(status: int, data: bytes) -> None:
    outcome = submit_outcome(decode(status, data), None)
    if status >= 500:
        assert isinstance(outcome, Unknown)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "status", "data", "code", "message", "outputs", "url", "error"]), inner, max_size=5
        )
    ),
    max_leaves=10,
)


@given(st.sampled_from([200, 400, 500]), json_values)
def test_no_json_makes_the_reader_crash(status: int, value: object) -> None:
    answer = decode(status, json.dumps(value).encode())
    submit_outcome(answer, None)
    prediction_of(answer.data)


@pytest.mark.parametrize(
    ("word", "progress"),
    [("created", "running"), ("pending", "running"), ("queued", "running"), ("starting", "running"), ("", "running"),
     ("brand-new", "running"), ("completed", "completed"), ("succeeded", "completed"), ("failed", "failed"),
     ("cancelled", "failed"), ("timeout", "failed"), ("deleted", "failed")],
)  # fmt: skip
def test_status_words(word: str, progress: str) -> None:
    assert progress_of(word) == progress


@pytest.mark.parametrize(
    ("value", "urls"),
    [("https://a/b.mp4", ("https://a/b.mp4",)), (["x", "y"], ("x", "y")), ([{"url": "x"}], ("x",)), (None, ()), ([], ()),
     ([None, 3, ""], ())],
)  # fmt: skip
def test_outputs_in_every_shape(value: object, urls: tuple[str, ...]) -> None:
    assert outputs_of(value) == urls


def test_money_is_read_as_decimal() -> None:
    answer = decode(200, b'{"code": 200, "message": "", "data": {"balance": 0.1}}')
    assert answer.data["balance"] == Decimal("0.1")


@pytest.mark.parametrize(
    "number",
    ["1e30", "1e1000000", "1e99999999999999999999", "-1E+19", "9" * 19, "9" * 5000, "0." + "1" * 60, "1e-400"],
)  # fmt: skip
def test_a_number_beyond_all_bounds_is_none(number: str) -> None:
    answer = decode(200, f'{{"code": 200, "message": "", "data": {{"balance": {number}}}}}'.encode())
    assert answer.data is None or answer.data["balance"] is None


@pytest.mark.parametrize("code", ["1e30", "9" * 19, "2e2", "true"])
def test_an_envelope_needs_a_code_that_is_one(code: str) -> None:
    """Otherwise anybody may have written it: a submit's outcome is unknown then."""
    answer = decode(400, f'{{"code": {code}, "message": "bad", "data": null}}'.encode())
    assert not answer.enveloped
    assert isinstance(submit_outcome(answer, None), Unknown)


@pytest.mark.parametrize("value", ["https://x/\ud800.mp4", "https://x/a\nb", "https://x/" + "a" * 10_000])
def test_what_cannot_be_an_address_is_none(value: str) -> None:
    assert outputs_of([value, "https://x/a.mp4"]) == ("https://x/a.mp4",)


@pytest.mark.parametrize("depth", [100, 300, 400, 450, 500, 700, 900])
def test_a_message_of_any_depth_is_a_message(depth: int) -> None:
    data = f'{{"code": 400, "message": {"[" * depth + "]" * depth}, "data": null}}'.encode()
    assert decode(400, data).message


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z"])
def test_a_moment_beyond_all_bounds_is_none(moment: str) -> None:
    assert moment_ms(moment) is None


@pytest.mark.parametrize(
    "header",
    [
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999",
        "Mon, 99999999999999999999 Jan 2024 00:00:00 GMT",
    ],
)  # fmt: skip
def test_a_date_beyond_all_bounds_is_none(header: str) -> None:
    assert http_date_ms(header) is None
    assert retry_after_s(header, 60_000) is None


def test_nine_digits_of_a_second() -> None:
    assert moment_ms("2026-10-05T14:02:11.481920337Z") == 1791208931481
    assert moment_ms("2026-10-05T14:02:11Z") == 1791208931000
    assert moment_ms("yesterday") is None
    assert moment_ms(None) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), (" 10 ", 10.0), (None, None), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:02:00 GMT", 60.0),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_as_seconds_and_as_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, 60_000) == seconds


@pytest.mark.parametrize(
    ("timings", "took_ms"),
    [({"inference": 148213}, 148213), ({"inference": 0}, None), ({}, None), (None, None), ({"inference": "x"}, None)],
)
def test_how_long_it_took_where_the_provider_says_so(timings: object, took_ms: int | None) -> None:
    prediction = prediction_of({"id": ID, "status": "completed", "timings": timings})
    assert prediction is not None
    assert prediction.took_ms == took_ms


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["people do not move (walks)", 7, "", "line\nbreak"], ("people do not move (walks)", "line break")),
        (None, ()),
        ("text", ()),
        ({"a": 1}, ()),
        (["x"] * 100, ("x",) * 20),
    ],
)
def test_what_a_preview_leaves_out_is_read_as_far_as_it_is_text(given: object, read: tuple[str, ...]) -> None:
    prediction = prediction_of({"id": ID, "status": "completed", "warnings": given})
    assert prediction is not None
    assert prediction.not_shown == read
