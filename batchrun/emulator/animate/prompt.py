"""A prompt, a negative prompt and the guidance to a plan. Pure, by the table of `vocabulary`.

"then" and "followed by" split the clip: each part has its own moves. Of each axis (depth, x, y, roll) a part has one
move, at most three together. What the negative prompt or a negation names is left out: a bare word in all directions,
a direction only itself.
"""

import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from batchrun.emulator.animate.plan import Effect, Move, Plan, Span, Wish
from batchrun.emulator.animate.vocabulary import Entry, Family, Match, Sense, Vocabulary, stem, tokens, vocabulary

MAX_MOVES = 3
MAX_PARTS = 3
_AHEAD, _BEHIND = 6, 4
"""How many words after and before a bare word its direction is looked for."""
_STRENGTH = (0.2, 2.0)
"""Beyond it a move is either not seen or tears the picture out of its frame."""
_CLAUSE = re.compile(r"[,.;:!?()\n\u2013\u2014]+|\s-+\s|\b(?:and|but|while|as|with)\b", re.IGNORECASE)
_ONLY_DIRECTION = frozenset({"clockwise", "counterclockwise"})


@dataclass(frozen=True, slots=True)
class _Found:
    """A phrase as it stands in the prompt."""

    entry: Entry
    direction: str | None
    negated: bool
    alone: bool
    """Whether its clause says nothing else."""
    text: str


@dataclass(slots=True)
class _Part:
    """What is wanted between two "then"."""

    found: list[_Found]
    speed: float | None
    moves: list[tuple[Family, str]] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    static: bool = False


@dataclass(frozen=True, slots=True)
class _Bans:
    """What must not be: families in all directions, families in one, effects, and the camera altogether."""

    families: frozenset[str]
    directed: frozenset[tuple[str, str]]
    effects: frozenset[str]
    camera: bool

    def forbid(self, family: Family, direction: str) -> bool:
        return family.name in self.families or (family.name, direction) in self.directed


def plan_of(wish: Wish) -> Plan:
    """What the clip will show."""
    words = vocabulary()
    parts = [_part(text, words) for text in _split(wish.prompt, words)]
    bans = _bans([one for part in parts for one in part.found], _found(wish.negative_prompt, words))
    left_out: list[str] = []
    for part in parts:
        _choose(part, bans, words, left_out)
    moved = _timed_moves(parts, bans, words)
    effects = tuple(
        Effect(name=name, span=_span(number, len(parts)))
        for number, part in enumerate(parts)
        for name in dict.fromkeys(part.effects)
    )
    moves = tuple(
        _move(family, direction, _strength(wish, part.speed), span) for family, direction, part, span in moved
    )
    notes = [note for family, *_ in moved if (note := _note(family, family.name))]
    if any(_backs_off(family, direction) for family, direction, *_ in moved):
        notes.append("there is nothing around the picture: the clip starts closer and ends on the whole picture")
    return Plan(
        moves=moves,
        effects=effects,
        understood=_understood(moves, effects, recognised=any(part.moves or part.static for part in parts)),
        not_shown=tuple(dict.fromkeys([*_unseen(parts), *left_out, *notes])),
        seed=zlib.crc32(f"{wish.prompt}\n{wish.negative_prompt}".encode()),
        duration_s=wish.duration_s,
    )


# ---------------------------------------------------------------- reading


def _split(prompt: str, words: Vocabulary) -> list[str]:
    """The parts of the clip; what says nothing to the camera belongs to the part before."""
    texts: list[str] = []
    for text in words.splits.split(prompt):
        if texts and (len(texts) == MAX_PARTS or not _says(text, words) or not _says(texts[-1], words)):
            texts[-1] += f", {text}"
        else:
            texts.append(text)
    return texts


def _says(text: str, words: Vocabulary) -> bool:
    return any(one.entry.sense in (Sense.MOVE, Sense.EFFECT, Sense.STATIC) for one in _found(text, words))


def _part(text: str, words: Vocabulary) -> _Part:
    return _Part(_found(text, words), words.speed([stem(word) for word in tokens(text)]))


def _found(text: str, words: Vocabulary) -> list[_Found]:
    found: list[_Found] = []
    for clause in _CLAUSE.split(text):
        plain = tokens(clause)
        stems = [stem(word) for word in plain]
        matches = list(words.matches(stems))
        for number, match in enumerate(matches):
            following = matches[number + 1].start if number + 1 < len(matches) else len(stems)
            previous = matches[number - 1].end if number else 0
            found.append(
                _Found(
                    entry=match.entry,
                    direction=_direction(match, stems, previous, following, words),
                    negated=bool(words.negations & set(stems[: match.start])),
                    alone=not set(stems[: match.start] + stems[match.end :]) - words.fillers - words.negations,
                    text=" ".join(plain[match.start : match.end]),
                )
            )
    return found


def _direction(match: Match, stems: Sequence[str], previous: int, following: int, words: Vocabulary) -> str | None:
    """The direction of a move: its own, or the nearest word after it or before it that says one."""
    if match.entry.sense is not Sense.MOVE or match.entry.direction is not None:
        return match.entry.direction
    family = words.families[match.entry.name]
    after = stems[match.end : min(following, match.end + _AHEAD)]
    before = stems[max(previous, match.start - _BEHIND) : match.start]
    for word in [*after, *reversed(before)]:
        name = words.directions.get(word)
        if name in _ONLY_DIRECTION and "left" in family.directions:
            name = family.clockwise if name == "clockwise" else _other(family.clockwise)
        if name in family.directions:
            return name
    return None


