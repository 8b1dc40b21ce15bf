"""The wire format: bytes to values. Pure. Source: the provider's pages, and its official clients where they differ."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from batchrun.provider.outcome import Accepted, Prediction, Progress, RefusalKind, Refused, SubmitOutcome, Unknown
from batchrun.provider.redact import redacted, redacted_value

_COMPLETED = frozenset({"completed", "succeeded", "success"})
_RUNNING = frozenset({"created", "pending", "queued", "starting", "processing", "running", "in_progress"})
_FAILED = frozenset({"failed", "cancelled", "canceled", "timeout", "deleted", "error"})
_PREDICTION_ID = re.compile(r"[A-Za-z0-9_-]{4,128}")
_REFUSING = frozenset({400, 401, 402, 403, 404, 413, 429})
_TASK_CODES = frozenset({1200, 1400, 1401, 1407})
"""Codes of a request that was looked at and refused; the other 1xxx are of tasks that exist."""
CODE_NO_CREDIT = 1407
_SHOWN_CHARS = 300
_MAX_EXCERPT_BYTES = 100_000
_MAX_TEXTS = 20
_MAX_URL_CHARS = 8192
_MAX_NUMBER_CHARS = 40
_MAX_DIGITS = 18
"""Before the point. Larger numbers mean nothing here, fit into no database, and may take minutes to write out."""
_LATEST_MS = 4_102_444_800_000
"""The year 2100: what is said to be later is a mistake, and so is what is before 1970."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, decoded as far as it goes."""

    status: int
    code: int | None
    """The envelope's code; None without an envelope."""
    message: str
    data: Any
    """The envelope's `data`, or the whole object where there is no envelope, or None when it is not JSON."""

    @property
    def enveloped(self) -> bool:
        """Whether it is the provider's own envelope, not a gateway's page."""
        return self.code is not None


def decode(status: int, body: bytes, secret: str = "") -> Answer:
    """The answer in a body, with and without envelope, or whatever a gateway sent.

    Numbers beyond all bounds are null, and no text holds the secret any more: everything that is kept or shown of an
    answer comes from here.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        value = json.loads(text, parse_float=_decimal, parse_int=_whole_number)
        if secret and (secret in text or "\\" in text):
            value = redacted_value(value, secret)
    except (ValueError, RecursionError):
        return Answer(status, None, _excerpt(body, secret), None)
    if not isinstance(value, dict):
        return Answer(status, None, "not an object", None)
    code = value.get("code")
    if isinstance(code, int) and not isinstance(code, bool) and "message" in value:
        return Answer(status, code, _text(value.get("message")), value.get("data"))
    message = _text(value.get("error") or value.get("detail") or value.get("message") or "no reason given")
    return Answer(status, None, message, value)


def _decimal(text: str) -> Decimal | None:
    """A number with a point or an exponent, or None when no amount or time can be meant by it."""
    try:
        number = Decimal(text) if len(text) <= _MAX_NUMBER_CHARS else None
    except ArithmeticError:  # an exponent of many digits
        return None
    return number if number is not None and abs(number.adjusted()) < _MAX_DIGITS else None


def _whole_number(text: str) -> int | None:
    return int(text) if len(text) <= _MAX_DIGITS else None


def is_success(answer: Answer) -> bool:
    """Both HTTP and the envelope, where there is one, say that it worked."""
    return 200 <= answer.status < 300 and answer.code in (None, 200) and isinstance(answer.data, (dict, list))  # noqa: PLR2004


def submit_outcome(answer: Answer, retry_after_s: float | None) -> SubmitOutcome:
    """What an answer to the submit proves (design, section 4a): anything that proves nothing is unknown."""
    prediction = prediction_of(answer.data)
    if prediction is not None:  # whatever else the answer says, something with an id exists
        ok = 200 <= answer.status < 300  # noqa: PLR2004
        return Accepted(prediction) if ok else Unknown(f"HTTP {answer.status} with a prediction id")
    if is_success(answer):
        return Unknown(f"HTTP {answer.status} without a prediction id")
    refused_by = _refusing_code(answer)
    if refused_by is None:
        return Unknown(f"HTTP {answer.status}: {answer.message}")
    return Refused(_refusal_kind(answer, refused_by), answer.code or refused_by, answer.message, retry_after_s)


def _refusing_code(answer: Answer) -> int | None:
    """The code by which the provider itself refused, or None."""
    if answer.code is None:
        return None
    if answer.status in _REFUSING:
        return answer.status
    if answer.status == 200 and (answer.code in _REFUSING or answer.code in _TASK_CODES):  # noqa: PLR2004
        return answer.code
    return None


def _refusal_kind(answer: Answer, refused_by: int) -> RefusalKind:
    if 402 in (refused_by, answer.code) or answer.code == CODE_NO_CREDIT or "insufficient" in answer.message.lower():  # noqa: PLR2004
        return RefusalKind.CREDIT
    match refused_by:
        case 401:
            return RefusalKind.KEY
        case 403:
            return RefusalKind.ACCOUNT
        case 429:
            return RefusalKind.THROTTLED
        case _:
            return RefusalKind.REQUEST


def prediction_of(data: object) -> Prediction | None:
    """The prediction in an answer's data, or None without a usable id."""
    if not isinstance(data, dict):
        return None
    prediction_id = data.get("id")
    if not isinstance(prediction_id, str) or not _PREDICTION_ID.fullmatch(prediction_id):
        return None
    word = _text(data.get("status")).lower()
    inputs = data.get("inputs") or data.get("input")
    model = data.get("model")
    return Prediction(
        prediction_id=prediction_id,
        model=model if isinstance(model, str) else None,
        progress=progress_of(word),
        status_word=word,
        is_known_word=word in _COMPLETED | _FAILED | _RUNNING,
        outputs=outputs_of(data.get("outputs")),
        code=_int(data.get("code")),
        error=_text(data.get("error")),
        created_ms=moment_ms(data.get("created_at")),
        took_ms=_took_ms(data.get("timings")),
        inputs=inputs if isinstance(inputs, dict) else {},
        not_shown=_texts(data.get("warnings")),
    )


