"""What is left of a part of a manifest when what is wrong in it is left out: so that one problem does not hide the next."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from batchrun.manifest.yamltext import Plain

_ROUNDS = 10
"""Leaving one thing out may show that what is around it cannot stay either; no part is as deep as this."""

M = TypeVar("M", bound=BaseModel)


def salvage(model: type[M], plain: dict[str, Plain], error: ValidationError, stand_ins: Mapping[str, Plain]) -> M:
    """The part without what `error` found in it. `plain` is changed.

    Args:
        model: the part's shape.
        plain: what was written.
        error: what is wrong with it; said already.
        stand_ins: values for the keys that it cannot be without.
    """
    for _ in range(_ROUNDS):
        for path in {_wrong_at(plain, detail["loc"]) for detail in error.errors(include_url=False)}:
            _leave_out(plain, path)
        try:
            return model.model_validate({**stand_ins, **plain})
        except ValidationError as found:
            error = found
    raise error


def wrong_keys(error: ValidationError) -> frozenset[str]:
    """The keys of the part itself in whose values something is wrong or that are missing."""
    return frozenset(str(detail["loc"][0]) for detail in error.errors(include_url=False) if detail["loc"])


def _wrong_at(plain: dict[str, Plain], loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The innermost value that is wrong. Of a list it is all of it; of a key that is missing, what it is missing in."""
    path: list[str] = []
    inner: Plain = plain
    for step in map(str, loc):
        if not isinstance(inner, dict) or step not in inner:
            break
        inner = inner[step]
        path.append(step)
    return tuple(path)


def _leave_out(plain: dict[str, Plain], path: tuple[str, ...]) -> None:
    inner: Plain = plain
    for step in path[:-1]:
        inner = inner.get(step) if isinstance(inner, dict) else None
    if path and isinstance(inner, dict):
        inner.pop(path[-1], None)
