"""The provider's API, one method a call. Source: `docs/rest-api` and the pages named at each method."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import aiohttp

from batchrun.clock import Clock, rfc3339
from batchrun.money import parse_usd
from batchrun.provider import wire
from batchrun.provider.http import Http, PaidBody, RawAnswer, TooLateError, describe, translated
from batchrun.provider.outcome import (
    NotAllowedError,
    NotFoundError,
    NotSent,
    Prediction,
    RefusedError,
    SubmitOutcome,
    TryLaterError,
    Unknown,
)

API = "/api/v3"
SUBMIT_TIMEOUT_S = 60.0
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAGE_SIZE, _MAX_PAGES = 100, 1000
_MICROS_FROM = 10_000
"""An old revision of the billing page writes micro-dollars: no clip costs ten thousand dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingRow:
    """One movement in the provider's own books."""

    kind: str
    """`deduct` or `refund`."""
    prediction_id: str
    amount_usd_micros: int
    created_ms: int | None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list."""

    predictions: list[Prediction]
    unreadable: int
    """Items without an id that can be used, or not shown at all: what they are nobody knows."""


class _Paged(NamedTuple):
    """One page of a paged answer."""

    items: list[Any]
    withheld: bool
    """It is empty, and the provider says that there is more."""


class Client:
    """The calls of the API that batchrun uses."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    @property
    def server_ahead_ms(self) -> int | None:
        """The API's clock less ours, where it is known."""
        return self._http.server_ahead_ms

    def age_ms(self, submitted_ms: int, server_ahead_ms: int | None) -> int:
        """How long ago something was submitted, by the provider's clock where that was known then and is now.

        Ours may have been set by years in between, and what is given up for its age is paid for.

        Args:
            submitted_ms: on our clock.
            server_ahead_ms: the provider's clock less ours at that time.
        """
        now_ahead_ms = self.server_ahead_ms
        drift_ms = 0 if None in (now_ahead_ms, server_ahead_ms) else (now_ahead_ms or 0) - (server_ahead_ms or 0)
        return self._clock.now_ms() + drift_ms - submitted_ms

    async def submit(self, model: str, inputs: Mapping[str, object], send_by_boot_s: float) -> SubmitOutcome:
        """Buy one clip: exactly one POST, no redirect, no retry (`docs/submit-task`).

        Cancelling it ends the wait, not the duty to record: it then returns what is known.

        Args:
            model: the model's id; stands in the path as it is.
            inputs: the documented fields only.
            send_by_boot_s: on `clock.boot_s`; after it nothing is sent any more.
        """
        data = json.dumps(inputs, ensure_ascii=False, default=_json_number).encode()
        body = PaidBody(data, self._clock, send_by_boot_s)
        try:
            raw = await self._http.api("POST", f"{API}/{model}", body=body, timeout_s=SUBMIT_TIMEOUT_S)
        except (aiohttp.ClientError, OSError, TimeoutError, TooLateError) as error:
            if not body.started:
                return NotSent(f"not sent: {_cause(error)}")
            body.abort()
            return Unknown(f"sent, and no answer: {describe(error)}")
        except asyncio.CancelledError:
            # What happened must be written down all the same: the caller records it and ends.
            body.abort()
            return Unknown("stopped before the answer came") if body.started else NotSent("stopped before it was sent")
        return wire.submit_outcome(wire.decode(raw.status, raw.body, raw.secret), raw.retry_after_s)

    async def result(self, prediction_id: str) -> Prediction:
        """Where a prediction is. A failed task is an answer, not an error (`docs/get-result`).

        Raises:
            TryLaterError, NotFoundError, NotAllowedError, RefusedError.
        """
        answer = await self._ask("GET", f"{API}/predictions/{prediction_id}/result", doing="poll")
        prediction = wire.prediction_of(answer.data)
        if prediction is None or prediction.prediction_id != prediction_id:
            raise TryLaterError("poll: the answer is about no or another prediction")
        return prediction

    async def listed(
        self, model: str | None, created_after_ms: int, created_before_ms: int
    ) -> AsyncGenerator[Page, None]:
        """The account's predictions in a window, newest first, page by page (`docs-common-api/predictions`).

        Args:
            model: only of this model; None for all.
            created_after_ms: in the provider's time, as `created_before_ms`.
            created_before_ms: fixed over the pages, so that new ones do not move them.

        Raises: as `result`.
        """
        body = {"created_after": rfc3339(created_after_ms), "created_before": rfc3339(created_before_ms)}
        async for paged in self._pages(f"{API}/predictions", body | ({"model": model} if model else {}), "list"):
            found = [prediction for item in paged.items if (prediction := wire.prediction_of(item)) is not None]
            yield Page(found, unreadable=len(paged.items) - len(found) + paged.withheld)

    async def balance(self) -> int:
        """The account's balance in micro-dollars. (`docs-common-api/balance`) Raises: as `result`."""
        answer = await self._ask("GET", f"{API}/balance", doing="balance")
        return _usd(_field(answer.data, "balance"), "balance")

    async def price(self, model: str, inputs: Mapping[str, object]) -> int:
        """What these inputs would cost today, in micro-dollars. (`model/price`) Raises: as `result`."""
        answer = await self._ask(
            "POST", f"{API}/model/price", body={"model_id": model, "inputs": dict(inputs)}, doing="price"
        )
        price = _field(answer.data, "discounted_price")
        return _usd(price if price is not None else _field(answer.data, "price"), "price")

    async def billing(self, prediction_ids: list[str]) -> list[BillingRow]:
        """The charges and refunds of these predictions. (`docs-common-api/billings`) Raises: as `result`."""
        body = {"prediction_uuids": prediction_ids, "sort": "created_at ASC"}
        rows: list[BillingRow] = []
        async with aclosing(self._pages(f"{API}/billings/search", body, "billing")) as pages:
            async for paged in pages:
                _check_whole(paged)
                rows += [row for item in paged.items if (row := _billing_row(item)) is not None]
        return rows

    async def charges(self, prediction_ids: list[str]) -> dict[str, int]:
        """What each prediction was charged less what was refunded, in micro-dollars; without those not charged yet.

        At most 40 a question: each may have several rows. Raises: as `result`.
        """
        found: dict[str, int] = {}
        refunds: dict[str, int] = {}
        for row in await self.billing(prediction_ids):
            books = {"deduct": found, "refund": refunds}.get(row.kind, {})
            books[row.prediction_id] = books.get(row.prediction_id, 0) + row.amount_usd_micros
        return {one: amount - refunds.get(one, 0) for one, amount in found.items() if one in prediction_ids}

    async def charged_since(self, since_ms: int, model: str) -> set[str]:
        """The predictions of a model that were charged since a moment of the provider's time. Raises: as `result`.

        Those whose model is not told count as well.
        """
        found: set[str] = set()
        body = {"billing_type": "deduct", "sort": "created_at DESC"}
        async with aclosing(self._pages(f"{API}/billings/search", body, "billing")) as pages:
            async for paged in pages:
                _check_whole(paged)
                rows = [row for item in paged.items if (row := _billing_row(item)) is not None]
                recent = [row for row in rows if row.created_ms is None or row.created_ms >= since_ms]
                found |= {row.prediction_id for row in recent if row.kind == "deduct" and row.model in (None, model)}
                if len(recent) < len(rows):
                    break
        return found

    async def upload_ticket(self, filename: str, size_bytes: int, content_type: str) -> Mapping[str, Any]:
        """A place to PUT a file. (`docs/upload-files-api`) Raises: as `result`."""
        body = {"filename": filename, "size": size_bytes, "content_type": content_type}
        answer = await self._ask("POST", f"{API}/media/uploads", body=body, doing="upload")
        return answer.data if isinstance(answer.data, dict) else {}

    async def upload_put(self, url: str, data: bytes, headers: Mapping[str, str]) -> None:
        """The bytes to their place. Raises TryLaterError."""
        raw = await self._http.put(url, data, headers, _upload_timeout_s(len(data)))
        if not 200 <= raw.status < 300:  # noqa: PLR2004
            # Its place is used up, or it does not like this one: a new ticket is worth a try. The key has no part in it.
            text = f"upload: HTTP {raw.status} from the storage"
            raise TryLaterError(text, raw.retry_after_s, throttled=raw.status == 429)  # noqa: PLR2004

    async def upload_form(self, filename: str, data: bytes, content_type: str) -> str:
        """The older way to upload, through the API itself: the file's URL. Raises: as `result`."""
        form = aiohttp.FormData()
        form.add_field("file", data, filename=filename, content_type=content_type)
        with translated("upload"):
            raw = await self._http.api(
                "POST", f"{API}/media/upload/binary", body=form, timeout_s=_upload_timeout_s(len(data))
            )
        answer = self._checked(raw, "upload")
        url = wire.url_of(_field(answer.data, "download_url"))
        if url is None:
            raise RefusedError("upload: the answer names no address of the file")
        return url

    async def _pages(self, path: str, body: Mapping[str, object], doing: str) -> AsyncGenerator[_Paged, None]:
        """The items of a paged answer, page by page to its end. Raises: as `result`.

        A page that is shorter than was asked for need not be the last: the provider may have smaller ones than it says.
        An empty one is the last, but shows the end only when the provider does not speak of more.
        """
        seen = 0
        for number in range(1, _MAX_PAGES + 1):
            paged = {**body, "page": number, "page_size": _PAGE_SIZE}
            answer = await self._ask("POST", path, body=paged, doing=doing)
            items = _items(answer.data)
            seen += len(items)
            total, more = _field(answer.data, "total"), _field(answer.data, "has_more")
            withheld = more is True or (isinstance(total, int) and seen < total)
            yield _Paged(items, withheld=withheld and not items)
            all_seen = isinstance(total, int) and seen >= total and len(items) < _PAGE_SIZE
            if not items or more is False or (all_seen and more is not True):
                return
        raise TryLaterError(f"{doing}: more than {_MAX_PAGES} pages")

    async def _ask(self, method: str, path: str, *, doing: str, body: object = None) -> wire.Answer:
        data = json.dumps(body, default=_json_number).encode() if body is not None else None
        headers = {"Content-Type": "application/json"} if data is not None else {}
        with translated(doing):
            raw = await self._http.api(method, path, body=data, headers=headers)
        return self._checked(raw, doing)

    def _checked(self, raw: RawAnswer, doing: str) -> wire.Answer:
        answer = wire.decode(raw.status, raw.body, raw.secret)
        if not wire.is_success(answer):
            self._raise(raw, doing)
        return answer

    def _raise(self, raw: RawAnswer, doing: str) -> None:
        """The one table from an answer that is no success to what the caller does next."""
        answer = wire.decode(raw.status, raw.body, raw.secret)
        ok = 200 <= raw.status < 300  # noqa: PLR2004
        status = answer.code if ok and answer.code is not None else raw.status
        message = f"{doing}: HTTP {raw.status}: {answer.message}"
        if status == 401 or (status == 403 and answer.enveloped):  # noqa: PLR2004  # 403 without: a gateway between us
            raise NotAllowedError(message, status)
        if status == 404 and answer.enveloped:  # noqa: PLR2004
            raise NotFoundError(message)
        if ok and answer.enveloped and doing == "upload":
            raise RefusedError(message)  # how the provider says that it does not like the file, whatever the code
        if status in _RETRYABLE or not answer.enveloped:
            raise TryLaterError(message, raw.retry_after_s, throttled=status == 429)  # noqa: PLR2004
        raise RefusedError(message)