def progress_of(word: str) -> Progress:
    """Every word that is not known to be an end is running: the docs say to keep polling."""
    if word in _COMPLETED:
        return Progress.COMPLETED
    return Progress.FAILED if word in _FAILED else Progress.RUNNING


def outputs_of(value: object) -> tuple[str, ...]:
    """The URLs in `outputs`: a list, a bare string, or objects with a `url`."""
    items = value if isinstance(value, list) else [value]
    urls = (url_of(item.get("url") if isinstance(item, dict) else item) for item in items)
    return tuple(url for url in urls if url is not None)


def url_of(value: object) -> str | None:
    """The text where it may be an address at all: something, printable and not endless."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_URL_CHARS or not value.isprintable():
        return None
    return value


def _took_ms(timings: object) -> int | None:
    """`inference` is 0 as long as it is not known."""
    return (_int(timings.get("inference")) or None) if isinstance(timings, dict) else None


def moment_ms(value: object) -> int | None:
    """An RFC 3339 moment with up to nine fractional digits, in milliseconds since 1970 UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return _plausible_ms(moment)
    except (ValueError, OverflowError):
        return None


def _plausible_ms(moment: datetime) -> int | None:
    moment_ms = int(moment.timestamp() * 1000)
    return moment_ms if 0 <= moment_ms < _LATEST_MS else None


def retry_after_s(header: str | None, now_ms: int) -> float | None:
    """`Retry-After` in seconds, written as seconds or as a date."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", header):
        return float(header)
    try:
        moment_ms = _plausible_ms(parsedate_to_datetime(header))
    except (ValueError, TypeError, OverflowError):
        return None
    return None if moment_ms is None else max(0.0, (moment_ms - now_ms) / 1000)


@lru_cache(maxsize=2)
def http_date_ms(header: str | None) -> int | None:
    """The moment of a `Date` header: the middle of the second that it names, which is the same for many answers."""
    try:
        second_ms = _plausible_ms(parsedate_to_datetime(header or ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return None if second_ms is None else second_ms + 500


def _texts(value: object) -> tuple[str, ...]:
    """A list of texts, as far as it is one and not too long."""
    items = value[:_MAX_TEXTS] if isinstance(value, list) else []
    return tuple(text for item in items if isinstance(item, str) and (text := _text(item)))


def _int(value: object) -> int:
    return int(value) if isinstance(value, (int, Decimal)) else 0


def _text(value: object) -> str:
    """Text from outside, short enough for a message and without control characters."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _dumped(value)
    clean = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    return clean if len(clean) <= _SHOWN_CHARS else clean[:_SHOWN_CHARS] + "…"


def _dumped(value: object) -> str:
    """As JSON; what could just be read may be nested too deeply to be written."""
    try:
        return json.dumps(value, default=str)
    except RecursionError:
        return "nested too deeply to be shown"


def _excerpt(body: bytes, secret: str) -> str:
    if not body:
        return "empty body"
    whole = redacted(body[:_MAX_EXCERPT_BYTES].decode(json.detect_encoding(body), "replace"), secret)
    text = re.sub(r"<[^>]*>|\s+", " ", whole[:2000])
    return "not JSON: " + " ".join(_text(text).split())[:120]
