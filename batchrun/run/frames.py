"""Which prediction belongs to which submit of unknown outcome, by the first frame of its clip. Pure.

Rules: design, section 4a. The list shows no inputs, so the only evidence is that image-to-video starts from the given
picture. A wrong adoption would deliver a stranger's clip and lose ours, an undecided case only waits for a person:
every doubt is left undecided.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchrun.video.likeness import Floats
from batchrun.video.looks import Look, distance_table

MIN_PAIRS = 20
"""Pictures whose own first frame is known, before anything is concluded from frames."""

_NEAR = 0.09
"""A ceiling on what the pairs teach: they are of unrelated articles and cannot show how near a look-alike comes.

Measured on 16,000 frames of the same article in another colour, with another label or lid, turned or mirrored: the
nearest was 0.105 away from its look-alike, one in a thousand nearer than 0.13. Own frames, on sharp synthetic pictures:
half of them nearer than 0.04 and 95 % nearer than 0.09 from a provider that hardly changes pictures, half nearer than
0.09 from one that crops by 15 % and tints; previews of photographs 0.02 to 0.04. The simulation in `tests.proof.hidden`
holds this figure: it has to end with no wrong adoption."""
_FAR = 0.2
"""Between near and far is nobody's land: whatever lies there forbids an adoption. It is twice the ceiling, so that the
noise that moves an own frame up to near cannot move another's past it; frames of unrelated pictures are 0.24 away and
more, so that a large queue still decides something."""
_SLACK = 1.25
"""The next own pair may be so much further apart than the furthest of those that are known."""
_GAP = 2.0
"""Another picture must be at least so many times as far away as an own one."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the pairs of a queue teach. Distances as of `looks.distances`."""

    near: float
    """A frame no further than this from a picture may be its own."""
    far: float
    """A frame further than this from a picture is of another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A submit of unknown outcome."""

    attempt_id: str
    picture: Look
    picture_sha256: str
    duration_s: int
    is_ambiguous: bool
    """The same picture is asked for under several prompts or by several open attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A prediction that belongs to no attempt we know."""

    prediction_id: str
    frame: Look
    duration_s: int


def learn(pairs: Sequence[tuple[Look, Look]]) -> Threshold | None:
    """Near and far, from pictures of the queue and the first frames of their clips.

    The work grows with the square of the pairs; the last 50 are plenty.

    Returns:
        None where nothing may be concluded from frames: fewer than 20 distinct pictures, frames that lie as far from
        their own picture as from others, or too small a gap between the two.
    """
    pictures = list(dict.fromkeys(picture for picture, _ in pairs))
    if len(pictures) < MIN_PAIRS:
        return None
    column = {picture: number for number, picture in enumerate(pictures)}
    table = distance_table(pictures, [frame for _, frame in pairs])
    return taught(table, [column[picture] for picture, _ in pairs])


def taught(table: Floats, own: Sequence[int]) -> Threshold | None:
    """What measured distances teach.

    Args:
        table: frames down, pictures across.
        own: each frame's own column.
    """
    is_own = np.zeros(table.shape, bool)
    is_own[range(len(own)), own] = True
    furthest_own, nearest_other = float(table[is_own].max()), float(table[~is_own].min())
    near, far = min(_NEAR, furthest_own * _SLACK), min(_FAR, nearest_other)
    # Also when the ceiling holds `near` down: own pairs up there show frames that cannot be told from others
    if furthest_own >= nearest_other or far < near * _GAP:
        return None
    return Threshold(near, far)


def match(
    wanted: Sequence[Wanted],
    candidates: Sequence[Candidate],
    others: Mapping[str, Look],
    threshold: Threshold | None,
) -> Mapping[str, str]:
    """The adoptions that are certain.

    Adopted is a candidate of equal duration that is near the wanted picture, when every other picture of the queue is
    far from its frame and from the wanted picture, and every other candidate, of whatever duration, is far from the
    wanted picture. That leaves at most one candidate for an attempt and one attempt for a candidate.

    A prediction that somebody else made from the very same picture file with the same duration, or from the same
    photograph in a crop and tint that the provider's own frames show as well, cannot be told apart by its frame: the
    caller must know that the queue's pictures are asked for by this queue alone, or by nobody in the window.

    Args:
        wanted: every submit of the queue whose prediction is not known, those that may still be answered included.
        candidates: every prediction in the window that is not known to be somebody's.
        others: every other picture of the queue, by its sha256.
        threshold: what `learn` says of this queue.

    Returns:
        Prediction by attempt.
    """
    if threshold is None or not wanted or not candidates:
        return {}
    pictures = {**others, **{one.picture_sha256: one.picture for one in wanted}}
    looks = list(pictures.values())
    table = distance_table(looks, [*(one.frame for one in candidates), *(one.picture for one in wanted)])
    return decided(wanted, candidates, list(pictures), table, threshold)


def decided(
    wanted: Sequence[Wanted],
    candidates: Sequence[Candidate],
    pictures: Sequence[str],
    table: Floats,
    threshold: Threshold,
) -> Mapping[str, str]:
    """What `match` concludes from distances.

    Args:
        wanted: as of `match`, as `candidates`.
        candidates: their frames are the first rows of the table, the wanted pictures the others.
        pictures: the sha256 of the table's columns, those of the wanted pictures among them.
        table: measured distances.
        threshold: what counts as near and far.
    """
    column = {sha256: number for number, sha256 in enumerate(pictures)}
    from_frames, from_pictures = table[: len(candidates)], table[len(candidates) :]
    times_wanted = Counter(one.picture_sha256 for one in wanted)
    found: dict[str, str] = {}
    for one, resemblances in zip(wanted, from_pictures, strict=True):
        own = column[one.picture_sha256]
        alone = np.delete(resemblances, own) > threshold.far
        if one.is_ambiguous or times_wanted[one.picture_sha256] > 1 or not alone.all():
            continue
        possible = np.flatnonzero(from_frames[:, own] <= threshold.far)
        if len(possible) != 1:
            continue
        candidate, row = candidates[possible[0]], from_frames[possible[0]]
        if candidate.duration_s == one.duration_s and _is_certain(row, own, threshold):
            found[one.attempt_id] = candidate.prediction_id
    return found


def _is_certain(row: Floats, own: int, threshold: Threshold) -> bool:
    """Near its own picture, far from every other one."""
    return bool(row[own] <= threshold.near and (np.delete(row, own) > threshold.far).all())