def _check_whole(paged: _Paged) -> None:
    """What is missing from a billing would count as never charged, or never refunded."""
    if paged.withheld:
        raise TryLaterError("billing: an empty page before the end")


def _cause(error: BaseException) -> str:
    """Aiohttp wraps what the body's writer raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TooLateError):
            return "the time in which it had to leave was over (was the machine asleep?)"
        cause = cause.__cause__
    return describe(error)


def _upload_timeout_s(size_bytes: int) -> float:
    return 120.0 + size_bytes / 1_000_000


def _json_number(value: object) -> float:
    """Decimals leave as JSON numbers; two decimals survive a float."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _field(data: object, name: str) -> Any:  # noqa: ANN401
    return data.get(name) if isinstance(data, Mapping) else None


def _items(data: object) -> list[Any]:
    items = data if isinstance(data, list) else _field(data, "items")
    return items if isinstance(items, list) else []


def _usd(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise RefusedError(f"{what}: the answer holds no amount")
    try:
        return parse_usd(round(Decimal(value), 6))
    except ValueError as error:
        raise RefusedError(f"{what}: {error}") from error


def _billing_row(item: object) -> BillingRow | None:
    kind, price = _field(item, "billing_type"), _field(item, "price")
    prediction_id = _field(_field(item, "prediction"), "uuid")
    if not isinstance(kind, str) or not isinstance(prediction_id, str) or not isinstance(price, (int, Decimal)):
        return None
    micros = int(price) if price >= _MICROS_FROM else _usd(price, "billing")
    return BillingRow(
        kind=kind,
        prediction_id=prediction_id,
        amount_usd_micros=micros,
        created_ms=wire.moment_ms(_field(item, "created_at")),
        model=model if isinstance(model := _field(_field(item, "prediction"), "model_uuid"), str) else None,
    )
