"""`{column}` templates: understood once, filled for every row. A literal brace is written twice."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class TemplateError(ValueError):
    """The text cannot be understood as a template; it says what to write instead."""


@dataclass(frozen=True, slots=True)
class Template:
    """Text with fields in it: `literals[0]`, `fields[0]`, `literals[1]` and so on; one literal more than fields."""

    literals: tuple[str, ...]
    fields: tuple[str, ...]

    def bind(self, index: Mapping[str, int]) -> "Bound":
        """The template for rows whose values stand at `index`; every field must be in it."""
        escaped = [text.replace("{", "{{").replace("}", "}}") for text in self.literals]
        slots = [f"{{{index[name]}}}" for name in self.fields]
        pattern = "".join(part for pair in zip(escaped, [*slots, ""], strict=True) for part in pair)
        columns = tuple(dict.fromkeys(index[name] for name in self.fields))
        if len(self.fields) == 1 and not any(self.literals):  # most are one column and nothing else
            return Bound(itemgetter(columns[0]), columns)
        return Bound(lambda row: pattern.format(*row), columns)


@dataclass(frozen=True, slots=True)
class Bound:
    """A template for rows of one shape."""

    fill: Callable[[Sequence[str]], str]
    """The text for one row. `str.format` with numbered fields does it, in C."""
    columns: tuple[int, ...]
    """Where the values that it uses stand in a row."""


def parse_template(text: str) -> Template:
    """Understand `text`.

    Raises:
        TemplateError: braces that do not pair up, or a field without a name.
    """
    literals, fields = [""], []
    end = 0
    for token in _TOKEN.finditer(text):
        literals[-1] += text[end : token.start()]
        end = token.end()
        if token[0] in ("{{", "}}"):
            literals[-1] += token[0][0]
            continue
        name = (token[1] or "").strip()
        if not name:
            found = f"{token[0]!r} in {text[:60]!r}"
            raise TemplateError(f"{found} is not a field; write {{column}}, or {{{{ and }}}} for braces themselves")
        fields.append(name)
        literals.append("")
    literals[-1] += text[end:]
    return Template(tuple(literals), tuple(fields))
