"""The books as pages for a browser: predictions, money, faults, uploads. Looking changes nothing, and throws no dice.

Every text comes from requests and is escaped; the pages load nothing but pictures and clips of this server.
"""

import base64
import hashlib
import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from urllib.parse import quote, urlencode

from batchrun.emulator.books import Entry
from batchrun.emulator.faults import Fault
from batchrun.emulator.reply import Reply, rfc3339
from batchrun.emulator.store import Store
from batchrun.emulator.timeline import page_of
from batchrun.emulator.world import Task, World
from batchrun.money import format_usd

PAGE_SIZE = 50
PATHS = ("/", "/billing", "/uploads", "/predictions/{id}")
_STATES = ("created", "processing", "completed", "failed")
_NAMES = {"/": "Predictions", "/billing": "Billing", "/uploads": "Uploads"}
_NUMBERS = ("Length", "Charged", "Amount", "Size")
"""Columns that stand to the right."""
_SHOWN_CHARS = 160
_LARGEST_PAGE = 10**9


class Pages:
    """The pages of one account."""

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store

    def answer(self, path: str, query: Mapping[str, str]) -> Reply:
        """One of `PATHS`, as things stand now; 404 for what is not there."""
        self._world.advance()
        match path.strip("/").split("/"):
            case [""]:
                return _page("Predictions", path, self._predictions(query))
            case ["billing"]:
                return _page("Billing", path, self._billing(query))
            case ["uploads"]:
                return _page("Uploads", path, self._uploads(query))
            case ["predictions", task_id] if task_id in self._world.tasks:
                return _page("Prediction", path, self._prediction(self._world.tasks[task_id]))
        return _page("Not here", path, "<p>There is no such page. <a href='/'>All predictions</a></p>", status=404)

    # ------------------------------------------------------------------ pages

    def _predictions(self, query: Mapping[str, str]) -> str:
        status = query.get("status", "")
        status, words = status if status in _STATES else "", query.get("q", "").strip()
        number = _number(query)
        total, tasks = self._world.found(status or None, words, number, PAGE_SIZE)
        rows = [
            (
                _time(task.created_ms),
                _link(task),
                _state(task),
                _text(task.inputs["prompt"]) + (_soft(" somebody else's") if task.stranger else ""),
                _text(f"{task.duration_s} s"),
                _text(format_usd(task.charged_usd_micros or 0)),
            )
            for task in tasks
        ]
        table = _table(("Created (UTC)", "Prediction", "State", "Prompt", "Length", "Charged"), rows)
        asked = {name: value for name, value in (("status", status), ("q", words)) if value}
        return "".join(
            [self._tiles(), self._faults(), _search(status, words), table, _pager("/", asked, number, total)]
        )

    def _tiles(self) -> str:
        world, books = self._world, self._world.books
        states = Counter(task.status for task in world.tasks.values())
        kinds = {kind: books.search(kind=kind, size=0)[0] for kind in ("deduct", "refund")}
        strangers = f", {len(world.strangers):,} of them somebody else's" if world.strangers else ""
        tiles = [
            (format_usd(books.balance_usd_micros), "balance"),
            (
                format_usd(books.billed_usd_micros),
                f"{kinds['deduct']:,} charges less {kinds['refund']:,} refunds",
            ),
            (f"{len(world.tasks):,}", f"predictions{strangers}"),
            *((f"{states[state]:,}", state) for state in _STATES),
            (f"{sum(ticket.done for ticket in self._store.tickets.values()):,}", "uploads"),
        ]
        body = "".join(f"<div><b>{_text(value)}</b><span>{_text(name)}</span></div>" for value, name in tiles)
        return f"<div class='tiles'>{body}</div>"

    def _faults(self) -> str:
        dice = self._world.dice
        names = [fault for fault in Fault if dice.chances.get(fault) or dice.thrown.get(fault)]
        if not names:
            return "<p class='soft'>No faults are played (<code>--faults typical</code>).</p>"
        said = [f"{fault.value} {dice.thrown.get(fault, 0):,}" for fault in names]
        total = sum(dice.thrown.values())
        return f"<details class='sheet'><summary>Faults played: {total:,}</summary><p>{_text(' · '.join(said))}</p></details>"

    def _prediction(self, task: Task) -> str:
        facts = [
            ("State", _state(task)),
            ("Created", _time(task.created_ms)),
            ("Started", _time(task.started_ms)),
            ("Ended", _time(task.ended_ms)),
            ("Error", _text(f"{task.error} (code {task.code})" if task.error else "")),
            ("Not shown", _text("; ".join(task.warnings))),
            ("Whose", "somebody else's" if task.stranger else ""),
            *((_text(name), _text(value, whole=True)) for name, value in task.inputs.items()),
        ]
        found = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts if value)
        entries = [*self._world.books.of(task.task_id, "deduct"), *self._world.books.of(task.task_id, "refund")]
        return (
            f"<p><code>{_text(task.task_id)}</code></p>{self._pair(task)}<div class='sheet'><dl>{found}</dl></div>"
            f"<h2>Billing</h2>{_entries(entries)}"
        )

    def _pair(self, task: Task) -> str:
        parts = []
        picture = self._store.local_file(task.inputs["image"])
        if picture is not None and picture.exists():
            source = f"/pictures/{quote(picture.name)}"
            parts.append(f"<figure><img src='{source}' alt='The picture'><figcaption>Picture</figcaption></figure>")
        if task.status == "completed" and self._store.output_path(task.task_id).exists():
            source = f"/clips/{quote(task.task_id)}.mp4"
            parts.append(
                f"<figure><video src='{source}' controls loop muted preload='metadata'></video>"
                f"<figcaption><a href='{source}'>Clip</a></figcaption></figure>"
            )
        return f"<div class='pair'>{''.join(parts)}</div>" if parts else ""

    def _billing(self, query: Mapping[str, str]) -> str:
        number = _number(query)
        total, entries = self._world.books.search(newest_first=True, page=number, size=PAGE_SIZE)
        balance = format_usd(self._world.books.balance_usd_micros)
        return f"<p>Balance <b>{balance}</b></p>{_entries(entries)}{_pager('/billing', {}, number, total)}"

    def _uploads(self, query: Mapping[str, str]) -> str:
        number, tickets = _number(query), [*self._store.tickets.items()]
        rows = []
        for place in page_of(range(len(tickets))[::-1], number, PAGE_SIZE):
            ticket_id, ticket = tickets[place]
            path = self._store.upload_path(ticket_id, ticket.name)
            name = _text(ticket.name)
            link = f"<a href='/pictures/{quote(path.name)}'>{name}</a>" if ticket.done and path.exists() else name
            size = _text(f"{ticket.size_bytes:,} bytes")
            rows.append((link, _text(ticket.content_type), "stored" if ticket.done else _soft("promised"), size))
        table = _table(("File", "Type", "State", "Size"), rows)
        return table + _pager("/uploads", {}, number, len(tickets))