def _other(side: str) -> str:
    return "right" if side == "left" else "left"


def _bans(wanted: Iterable[_Found], unwanted: Iterable[_Found]) -> _Bans:
    named = [one for one in wanted if one.negated] + [one for one in unwanted if not one.negated]
    moves = [one for one in named if one.entry.sense is Sense.MOVE]
    return _Bans(
        families=frozenset(one.entry.name for one in moves if one.direction is None),
        directed=frozenset((one.entry.name, one.direction) for one in moves if one.direction is not None),
        effects=frozenset(one.entry.name for one in named if one.entry.sense is Sense.EFFECT),
        camera=any(one.entry.sense is Sense.MOTION and one.alone for one in named),
    )


# ---------------------------------------------------------------- choosing


def _choose(part: _Part, bans: _Bans, words: Vocabulary, left_out: list[str]) -> None:
    """The moves and effects of a part."""
    wanted = [one for one in part.found if not one.negated]
    strong = any(one.entry.sense is Sense.MOVE and not one.entry.weak for one in wanted)
    still = [one for one in wanted if one.entry.sense is Sense.STATIC]
    part.static = bans.camera or any(not one.entry.weak for one in still) or bool(still and not strong)
    part.effects = [
        one.entry.name for one in wanted if one.entry.sense is Sense.EFFECT and one.entry.name not in bans.effects
    ]
    axes: set[str] = set()
    for one in wanted:
        if one.entry.sense is not Sense.MOVE or (one.entry.weak and strong):
            continue
        family = words.families[one.entry.name]
        # "a tracking shot, moving left" is one move
        same = (other.direction for other in wanted if other.entry.name == one.entry.name)
        direction = next(filter(None, same), family.default)
        if (part.static and not family.subject) or bans.forbid(family, direction):
            continue
        if any(family is taken for taken, _ in part.moves):
            continue
        if family.axis in axes or len(part.moves) == MAX_MOVES:
            left_out.append(f"{_label(family, direction)}: only one move of its kind at a time")
            continue
        axes.add(family.axis)
        part.moves.append((family, direction))


def _timed_moves(parts: Sequence[_Part], bans: _Bans, words: Vocabulary) -> list[tuple[Family, str, _Part, Span]]:
    """Every move with its part of the clip. A part without a move leaves its time to the one before, or after."""
    moving = [number for number, part in enumerate(parts) if part.moves or part.static]
    if not moving:
        soft = words.families["soft"]
        banned = {"zoom", "push"} & bans.families
        return [] if banned else [(soft, soft.default, parts[0], Span())]
    timed: list[tuple[Family, str, _Part, Span]] = []
    for place, number in enumerate(moving):
        start = number / len(parts) if place else 0.0
        end = moving[place + 1] / len(parts) if place + 1 < len(moving) else 1.0
        timed += [(family, way, parts[number], Span(start=start, end=end)) for family, way in parts[number].moves]
    return timed


def _span(number: int, count: int) -> Span:
    return Span(start=number / count, end=(number + 1) / count)


def _strength(wish: Wish, speed: float | None) -> float:
    strength = (0.35 + 1.3 * wish.guidance) * (speed or 1.0) * math.sqrt(wish.duration_s / 5)
    return min(max(strength, _STRENGTH[0]), _STRENGTH[1])


def _move(family: Family, direction: str, strength: float, span: Span) -> Move:
    if family.counter:
        strength = min(strength, 1.0)  # more bends thin stems
    sign = -1.0 if direction == family.minus else 1.0
    # A half of the clip has half the way: the speed stays
    far = strength * sign * math.sqrt(span.end - span.start)
    return Move(
        name=_label(family, direction),
        curves=tuple((curve, amount * far) for curve, amount in family.curves),
        span=span,
        pace=family.pace,
        aim=family.aim,
        counter=family.counter,
    )


# ---------------------------------------------------------------- saying


def _label(family: Family, direction: str) -> str:
    shown = family.name.replace("soft", "soft push").replace("reveal", "pull back")
    return f"{shown} {direction}" if family.directions and direction != "any" else shown


def _note(family: Family, name: str) -> str:
    return f"{name}: {family.reported}" if family.reported else ""


def _backs_off(family: Family, direction: str) -> bool:
    return family.axis == "depth" and direction == "out"


def _understood(moves: Sequence[Move], effects: Sequence[Effect], *, recognised: bool) -> tuple[str, ...]:
    if not recognised and moves:
        said = ["no camera move is named: a soft push in"]
    else:
        said = [move.name for move in moves] or ["the camera holds still"]
    return tuple(said + [effect.name.replace("_", " ") for effect in effects])


def _unseen(parts: Iterable[_Part]) -> list[str]:
    """What cannot be shown, by reason, with the words that asked for it."""
    reasons: dict[str, list[str]] = {}
    for part in parts:
        for one in part.found:
            if one.entry.sense is Sense.NOT_SHOWN and not one.negated:
                reasons.setdefault(one.entry.name, []).append(one.text)
    return [f"{reason} ({', '.join(dict.fromkeys(texts))})" for reason, texts in reasons.items()]
