"""YAML text to a tree of nodes that know their line and column.

Built from the parser's events instead of PyYAML's constructors, because a manifest needs what those throw away:
positions, duplicate keys, and the text of a scalar as it was written (an id of `00123` is not the number 83, a budget of
`0.10` is not a float). Scalars therefore stay text; the only words with a meaning of their own are null, true and false.

Bounds: 32 MiB of text, 64 levels, 2,000,000 nodes with every alias counted in full (an alias bomb ends here).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from batchrun.errors import ManifestError, Problem

MAX_TEXT_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 2_000_000

Plain = str | bool | None | list["Plain"] | dict[str, "Plain"]
Loc = tuple[int | str, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# A value that is closed and goes on is text; one that is not closed on its line may be meant as it is.
_UNQUOTED = (
    re.compile(r"(?:^|:|-)\s+([*&!%@`])"),
    re.compile(r"(?:^|:|-)\s+([{\[])[^{}\[\]]*[}\]][ \t]*[^\s,#}\]]"),
    re.compile(r"^[\s-]*\w+:\s+([{\[])[^{}\[\]]*[}\]][ \t]*,"),  # {title}, soft light: no list of values in this place
)
_STR_TAG = "tag:yaml.org,2002:str"


@dataclass(slots=True)
class Node:
    """A value and where it stands. `value` is a scalar, a list of nodes or a dict of key to node."""

    value: "str | bool | list[Node] | dict[str, Node] | None"
    line: int
    column: int
    weight: int = 1
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def plain(self) -> Plain:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def locate(self, loc: Loc) -> tuple[int, int]:
        """Line and column of the value at `loc`, or of the nearest thing around it that exists."""
        node = self._at(loc)
        return node.line, node.column

    def _at(self, loc: Loc) -> "Node":
        node = self
        for step in loc:
            inner = node._child(step)
            if inner is None:
                break
            node = inner
        return node

    def _child(self, step: int | str) -> "Node | None":
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None

    def before(self, loc: Loc) -> "tuple[str, Node] | None":
        """The key that stands before the key at `loc`, with its value."""
        keys, key = list(self._at(loc[:-1]).keys), str(loc[-1])
        at = keys.index(key) if key in keys else 0
        return (keys[at - 1], self._at((*loc[:-1], keys[at - 1]))) if at else None

    def locate_key(self, loc: Loc) -> tuple[int, int]:
        """Line and column of the key at `loc`: for complaints about the key itself."""
        parent = self._at(loc[:-1])
        return parent.keys.get(str(loc[-1]), (parent.line, parent.column))


def read_yaml(path: Path, shown: str, noted: list[Problem] | None = None) -> Node:
    """The mapping that the file holds.

    Args:
        path: the file.
        shown: what messages call it.
        noted: takes what one can read past (duplicate keys, of which the first counts, and tags) instead of raising it.

    Raises:
        ManifestError: unreadable, too large, not UTF-8, not YAML, duplicate keys, tags, bombs; with positions.
    """
    return parse_yaml(_read_text(path, shown), shown, noted)


def _read_text(path: Path, shown: str) -> str:
    try:
        if not path.is_file():
            raise _one(shown, 1, 1, "there is no such file" if not path.exists() else "is not a regular file")
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise _one(shown, 1, 1, f"is larger than {MAX_TEXT_BYTES // 2**20} MiB; split it into several manifests")
        data = path.read_bytes()
    except OSError as error:
        raise _one(shown, 1, 1, f"cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise _one(
            shown, line, column, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def parse_yaml(text: str, shown: str, noted: list[Problem] | None = None) -> Node:
    """The mapping in `text`. Arguments and errors as of `read_yaml`."""
    builder = _Builder(shown)
    try:
        root = _parse(text, shown, builder)
    except ManifestError as error:
        raise ManifestError([*builder.problems, *error.problems]) from error
    if noted is not None:
        noted += builder.problems
    elif builder.problems:
        raise ManifestError(builder.problems)
    return root


def _parse(text: str, shown: str, builder: "_Builder") -> Node:
    try:
        root = builder.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = f"is not YAML here: {error.problem or error.context}{_quote_hint(text, line)}"
        raise _one(shown, line, column, message) from error
    except yaml.reader.ReaderError as error:
        before = _before(text, error)
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise _one(shown, line, column, f"character U+{_code(error.character):04X} is not allowed in YAML") from error
    if not isinstance(root.value, dict):
        raise _one(shown, root.line, root.column, "a manifest is a mapping that starts with `version: 1`")
    return root


def _quote_hint(text: str, line: int) -> str:
    """For `{title} turns` and `*.jpg`, whose first character means something else to YAML."""
    lines = text.split("\n", line)
    found = [one for pattern in _UNQUOTED if line <= len(lines) and (one := pattern.search(lines[line - 1]))]
    return f"; put text that begins with {found[0][1]} in quotes" if found else ""


def _before(text: str, error: yaml.reader.ReaderError) -> str:
    """What stands before the character. The parser in C counts bytes of UTF-8, the other one characters."""
    if error.encoding == "unicode":
        return text[: error.position]
    return text.encode()[: error.position].decode(errors="ignore")


def _code(character: object) -> int:
    """PyYAML's two parsers name the character by its number or as itself."""
    return character if isinstance(character, int) else ord(str(character)[:1] or "?")


