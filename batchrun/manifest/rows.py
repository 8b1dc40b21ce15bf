"""Rows of one source to entries: templates are bound to the columns once, then filled for every row."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from batchrun.manifest.document import JobPart, SourcePart
from batchrun.manifest.entries import Entry, Place, Rules
from batchrun.manifest.names import check_name
from batchrun.manifest.problems import Problems, finding, show_path
from batchrun.manifest.templates import Bound, Template, TemplateError, parse_template
from batchrun.manifest.yamltext import Loc

_SHOWN_COLUMNS = 30
_REMEMBERED = 10_000
"""Different values of one column whose check is not done again."""
_TEXTS = ("id", "image", "prompt")
_TYPED = ("duration", "guidance_scale", "priority")
_NOTHING = Bound(lambda _: "", ())
"""In the place of a template that is wrong."""

Values = Sequence[str]


class Templates:
    """The templates of one `from:` entry, understood.

    What is wrong is noted at the template's line, and the rows are read without it: so their own problems are said too.
    `wrong` are the keys of which that is so from the beginning.
    """

    def __init__(self, part: SourcePart, wrong: frozenset[str], loc: Loc, problems: Problems, rules: Rules) -> None:
        self._loc = loc
        self._problems = problems
        self._known: dict[Loc, Template] = {}
        self.part = part
        self.says_id = part.id is not None or "id" in wrong
        self.are_filters_right = not wrong & {"include", "exclude"}
        """Whether it is known which rows are meant."""
        for field in (*_TEXTS, "negative_prompt", *_TYPED):
            if field not in wrong and (text := getattr(part, field)) is not None:
                self._parse((field,), text)
        for at, text in enumerate(part.tags or ()):
            self._parse(("tags", at), text)
        self._check_constants(rules)

    def _parse(self, where: Loc, text: str) -> None:
        try:
            self._known[where] = parse_template(text)
        except TemplateError as error:
            self._wrong(where, str(error))

    def _check_constants(self, rules: Rules) -> None:
        """What is the same for every row is judged once, where it stands."""
        constants = {field: one.literals[0].strip() for field, one in self.texts.items() if not one.fields}
        if "id" in constants:
            self.wrong("id", f"{self.part.id!r} would give every row the same id; put a {{column}} into it")
        for field in {"prompt", "negative_prompt"} & constants.keys():
            rules.text(self, field, constants[field])
        if constants.get("prompt") == "" or constants.get("image") == "":
            self.wrong("prompt" if constants.get("prompt") == "" else "image", "must not be empty")
        for field in [field for field in _TYPED if constants.get(field)]:
            value, problem = typed_reader(field)(constants[field])
            if problem:
                self.wrong(field, problem)
            elif field == "duration":
                rules.duration(self, field, value)
            elif field == "guidance_scale":
                rules.guidance(self, value)

    @property
    def source_place(self) -> str:
        """Where the entry stands, for messages about what it finds."""
        return f"`from:` in {self._problems.file}:{self._problems.line_of((*self._loc, 'from'))}"

    def take_image(self, field: str) -> None:
        """The picture is not told by a template of the entry, but by the source itself."""
        self._known["image",] = Template(("", ""), (field,))

    def wrong(self, field: str, message: str) -> None:
        """See `Place`: a problem of the entry in the manifest."""
        self._wrong((field,) if field else (), message)

    def shown(self, field: str) -> str:
        """See `Place`."""
        return show_path((*self._loc, field))

    def _wrong(self, where: Loc, message: str, *, at_key: bool = False) -> None:
        self._known.pop(where, None)
        self._problems.add((*self._loc, *where), message, at_key=at_key)

    @property
    def texts(self) -> dict[str, Template]:
        """Each template but the tags', by its key."""
        return {str(where[0]): one for where, one in self._known.items() if where[0] != "tags"}

    @property
    def tags(self) -> list[Template]:
        """The templates of the tags."""
        return [one for where, one in self._known.items() if where[0] == "tags"]

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every column that is asked for."""
        fields = [name for one in self._known.values() for name in one.fields]
        return tuple(dict.fromkeys([*fields, *self.part.include, *self.part.exclude]))

    def check_columns(self, shown: str, columns: Sequence[str], index: Mapping[str, int]) -> None:
        """Note every column that is asked for and is not there."""
        for where, template in list(self._known.items()):
            for name in dict.fromkeys(template.fields):
                if name not in index:
                    self._wrong(where, _no_column(shown, name, columns))
        for key in ("include", "exclude"):
            for name in getattr(self.part, key):
                if name not in index:
                    self.are_filters_right = False
                    self._wrong((key, name), _no_column(shown, name, columns), at_key=True)


def _no_column(shown: str, name: str, columns: Sequence[str]) -> str:
    nearest = get_close_matches(name, columns[:1000], 1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    listed = ", ".join(columns[:_SHOWN_COLUMNS]) + (", …" if len(columns) > _SHOWN_COLUMNS else "")
    return f"{shown} has no column {name!r}; {hint}columns: {listed or 'none'}"


class RowReader:
    """Makes entries of the rows of one table, whose columns stand at `index`.

    `rename` says what helps where the rows are files and a name of theirs cannot be an id.
    """

    def __init__(self, templates: Templates, index: Mapping[str, int], rename: str = "") -> None:
        self.rename = rename
        part, texts = templates.part, templates.texts
        self._columns = {at: name for name, at in index.items()}
        self._bound = {field: template.bind(index) for field, template in texts.items()}
        self._needed = [(field, at) for field in _TEXTS if field in self._bound for at in self._bound[field].columns]
        for field in _TEXTS if templates.says_id else _TEXTS[1:]:
            self._bound.setdefault(field, _NOTHING)
        self._tags = [template.bind(index) for template in templates.tags]
        self._says_tags = part.tags is not None
        self._typed = [
            (at, self._bound[field], typed_reader(field)) for at, field in enumerate(_TYPED) if field in self._bound
        ]
        self._include = _filters(part.include, index)
        self._exclude = _filters(part.exclude, index)
        self._split = lru_cache(_REMEMBERED)(_split_tags)

    def is_taken(self, row: Values) -> bool:
        """Whether `include` and `exclude` let the row through."""
        return all(row[at].casefold() in values for at, values in self._include) and not any(
            row[at].casefold() in values for at, values in self._exclude
        )

    def key(self, row: Values) -> str | None:
        """The id as the row says it, not yet checked; for messages."""
        bound = self._bound.get("id")
        return bound.fill(row).strip() if bound else None

    def entry(self, row: Values, key: str | None, place: Place) -> Entry:
        """What the row asks for. What is wrong is noted."""
        holes = [(field, at) for field, at in self._needed if not row[at]]
        for field, at in holes:  # text with a hole in it is not what anybody meant to buy
            place.wrong(field, f"column {self._columns[at]!r} is empty here")
        wrong = {field for field, _ in holes}
        if key and "id" not in wrong:
            try:
                key = check_name(key)
            except ValueError as error:
                place.wrong("id", f"{error}; {self.rename}" if self.rename else str(error))
                key = ""
        typed: list[Any] = [None, None, None]
        for at, bound, read in self._typed:
            if text := bound.fill(row).strip():
                value, problem = read(text)
                if problem:
                    place.wrong(_TYPED[at], problem)
                typed[at] = value
        image, prompt = self._bound["image"].fill(row).strip(), self._bound["prompt"].fill(row)
        if wrong:
            key = "" if "id" in wrong else key
            image, prompt = "" if "image" in wrong else image, "" if "prompt" in wrong else prompt
        negative = self._bound["negative_prompt"].fill(row) if "negative_prompt" in self._bound else None
        return Entry(key, image, prompt, negative or None, typed[0], typed[1], typed[2], self._tags_of(row, place))

    def _tags_of(self, row: Values, place: Place) -> tuple[str, ...] | None:
        if not self._says_tags:
            return None
        tags = self._split(",".join([bound.fill(row) for bound in self._tags]))
        if any(len(tag) > _MAX_TAG_CHARS for tag in tags):
            place.wrong("tags", f"a tag is longer than {_MAX_TAG_CHARS} characters")
        return tags or (() if not self._tags else None)


_MAX_TAG_CHARS = 100


def _split_tags(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))


def _filters(chosen: Mapping[str, Sequence[str]], index: Mapping[str, int]) -> list[tuple[int, frozenset[str]]]:
    return [(index[name], frozenset(value.strip().casefold() for value in values)) for name, values in chosen.items()]


@cache
def typed_reader(field: str) -> Callable[[str], tuple[Any, str]]:
    """From text to the value that `JobPart` would make of it, or to what is wrong; asked once for each text."""
    info = JobPart.model_fields[field]
    adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())

    def read(text: str) -> tuple[Any, str]:
        try:
            return adapter.validate_python(text), ""
        except ValidationError as error:
            return None, finding(error.errors(include_url=False)[0])

    return lru_cache(_REMEMBERED)(read)
