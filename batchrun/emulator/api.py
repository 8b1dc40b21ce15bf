"""The emulated API without a network: a request in, a `Reply` out, at once. The same for the same world, dice and clock.

Source of every shape: the provider's pages, as far as they are known; where they disagree, the newer one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from batchrun.emulator.books import PRICE_USD_MICROS
from batchrun.emulator.faults import Fault
from batchrun.emulator.links import Links, PlainLinks
from batchrun.emulator.reply import (
    RefusedRequestError,
    Reply,
    envelope,
    html_page,
    http_date,
    json_object,
    moment_ms,
    refusal,
    rfc3339,
    truncated,
    whole_number,
)
from batchrun.emulator.world import MODEL, Task, World

__all__ = ["API", "Api", "Links", "PlainLinks", "Reply"]

API = "/api/v3"
_TICKET_MS = 600_000
_MAX_PAGE = 100
_PREDICTION = re.compile(rf"{API}/predictions/(?P<id>[^/]+)(?:/result)?")
_CUT = Reply(cut=True)


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
    ) -> None:
        """One account's API.

        Args:
            world: its state, and the clock of every answer. Its `on_created` hears of each new task.
            links: the addresses of uploads and outputs.
            key: the only key that is accepted; None accepts every request.
            show_inputs: whether results and lists echo the inputs (the sources disagree).
            base_url: the API's own address, for `urls.get`.
        """
        self.base_url = base_url
        self._world = world
        self._links = links
        self._key = key
        self._show_inputs = show_inputs
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
        return self.guarded(headers, lambda: self._routed(method, path.partition("?")[0], body))

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
        fault = self._world.dice.throw(
            Fault.SUBMIT_DROP_BEFORE,
            Fault.SUBMIT_DROP_AFTER,
            Fault.SUBMIT_500,
            Fault.SUBMIT_502_AFTER,
            Fault.SUBMIT_NO_ID,
            Fault.SUBMIT_TRUNCATED,
            Fault.SUBMIT_429,
            Fault.SUBMIT_NO_CREDIT,
        )
        match fault:
            case Fault.SUBMIT_DROP_BEFORE:
                return _CUT
            case Fault.SUBMIT_500:
                return envelope(None, 500, 500, "internal error")
            case Fault.SUBMIT_429:
                raise RefusedRequestError(429, 429, "too many requests, please try again later", retry_after_s=1)
            case Fault.SUBMIT_NO_CREDIT:
                raise RefusedRequestError(400, 1407, "insufficient credits")
        reply = envelope(self._shown(self._world.submit(json_object(body))))
        match fault:
            case Fault.SUBMIT_DROP_AFTER:
                return _CUT
            case Fault.SUBMIT_502_AFTER:
                return html_page(502)
            case Fault.SUBMIT_NO_ID:
                return envelope({"status": "created", "outputs": []})
            case Fault.SUBMIT_TRUNCATED:
                return truncated(reply)
        return reply

    def _result(self, task_id: str) -> Reply:
        fault = self._world.dice.throw(
            Fault.POLL_500, Fault.POLL_DROP, Fault.POLL_HTML, Fault.POLL_TRUNCATED, Fault.POLL_404
        )
        task = self._world.tasks.get(task_id)
        if task is None or fault is Fault.POLL_404:
            raise RefusedRequestError(404, 404, "Prediction not found")
        match fault:
            case Fault.POLL_500:
                return envelope(None, 500, 500, "internal error")
            case Fault.POLL_DROP:
                return _CUT
            case Fault.POLL_HTML:
                return html_page(200)
            case Fault.POLL_TRUNCATED:
                return truncated(envelope(self._shown(task)))
        return envelope(self._shown(task))

    def _list(self, body: bytes) -> Reply:
        asked = json_object(body)
        after, before = moment_ms(asked.get("created_after")), moment_ms(asked.get("created_before"))
        found = [
            task
            for task in sorted(self._world.tasks.values(), key=lambda task: -task.created_ms)
            if asked.get("model") in (None, MODEL)
            and asked.get("status") in (None, task.status)
            and (after is None or task.created_ms >= after)
            and (before is None or task.created_ms <= before)
        ]
        page, size = _page_of(asked, 100)
        items = [self._shown(task) for task in found[(page - 1) * size : page * size]]
        return envelope({"page": page, "total": len(found), "items": items})

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
            shown["input"] = task.inputs
        return shown

    # ------------------------------------------------------------------ uploads

    def _ticket(self, body: bytes) -> Reply:
        if self._world.dice.throw(Fault.TICKET_500):
            return envelope(None, 500, 500, "internal error")
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
        base = PRICE_USD_MICROS[5]
        price = (PRICE_USD_MICROS.get(duration_s, base) if isinstance(duration_s, int) else base) / 1e6
        quote = {"model_id": asked.get("model_id"), "price": price, "discounted_price": price, "discount_rate": 100}
        return envelope(quote | {"currency": "USD"})

    def _billing(self, body: bytes) -> Reply:
        asked = json_object(body)
        wanted = asked.get("prediction_uuids")
        rows = [
            entry
            for entry in self._world.books.entries
            if (not wanted or entry.prediction_id in wanted) and asked.get("billing_type") in (None, entry.kind)
        ]
        if str(asked.get("sort", "")).endswith("DESC"):
            rows.reverse()
        page, size = _page_of(asked, 10)
        items = [
            {
                "uuid": f"{entry.number:032x}",
                "billing_type": entry.kind,
                "price": entry.amount_usd_micros / 1e6,
                "created_at": rfc3339(entry.at_ms),
                "prediction": {"uuid": entry.prediction_id, "model_uuid": MODEL},
            }
            for entry in rows[(page - 1) * size : page * size]
        ]
        return envelope({"page": page, "total": len(rows), "items": items})


def uploaded(url: str, name: str, size_bytes: int) -> dict[str, object]:
    """A file as the upload endpoints show it."""
    return {"type": "image", "download_url": url, "filename": name, "size": size_bytes}


def _page_of(asked: Mapping[str, Any], default_size: int) -> tuple[int, int]:
    """The number of the page, from 1, and its size."""
    page, size = whole_number(asked, "page", 1), whole_number(asked, "page_size", default_size)
    return max(1, page), max(1, min(_MAX_PAGE, size))
