"""The words a prompt may hold and what they mean: the table `vocabulary.yaml`, read once, and finding its phrases. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

import yaml

_WORD = re.compile(r"[a-z0-9']+")
_VOWEL = re.compile(r"[aeiouy]")
_MAX_FILLERS = 2
"""Between two words of a phrase."""


class Sense(StrEnum):
    """What a phrase is."""

    IGNORED = "ignored"
    MOVE = "move"
    STATIC = "static"
    MOTION = "motion"
    EFFECT = "effect"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of camera move, in all its directions. Amounts at strength 1."""

    name: str
    axis: str
    curves: tuple[tuple[str, float], ...]
    """Zoom as a natural logarithm, x, y, z in subject distances, yaw, pitch, roll in degrees."""
    default: str
    minus: str = ""
    """The direction that reverses the curves."""
    aim: float = 0.0
    pace: str = "ease"
    clockwise: str = "right"
    counter: bool = False
    subject: bool = False
    weak: bool = False
    reported: str = ""

    @property
    def directions(self) -> frozenset[str]:
        """Those that it can have."""
        pairs = ({"left", "right"}, {"up", "down"}, {"in", "out"})
        return frozenset(next((pair for pair in pairs if self.minus in pair), ()))


@dataclass(frozen=True, slots=True)
class Entry:
    """A phrase of the table."""

    stems: tuple[str, ...]
    sense: Sense
    name: str
    """The move's family, the effect, or what is said about it."""
    direction: str | None = None
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A phrase in a clause: from the token `start` to before `end`."""

    entry: Entry
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The whole table."""

    families: Mapping[str, Family]
    entries: Mapping[str, tuple[Entry, ...]]
    """By their first stem, the longest first."""
    directions: Mapping[str, str]
    speeds: tuple[tuple[tuple[str, ...], float], ...]
    """The longest first."""
    fillers: frozenset[str]
    negations: frozenset[str]
    takes: frozenset[str]
    splits: "re.Pattern[str]"

    def matches(self, stems: Sequence[str]) -> Iterator[Match]:
        """The phrases of a clause from left to right, the longest at each place, none twice."""
        at = 0
        while at < len(stems):
            found = next((one for one in self._at(stems, at) if one is not None), None)
            if found is not None and found.entry.sense is Sense.EFFECT:
                found = Match(found.entry, found.start, self._taken(stems, found.end))
            if found is not None:
                yield found
            at = found.end if found else at + 1

    def _at(self, stems: Sequence[str], at: int) -> Iterator[Match | None]:
        for entry in self.entries.get(stems[at], ()):
            end = self._end(stems, at, entry.stems)
            yield Match(entry, at, end) if end else None

    def _end(self, stems: Sequence[str], at: int, phrase: Sequence[str]) -> int:
        """Where a phrase that begins here ends; 0 when it is not there."""
        for number, word in enumerate(phrase):
            if number:
                allowed = at + _MAX_FILLERS
                while at < len(stems) and stems[at] != word and stems[at] in self.fillers and at < allowed:
                    at += 1
            if at >= len(stems) or stems[at] != word:
                return 0
            at += 1
        return at

    def _taken(self, stems: Sequence[str], end: int) -> int:
        """An effect takes the next verb along: in "dust slowly floats" nothing levitates."""
        ahead = range(end, min(end + 3, len(stems)))
        return next((at + 1 for at in ahead if stems[at] in self.takes), end)

    def speed(self, stems: Sequence[str]) -> float | None:
        """How fast, where it is said."""
        for phrase, factor in self.speeds:
            if any(tuple(stems[at : at + len(phrase)]) == phrase for at in range(len(stems))):
                return factor
        return None


def tokens(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def stem(word: str) -> str:
    """What the forms of a word have in common; rough, and the same for the table and the prompt."""
    word = word.removesuffix("'s")
    for ending in ("ing", "ed", "ly"):
        base = word.removesuffix(ending)
        if base != word and len(base) >= 3 and _VOWEL.search(base) and not (ending == "ly" and base.endswith("l")):  # noqa: PLR2004  # letters
            word = base
            break
    else:
        if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")):  # noqa: PLR2004  # letters
            word = word[:-1]
    if len(word) > 3:  # noqa: PLR2004  # letters
        word = word.removesuffix("e")
    if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "aeiou":  # noqa: PLR2004  # letters
        word = word[:-1]
    return word[:-1] + "i" if len(word) > 2 and word.endswith("y") else word  # noqa: PLR2004  # letters


def stems(text: str) -> tuple[str, ...]:
    """The stems of a text's words."""
    return tuple(stem(word) for word in tokens(text))


@cache
def vocabulary() -> Vocabulary:
    """The table of the package."""
    text = resources.files("batchrun.emulator.animate").joinpath("vocabulary.yaml").read_text("utf-8")
    data = yaml.safe_load(text)
    families = {name: _family(name, one) for name, one in data["moves"].items()}
    by_first: dict[str, list[Entry]] = {}
    for entry in _entries(data, families):
        by_first.setdefault(entry.stems[0], []).append(entry)
    ordered = {first: tuple(sorted(ones, key=lambda one: -len(one.stems))) for first, ones in by_first.items()}
    speeds = [(stems(phrase), float(factor)) for factor, phrases in data["speeds"].items() for phrase in phrases]
    return Vocabulary(
        families=families,
        entries=ordered,
        directions={stem(word): name for name, words in data["directions"].items() for word in words},
        speeds=tuple(sorted(speeds, key=lambda one: -len(one[0]))),
        fillers=_set(data["fillers"]),
        negations=_set(data["negations"]),
        takes=_set(data["takes"]),
        splits=re.compile(
            rf"\b(?:{'|'.join(map(re.escape, sorted(data['splits'], key=len, reverse=True)))})\b", re.IGNORECASE
        ),
    )


def _set(words: Iterable[str]) -> frozenset[str]:
    return frozenset(stem(word) for word in words)


def _family(name: str, data: Mapping[str, Any]) -> Family:
    known = {key: value for key, value in data.items() if key not in ("words", "curves")}
    return Family(name=name, curves=tuple(data["curves"].items()), **known)


def _entries(data: Mapping[str, Any], families: Mapping[str, Family]) -> Iterator[Entry]:
    """All phrases; of two equal ones the first counts."""
    for phrase in data["ignored"]:
        yield Entry(stems(phrase), Sense.IGNORED, "")
    for strength, phrases in data["static"].items():
        yield from (Entry(stems(one), Sense.STATIC, "static", weak=strength == "weak") for one in phrases)
    for name, one in data["moves"].items():
        for direction, phrases in one["words"].items():
            way = None if direction == "any" else direction
            yield from (Entry(stems(each), Sense.MOVE, name, way, families[name].weak) for each in phrases)
    for phrase in data["motion"]:
        yield Entry(stems(phrase), Sense.MOTION, "motion")
    for name, phrases in data["effects"].items():
        yield from (Entry(stems(one), Sense.EFFECT, name) for one in phrases)
    for reason, phrases in data["not_shown"].items():
        yield from (Entry(stems(one), Sense.NOT_SHOWN, reason) for one in phrases)
