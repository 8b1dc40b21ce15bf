"""The emulated API without a network: a request in, a `Reply` out, at once. The same for the same world, dice and clock.

Source of every shape: the provider's pages, as far as they are known; where they disagree, the newer one.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from batchrun.emulator.faults import Fault
from batchrun.emulator.links import Links
from batchrun.emulator.reply import (
    RefusedRequestError,
    Reply,
    envelope,
    html_page,
    http_date,
    json_object,
    millis_or_moment_ms,
    moment_ms,
    refusal,
    rfc3339,
    truncated,
    whole_number,
)
from batchrun.emulator.world import MODEL, Task, World

API = "/api/v3"
_TICKET_MS = 600_000
_MAX_PAGE = 100
_PREDICTION = re.compile(rf"{API}/predictions/(?P<id>[^/]+)(?:/result)?")
_CUT, _STALL = Reply(cut=True), Reply(stall=True)
_NO_PERMISSION = "permission_denied"
_SUBMIT_FAULTS = (
    Fault.SUBMIT_DROP_BEFORE,
    Fault.SUBMIT_DROP_AFTER,
    Fault.SUBMIT_DROP_LATE,
    Fault.SUBMIT_500,
    Fault.SUBMIT_502_AFTER,
    Fault.SUBMIT_504_AFTER,
    Fault.SUBMIT_STALL,
    Fault.SUBMIT_NO_ID,
    Fault.SUBMIT_HTML,
    Fault.SUBMIT_TRUNCATED,
    Fault.SUBMIT_429,
    Fault.SUBMIT_NO_CREDIT,
)
_POLL_FAULTS = (
    Fault.POLL_500,
    Fault.POLL_429,
    Fault.POLL_DROP,
    Fault.POLL_STALL,
    Fault.POLL_HTML,
    Fault.POLL_TRUNCATED,
    Fault.POLL_404,
    Fault.POLL_WORD,
)


class Api:
    """All JSON endpoints of one account."""

    def __init__(
        self,
        world: World,
        links: Links,
        *,
        key: str | None = None,
        show_inputs: bool = True,
        base_url: str = "http://127.0.0.1",
        others: "Mapping[str, Api] | None" = None,
    ) -> None:
        """One account's API.

        Args:
            world: its state, and the clock of every answer. Its `on_created` hears of each new task.
            links: the addresses of uploads and outputs.
            key: the only key that is accepted; None accepts every request.
            show_inputs: whether results and lists echo the inputs (the sources disagree).
            base_url: the API's own address, for `urls.get`.
            others: the APIs of further accounts, by their key.
        """
        self.base_url = base_url
        self._world = world
        self._links = links
        self._key = key
        self._show_inputs = show_inputs
        self._others = {f"Bearer {one}": api for one, api in (others or {}).items()}
        self._routes: dict[str, tuple[str, Callable[[bytes], Reply]]] = {
            f"{API}/{MODEL}": ("POST", self._submit),
            f"{API}/predictions": ("POST", self._list),
            f"{API}/media/uploads": ("POST", self._ticket),
            f"{API}/balance": ("GET", self._balance),
            f"{API}/model/price": ("POST", self._price),
            f"{API}/billings/search": ("POST", self._billing),
        }

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One request, answered.

        Args:
            method: in capitals.
            path: from the slash on; a query is not looked at.
            headers: `Authorization` is read under this very name, unless the mapping ignores case.
            body: as it came.
        """
        account = self.of(headers)
        if account is not self:
            return account.answer(method, path, headers, body)
        return self.guarded(headers, lambda: self._routed(method, path.partition("?")[0], body))

    def of(self, headers: Mapping[str, str]) -> "Api":
        """The account that a request's key belongs to; this one for a key that belongs to none."""
        return self._others.get(headers.get("Authorization", ""), self)

    def guarded(self, headers: Mapping[str, str], work: Callable[[], Reply]) -> Reply:
        """The key is checked, the world brought up to now, every refusal put into its envelope, the answer dated."""
        if self._key is not None and headers.get("Authorization") != f"Bearer {self._key}":
            reply = envelope(None, 401, 401, "invalid authentication")
        else:
            self._world.advance()
            try:
                reply = work()
            except RefusedRequestError as error:
                reply = refusal(error)
        return replace(reply, headers={**reply.headers, "Date": http_date(self._world.clock.now_ms())})

    def _routed(self, method: str, path: str, body: bytes) -> Reply:
        if self._world.dice.throw(Fault.OUTAGE):
            return html_page(503)
        prediction = _PREDICTION.fullmatch(path)
        if prediction is not None and method == "GET":
            return self._result(prediction["id"])
        if path not in self._routes:
            raise RefusedRequestError(404, 404, "not found")
        wanted, handler = self._routes[path]
        if method != wanted:
            raise RefusedRequestError(405, 405, "method not allowed")
        return handler(body)

    # ------------------------------------------------------------------ predictions

    def _submit(self, body: bytes) -> Reply:
        if self._world.dice.throw(Fault.STRANGER):
            self._let_a_stranger_in()
        fault = self._world.dice.throw(*_SUBMIT_FAULTS)
        if (reply := self._instead(fault, body)) is not None:
            return reply
        return _after(fault, envelope(self._shown(self._world.submit(json_object(body)))))

    def _instead(self, fault: Fault | None, body: bytes) -> Reply | None:
        """What a fault answers when nothing is created now."""
        match fault:
            case Fault.SUBMIT_DROP_BEFORE:
                return _CUT
            case Fault.SUBMIT_DROP_LATE:
                self._world.submit_late(json_object(body))
                return _CUT
            case Fault.SUBMIT_500:
                return envelope(None, 500, 500, "internal error")
            case Fault.SUBMIT_HTML:
                return html_page(200)
            case Fault.SUBMIT_429:
                raise RefusedRequestError(429, 429, "too many requests, please try again later", retry_after_s=1)
            case Fault.SUBMIT_NO_CREDIT:
                raise RefusedRequestError(400, 1407, "insufficient credits")
        return None

    def _let_a_stranger_in(self) -> None:
        number = len(self._world.strangers)
        picture = self._links.stranger_picture(number)
        with suppress(RefusedRequestError):  # no credit left: they get nothing, as we
            self._world.add_stranger({"prompt": f"A picture of somebody else, {number}", "image": picture})

    def _result(self, task_id: str) -> Reply:
        fault = self._world.dice.throw(*_POLL_FAULTS)
        task = self._world.tasks.get(task_id)
        if task is None or fault is Fault.POLL_404:
            raise RefusedRequestError(404, 404, "Prediction not found")
        match fault:
            case Fault.POLL_500:
                return envelope(None, 500, 500, "internal error")
            case Fault.POLL_429:
                raise RefusedRequestError(429, 429, "too many requests, please try again later", retry_after_s=1)
            case Fault.POLL_DROP:
                return _CUT
            case Fault.POLL_STALL:
                return _STALL
            case Fault.POLL_HTML:
                return html_page(200)
            case Fault.POLL_TRUNCATED:
                return truncated(envelope(self._shown(task)))
            case Fault.POLL_WORD if task.ended_ms is None:
                return envelope(self._shown(task) | {"status": "Warming Up"})
        return envelope(self._shown(task))

    def _list(self, body: bytes) -> Reply:
        if not self._world.account.list_open:
            raise RefusedRequestError(403, 403, "no permission to list predictions", error_code=_NO_PERMISSION)
        asked = json_object(body)
        page, size = _page_of(asked, 100)
        after, before = moment_ms(asked.get("created_after")), moment_ms(asked.get("created_before"))
        fault = self._world.dice.throw(Fault.LIST_500, Fault.LIST_EMPTY)
        if fault is Fault.LIST_500:
            return envelope(None, 500, 500, "internal error")
        if fault is Fault.LIST_EMPTY or _text(asked, "model") not in (None, MODEL):
            return envelope({"page": page, "total": 0, "items": []})
        total, tasks = self._world.listed(after, before, _text(asked, "status"), page, size)
        return envelope({"page": page, "total": total, "items": [self._shown(task) for task in tasks]})

    def _shown(self, task: Task) -> dict[str, Any]:
        """A prediction as the API shows it."""
        completed = task.status == "completed"
        inference_ms = (task.ended_ms or 0) - (task.started_ms or 0) if completed else 0
        shown: dict[str, Any] = {
            "id": task.task_id,
            "model": MODEL,
            "status": task.status,
            "created_at": rfc3339(task.created_ms, digits=9),
            "urls": {"get": f"{self.base_url}{API}/predictions/{task.task_id}/result"},
            "outputs": [self._links.output_url(task.task_id)] if completed else [],
            "has_nsfw_contents": [False] if completed else None,
            "error": task.error,
            "code": task.code,
            "timings": {"inference": inference_ms},
        }
        if self._show_inputs:
            shown["input"] = self._echoed(task)
        if completed and task.warnings:
            shown["warnings"] = task.warnings  # not the provider's: a preview says what it does not show
        return shown

    def _echoed(self, task: Task) -> dict[str, Any]:
        host = self._world.account.image_host
        return task.inputs if host is None else task.inputs | {"image": f"{host}/{task.task_id}.png"}

    # ------------------------------------------------------------------ uploads

    def _ticket(self, body: bytes) -> Reply:
        match self._world.dice.throw(Fault.TICKET_500, Fault.TICKET_429):
            case Fault.TICKET_500:
                return envelope(None, 500, 500, "internal error")
            case Fault.TICKET_429:
                raise RefusedRequestError(429, 429, "upload quota exceeded", retry_after_s=1)
        asked = json_object(body)
        name, content_type = str(asked.get("filename", "")), str(asked.get("content_type"))
        size_bytes = whole_number(asked, "size", 0)
        url = self._links.place_upload(name, size_bytes, content_type)
        place = {
            "method": "PUT",
            "url": url,
            "headers": {"Content-Type": content_type, "If-None-Match": "*"},
            "expires_at": rfc3339(self._world.clock.now_ms() + _TICKET_MS),
        }
        return envelope(uploaded(url, name, size_bytes) | {"upload": place})

    # ------------------------------------------------------------------ money

    def _balance(self, _: bytes) -> Reply:
        return envelope({"balance": self._world.books.balance_usd_micros / 1e6})

    def _price(self, body: bytes) -> Reply:
        asked = json_object(body)
        inputs = asked.get("inputs")
        duration_s = inputs.get("duration") if isinstance(inputs, dict) else None
        price = self._world.account.quote(duration_s if isinstance(duration_s, int) else 5) / 1e6
        quote = {"model_id": asked.get("model_id"), "price": price, "discounted_price": price, "discount_rate": 100}
        return envelope(quote | {"currency": "USD"})

    def _billing(self, body: bytes) -> Reply:
        if not self._world.account.billing_open:
            raise RefusedRequestError(403, 403, "no permission to read billings", error_code=_NO_PERMISSION)
        match self._world.dice.throw(Fault.BILLING_500, Fault.BILLING_STALL):
            case Fault.BILLING_500:
                return envelope(None, 500, 500, "internal error")
            case Fault.BILLING_STALL:
                return _STALL
        asked = json_object(body)
        page, size = _page_of(asked, 10)
        total, entries = self._world.books.search(
            predictions=_texts(asked, "prediction_uuids"),
            kind=_text(asked, "billing_type"),
            first_ms=millis_or_moment_ms(asked.get("start_time")),
            last_ms=millis_or_moment_ms(asked.get("end_time")),
            newest_first=(_text(asked, "sort") or "").upper().endswith("DESC"),
            page=page,
            size=size,
        )
        items = [
            {
                "uuid": f"{entry.number:032x}",
                "billing_type": entry.kind,
                "price": entry.amount_usd_micros / 1e6,
                "created_at": rfc3339(entry.at_ms),
                "prediction": {"uuid": entry.prediction_id, "model_uuid": entry.model or MODEL},
            }
            for entry in entries
        ]
        return envelope({"page": page, "total": total, "items": items})


