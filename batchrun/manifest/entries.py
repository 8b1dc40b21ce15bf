"""What one entry or row asks for, held against the model, the pictures and the defaults: the way to a `JobSpec`."""

import os
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from batchrun.manifest.catalogue import Model
from batchrun.manifest.digests import PictureReader
from batchrun.manifest.document import DefaultsPart
from batchrun.manifest.fingerprint import Content, fingerprint, normal_text
from batchrun.manifest.jobs import JobSpec
from batchrun.manifest.names import check_name
from batchrun.manifest.output import OutputPattern
from batchrun.manifest.pictures import Picture, PictureError
from batchrun.manifest.urls import is_url, url_problem

MAX_WARNINGS = 200
ADD_ID = "add `id:`"


class Entry(NamedTuple):
    """One wished clip as written: typed, not yet held against anything.

    None is what was not said; an empty id, image or prompt is what is wrong, and noted already.
    """

    id: str | None
    image: str
    prompt: str
    negative_prompt: str | None = None
    duration: int | None = None
    guidance_scale: Decimal | None = None
    priority: int | None = None
    tags: tuple[str, ...] | None = None


class Place(Protocol):
    """Where the values of an entry stand."""

    def wrong(self, field: str, message: str) -> None:
        """Note what is wrong with a value; an empty field is the entry as a whole."""

    def shown(self, field: str) -> str:
        """How a warning names the value."""


class Rules:
    """The limits of the model, for single values. Each check notes what is wrong at the given place."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.warnings: list[str] = []
        self.unlisted_warnings = 0

    def duration(self, place: Place, field: str, duration_s: int) -> None:
        """The clip's length is one on offer."""
        if duration_s not in self.model.price_usd_micros:
            accepted = " or ".join(map(str, self.model.durations_s))
            place.wrong(field, f"{duration_s} s is not on offer; accepted: {accepted}")

    def guidance(self, place: Place, guidance: Decimal) -> int:
        """In range, in whole hundredths: the fingerprint counts those, and so they are what is returned."""
        low, high = self.model.guidance_min, self.model.guidance_max
        if not low <= guidance <= high:
            place.wrong("guidance_scale", f"{guidance} is out of range; accepted: {low} to {high}")
            return 0
        if guidance * 100 != int(guidance * 100):
            example = f"{guidance:.2f}"
            place.wrong("guidance_scale", f"{guidance} has more than two decimals; write for example {example}")
        return int(guidance * 100)

    def text(self, place: Place, field: str, text: str) -> None:
        """Short enough, and text that can be sent at all."""
        max_chars = self.model.prompt_max_chars if field == "prompt" else self.model.negative_prompt_max_chars
        if text.isascii():  # then characters are bytes
            if len(text) > max_chars:
                place.wrong(field, f"has {len(text):,} characters; at most {max_chars:,} are accepted")
        elif not _is_encodable(text):
            place.wrong(field, "holds half a character (a lone surrogate), which cannot be sent")
        elif len(text) > max_chars:
            place.wrong(field, f"has {len(text):,} characters; at most {max_chars:,} are accepted")
        elif (size_bytes := len(text.encode())) > max_chars:
            self._warn(f"{place.shown(field)}: {size_bytes:,} bytes; the provider may count bytes and refuse it")
        if "\0" in text:
            place.wrong(field, "holds a NUL character, which cannot be sent")

    def _warn(self, warning: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(warning)
        else:
            self.unlisted_warnings += 1

    def all_warnings(self) -> tuple[str, ...]:
        """The warnings up to a bound, and how many more there are."""
        more = (f"… and {self.unlisted_warnings} more warnings",) if self.unlisted_warnings else ()
        return (*self.warnings, *more)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class JobMaker:
    """Makes jobs of entries, wherever they stand."""

    def __init__(
        self,
        rules: Rules,
        defaults: DefaultsPart,
        guidance_hundredths: int,
        max_price: dict[int, int],
        output: OutputPattern,
        folder: Path,
        pictures: PictureReader,
        *,
        is_local: bool,
    ) -> None:
        self._rules = rules
        self._model = rules.model
        self._defaults = defaults
        self._prices = self._model.price_usd_micros | max_price
        self._output = output
        self._folder = folder
        self._pictures = pictures
        self._is_local = is_local
        self._negative = normal_text(defaults.negative_prompt or "")
        self._guidance_hundredths = guidance_hundredths

    def make(self, entry: Entry, position: int, place: Place, naming: str = ADD_ID) -> JobSpec | None:
        """The job, or None when it has no id. What is wrong is noted, and then the job stands for no more than its id.

        `naming` says what helps where the picture's name cannot be the id.
        """
        defaults = self._defaults
        prompt, negative = self._texts(entry, place)
        duration_s = entry.duration or defaults.duration or self._model.default_duration_s
        if entry.duration is not None:
            self._rules.duration(place, "duration", entry.duration)
        guidance_hundredths = self._guidance_hundredths
        if entry.guidance_scale is not None:
            guidance_hundredths = self._rules.guidance(place, entry.guidance_scale)
        key = entry.id if entry.id is not None else _stem(entry.image, place, naming)
        if key and (problem := self._output.problem_of(key)):
            place.wrong("id" if entry.id else "", problem)
        path, url, picture = self._image(entry.image, place)
        if not key:
            return None
        model, sha256 = self._model.model_id, picture.sha256 if picture else None
        content = Content(model, prompt, negative, guidance_hundredths, duration_s, sha256, url)
        return JobSpec(
            key=key,
            position=position,
            prompt=prompt,
            negative_prompt=negative,
            guidance_hundredths=guidance_hundredths,
            duration_s=duration_s,
            image_path=path,
            image_url=url,
            picture=picture,
            priority=defaults.priority if entry.priority is None else entry.priority,
            tags=defaults.tags if entry.tags is None else entry.tags,
            output_pattern=self._output.text,
            price_usd_micros=self._prices.get(duration_s, 0),
            model=model,
            fingerprint=fingerprint(content) if picture or url else "",
        )

    def _texts(self, entry: Entry, place: Place) -> tuple[str, str]:
        prompt, negative = normal_text(entry.prompt), self._negative
        if not prompt and entry.prompt:
            place.wrong("prompt", "must not be empty")
        self._rules.text(place, "prompt", prompt)
        if entry.negative_prompt is not None:
            negative = normal_text(entry.negative_prompt)
            self._rules.text(place, "negative_prompt", negative)
        return prompt, negative

    def _image(self, image: str, place: Place) -> tuple[Path | None, str | None, Picture | None]:
        """Its path or URL, and what is known of the file; neither of the latter where it cannot be used."""
        if not image:
            return None, None, None
        if is_url(image):
            problem = url_problem(image, is_local=self._is_local)
            if problem:
                place.wrong("image", problem)
            return None, None if problem else image, None
        if "\0" in image or not _is_encodable(image):
            place.wrong("image", f"{image[:80]!r} cannot be a file's name")
            return None, None, None
        name = os.path.normpath(self._folder / image)
        try:
            path, picture = self._pictures.read(name)
        except PictureError as error:
            place.wrong("image", str(error))
            return Path(name), None, None
        return path, None, picture


def _stem(image: str, place: Place, naming: str) -> str | None:
    """The id of a job that names none: its picture's stem."""
    if not image:
        return None
    try:
        return check_name(Path(urlsplit(image).path if "://" in image else image).stem)
    except ValueError as error:
        place.wrong("", f"has no id, and its picture's name cannot be one: {error}; {naming}")
        return None