def _one(shown: str, line: int, column: int, message: str) -> ManifestError:
    return ManifestError([Problem(shown, line, column, "", message)])


class _Builder:
    """Events to nodes, with every bound checked on the way."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.problems: list[Problem] = []
        self._anchors: dict[str, Node] = {}
        self._node_count = 0

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    line, column = _start(event)
                    raise _one(self.shown, line, column, "a manifest is one document; remove what follows `---`")
                root = self._node(next(events), events, 0)
        return root or Node(None, 1, 1)

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        line, column = _start(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", line, column)
        if depth > MAX_DEPTH:
            raise _one(self.shown, line, column, f"is nested deeper than {MAX_DEPTH} levels")
        self._check_tag(event, line, column)
        node = Node(None, line, column)
        if isinstance(event, yaml.ScalarEvent):
            node.value = _scalar(event)
            self._count(1, node)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._count(1, node)
            self._sequence(node, events, depth)
        else:
            self._count(1, node)
            self._mapping(node, events, depth)
        # Only a finished value can be named: a value that contains itself is refused as an unknown alias.
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
        return node

    def _sequence(self, node: Node, events: Iterator[yaml.Event], depth: int) -> None:
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, depth + 1))
        node.value = items
        node.weight += sum(item.weight for item in items)

    def _mapping(self, node: Node, events: Iterator[yaml.Event], depth: int) -> None:
        items: dict[str, Node] = {}
        merged: list[Node] = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            line, column = _start(event)
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if key is None:
                raise _one(self.shown, line, column, "a key must be plain text")
            value = self._node(next(events), events, depth + 1)
            node.weight += value.weight
            if key == "<<":
                merged += self._merge_sources(value)
            elif key in items:
                first = node.keys[key][0]
                self._problem(line, column, f"key {key!r} stands here a second time; the first is in line {first}")
            else:
                items[key] = value
                node.keys[key] = (line, column)
        for source in merged:
            for key, value in source.value.items():  # type: ignore[union-attr]  # _merge_sources lets mappings through
                items.setdefault(key, value)
        node.value = items

    def _merge_sources(self, value: Node) -> list[Node]:
        sources = value.value if isinstance(value.value, list) else [value]
        for source in sources:
            if not isinstance(source.value, dict):
                raise _one(self.shown, source.line, source.column, "`<<` takes a mapping or a list of mappings")
        return sources

    def _alias(self, anchor: str, line: int, column: int) -> Node:
        target = self._anchors.get(anchor)
        if target is None:
            raise _one(self.shown, line, column, f"alias *{anchor} names nothing that is complete above")
        self._count(target.weight, target)
        return target

    def _count(self, weight: int, node: Node) -> None:
        self._node_count += weight
        if self._node_count > MAX_NODES:
            raise _one(
                self.shown, node.line, node.column, f"holds more than {MAX_NODES:,} values with aliases expanded"
            )

    def _check_tag(self, event: yaml.Event, line: int, column: int) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", _STR_TAG):
            self._problem(line, column, f"tag {tag} is not allowed; write the plain value")

    def _problem(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(self.shown, line, column, "", message))


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _scalar(event: yaml.ScalarEvent) -> str | bool | None:
    if event.style not in (None, "") or event.tag == _STR_TAG:
        return event.value
    if event.value in _NULL:
        return None
    return _BOOL.get(event.value, event.value)