def _after(fault: Fault | None, reply: Reply) -> Reply:
    """What a fault makes of the answer to a submit that was taken."""
    match fault:
        case Fault.SUBMIT_DROP_AFTER:
            return _CUT
        case Fault.SUBMIT_502_AFTER:
            return html_page(502)
        case Fault.SUBMIT_504_AFTER:
            return html_page(504)
        case Fault.SUBMIT_STALL:
            return _STALL
        case Fault.SUBMIT_NO_ID:
            return envelope({"status": "created", "outputs": []})
        case Fault.SUBMIT_TRUNCATED:
            return truncated(reply)
    return reply


def uploaded(url: str, name: str, size_bytes: int) -> dict[str, object]:
    """A file as the upload endpoints show it."""
    return {"type": "image", "download_url": url, "filename": name, "size": size_bytes}


def _page_of(asked: Mapping[str, Any], default_size: int) -> tuple[int, int]:
    """The number of the page, from 1, and its size."""
    page, size = whole_number(asked, "page", 1), whole_number(asked, "page_size", default_size)
    return max(1, page), max(1, min(_MAX_PAGE, size))


def _texts(asked: Mapping[str, Any], name: str) -> list[str]:
    value = asked.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise RefusedRequestError(400, 1401, f"invalid parameter: {name}")
    return value


def _text(asked: Mapping[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise RefusedRequestError(400, 1401, f"invalid parameter: {name}")
    return value or None
