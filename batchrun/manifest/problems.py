"""Collects problems with their place, up to a bound, and words pydantic's findings for people."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batchrun.errors import ManifestError, Problem
from batchrun.manifest.yamltext import Loc, Node

MAX_LISTED = 200
_SHOWN_CHARS = 60


class Problems:
    """Everything found wrong with one manifest."""

    def __init__(self, shown: str, root: Node) -> None:
        self.file = shown
        self._root = root
        self._found: list[Problem] = []
        self._unlisted_count = 0

    def add(self, loc: Loc, message: str, *, at_key: bool = False) -> None:
        """Note a problem of the value (or the key) at `loc`."""
        line, column = self._root.locate_key(loc) if at_key else self._root.locate(loc)
        self.note(Problem(self.file, line, column, show_path(loc), message))

    def note(self, problem: Problem) -> None:
        """Note a problem that stands elsewhere, such as in a source."""
        if len(self._found) < MAX_LISTED:
            self._found.append(problem)
        else:
            self._unlisted_count += 1

    def line_of(self, loc: Loc) -> int:
        """The line of the value at `loc`, for messages that point at another place."""
        return self._root.locate(loc)[0]

    def add_all(self, error: ValidationError, at: Loc, model: type[BaseModel], *also: str) -> None:
        """Note what pydantic found in the value at `at`; `also` are keys that it could have besides the model's."""
        seen: set[Loc] = set()
        for detail in error.errors(include_url=False):
            loc = (*at, *_without_union_arms(detail["loc"]))
            if loc in seen:  # both arms of a union complain about one value
                continue
            seen.add(loc)
            unknown_key = detail["type"] == "extra_forbidden"
            message = _unknown_key(detail, model, also, self._point(loc)) if unknown_key else finding(detail)
            self.add(loc, message, at_key=unknown_key)

    def _point(self, loc: Loc) -> str:
        """What helps where a comma was meant as a decimal point: `{budget: 1,5}` is YAML for a budget of 1 and a key 5."""
        key, before = str(loc[-1]), self._root.before(loc)
        if before is None or not key.isdigit() or not isinstance(before[1].value, str) or not before[1].value.isdigit():
            return ""
        return f"a decimal point is a point: {before[0]}: {before[1].value}.{key}; "

    @property
    def any(self) -> bool:
        """Whether anything is wrong so far."""
        return bool(self._found)

    def raise_if_any(self) -> None:
        """Raise ManifestError with all of them."""
        if self._found:
            raise ManifestError(self._found, self._unlisted_count)


def show_path(loc: Loc) -> str:
    """`("jobs", 3, "prompt")` as `jobs[3].prompt`; entries count from 0, as in every path language."""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return shown.removeprefix(".")


def _without_union_arms(loc: Loc) -> Loc:
    """Pydantic puts the name of a union's arm or validator into the path; people did not write it."""
    return tuple(step for step in loc if not (isinstance(step, str) and ("[" in step or step in {"int", "literal"})))


def _unknown_key(detail: ErrorDetails, model: type[BaseModel], also: Sequence[str], hint: str) -> str:
    key = str(detail["loc"][-1])
    for step in detail["loc"][:-1]:
        annotation = model.model_fields[str(step)].annotation
        arms = getattr(annotation, "__args__", (annotation,))
        model = next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, BaseModel)), model)
    known = [*also, *(field.alias or name for name, field in model.model_fields.items())]
    nearest = get_close_matches(key, known, 1)
    hint = hint or (f"did you mean {nearest[0]!r}? " if nearest else "")
    return f"unknown key {key!r}; {hint}known keys: {', '.join(known)}"


_NOT_A = {
    "string_type": "text; write text (in quotes when in doubt)",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "decimal_parsing": "a number",
    "decimal_type": "a number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}


def finding(detail: ErrorDetails) -> str:
    """One of pydantic's findings for people."""
    context: dict[str, Any] = detail.get("ctx", {})
    value = _show(detail.get("input"))
    if detail["type"] in _NOT_A:
        return f"{value} is not {_NOT_A[detail['type']]}"
    match detail["type"]:
        case "missing":
            return "is missing"
        case "value_error":
            return str(context["error"])
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            return f"{value} is out of range; {_range(context)}"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "string_too_long":
            return f"is longer than {context['max_length']} characters"
        case "literal_error":
            return f"{value} is not accepted; accepted: {context['expected']}"
        case _:
            return f"{value}: {detail['msg']}"


def _range(context: dict[str, Any]) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return "accepted: " + ", ".join(f"{words[key]} {bound}" for key, bound in context.items() if key in words)


def _show(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