# ---------------------------------------------------------------------- parts


def _page(title: str, path: str, body: str, status: int = 200) -> Reply:
    style, digest = _style()
    links = "".join(
        f"<a href='{href}'{' aria-current=page' if href == path else ''}>{name}</a>" for href, name in _NAMES.items()
    )
    text = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{_text(title)} · batchrun emulator</title>"
        f"<meta name=viewport content='width=device-width, initial-scale=1'><link rel=icon href='data:,'><style>{style}</style></head>"
        f"<body><nav>{links}</nav><h1>{_text(title)}</h1>"
        f"<p class=soft>The local server's own books. Nothing here was paid for.</p><main>{body}</main></body></html>"
    )
    policy = f"default-src 'none'; style-src '{digest}'; img-src 'self' data:; media-src 'self'; form-action 'self'"
    headers = {
        "Content-Security-Policy": f"{policy}; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return Reply(status=status, body=text.encode("utf-8", "replace"), content_type="text/html", headers=headers)


@cache
def _style() -> tuple[str, str]:
    """The style, and its digest as a policy names it."""
    text = resources.files("batchrun.emulator").joinpath("pages.css").read_text("utf-8")
    return text, "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(
        f"<tr>{''.join(_td(name, value) for name, value in zip(head, row, strict=True))}</tr>" for row in rows
    )
    if not body:
        return "<p class='soft'>Nothing yet.</p>"
    names = "".join(f"<th{' class=number' if name in _NUMBERS else ''}>{_text(name)}</th>" for name in head)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _td(name: str, value: str) -> str:
    return f"<td data-name='{_text(name)}'{' class=number' if name in _NUMBERS else ''}>{value}</td>"


def _entries(entries: Sequence[Entry]) -> str:
    rows = [
        (
            _time(entry.at_ms),
            f"<span class='{_text(entry.kind)}'>{_text(entry.kind)}</span>",
            f"<a href='/predictions/{quote(entry.prediction_id)}'><code>{_text(entry.prediction_id)}</code></a>",
            _text(format_usd(entry.amount_usd_micros)),
        )
        for entry in entries
    ]
    return _table(("When (UTC)", "What", "Prediction", "Amount"), rows)


def _search(status: str, words: str) -> str:
    states = "".join(
        f"<option{' selected' if state == status else ''} value='{state}'>{state or 'any state'}</option>"
        for state in ("", *_STATES)
    )
    return (
        f"<form action='/'><input type=search name=q value='{_text(words, whole=True)}' placeholder='Id or words of the prompt' "
        f"aria-label='Search'><select name=status aria-label='State'>{states}</select><button>Show</button></form>"
    )


def _pager(path: str, asked: Mapping[str, str], number: int, total: int) -> str:
    """Where one is among how many, and the ways to the neighbours and the ends."""
    last = max(1, -(-total // PAGE_SIZE))
    ways = [("Newest", 1, number > 1), ("Newer", number - 1, number > 1)]
    ways += [("Older", number + 1, number < last), ("Oldest", last, number < last)]
    links = "".join(
        f"<a href='{path}?{_text(urlencode({**asked, 'page': min(to, last)}))}'>{word}</a>"
        for word, to, is_open in ways
        if is_open
    )
    return f"<div class='pager'><span class=soft>Page {number:,} of {last:,}, {total:,} in all</span>{links}</div>"


def _number(query: Mapping[str, str]) -> int:
    """The page that is asked for, from 1."""
    text = query.get("page", "1")
    return max(1, min(int(text), _LARGEST_PAGE)) if text.isascii() and text.isdigit() and len(text) < 10 else 1  # noqa: PLR2004  # digits


def _link(task: Task) -> str:
    return f"<a href='/predictions/{quote(task.task_id)}'><code>{_text(task.task_id[:12])}</code></a>"


def _state(task: Task) -> str:
    return f"<span class='{_text(task.status)}'>{_text(task.status)}</span>"


def _soft(text: str) -> str:
    return f"<span class='soft'>{_text(text)}</span>"


def _time(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    moment = rfc3339(at_ms)
    return f"<time datetime='{moment}'>{moment[:10]} {moment[11:19]}</time>"


def _text(value: object, *, whole: bool = False) -> str:
    """Escaped; long texts are cut where a list shows them."""
    text = value if isinstance(value, str) else json.dumps(value)
    return html.escape(text if whole or len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")
