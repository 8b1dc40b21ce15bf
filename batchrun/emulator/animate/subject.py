"""What stands in front of the background: a mask of the subject, or none where nobody can tell. Pure.

A smooth background is fitted to the border of the picture; what differs from it starts GrabCut. A mask that covers too
little or too much, or that runs over the border, is no subject.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batchrun.emulator.animate.camera import Array

SIDE_PX = 320
"""The longer side of the small picture that is looked at."""
_RING = 0.04
_FIT_ROUNDS = 5
_CHROMA, _LIGHTNESS = 1.4, 0.6
"""Shadows differ in lightness alone: they belong to the background."""
_FEW, _LEAST = 3.0, 2.0
"""A pixel is unlike the background from so many residuals on, and from so much in Lab."""
_COVER = (0.015, 0.62)
_MOST_CONTACT, _LEAST_INLIERS = 0.18, 0.70
_SPECK = 0.0012
_RAMP = (3.0, 5.0)
_ROUNDS = 3
_CLEAN, _KEPT = 1.5, 0.7
"""On so clean a ground, GrabCut may take away so much (white on white, thin wires): then the rough mask is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A mask at the size of the small picture."""

    mask: Array
    """Booleans (h, w)."""
    weight: float
    """0 to 1: how sure it is."""
    plain: bool
    """Whether the background is even and nothing stands near the edge."""


def small_of(rgb: Array) -> Array:
    """The small picture of a picture (H, W, 3) of bytes; one that is small already stays."""
    height, width = rgb.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    return cv2.resize(rgb, (max(2, round(width * scale)), max(2, round(height * scale))), interpolation=cv2.INTER_AREA)


def find_subject(small: Array) -> Subject | None:
    """The subject of a small picture (h, w, 3), RGB bytes. The same for the same picture."""
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lab = np.multiply(lab, np.array([_LIGHTNESS, _CHROMA, _CHROMA], np.float32))
    ring = _ring(lab.shape[:2], _RING)
    away = np.linalg.norm(lab - _background(lab, ring), axis=2)
    residual = 1.4826 * float(np.median(away[ring])) + 0.3
    limit = max(_FEW * residual, _LEAST)
    if float((away[ring] < limit).mean()) < _LEAST_INLIERS:
        return None
    rough = _tidied(away > limit)
    if not _plausible(rough, ring):
        return None
    mask = _tidied(_cut(small, rough, away, limit))
    if residual < _CLEAN and mask.sum() < _KEPT * rough.sum():
        mask = rough
    if not _plausible(mask, ring):
        return None
    told = mask & (away > limit) if residual < _CLEAN else mask  # the middle of a ring is ground
    weight = (float(np.median(away[told])) / residual - _RAMP[0]) / (_RAMP[1] - _RAMP[0])
    if weight <= 0:
        return None
    near_edge = _ring(mask.shape, 0.065)
    plain = residual < 4 and not (mask & near_edge).any() and not (away[near_edge] > 2 * limit).any()  # noqa: PLR2004  # levels of 255
    return Subject(mask=mask, weight=min(1.0, weight), plain=plain)


def _ring(shape: tuple[int, ...], part: float) -> Array:
    height, width = shape[:2]
    thick = max(2, round(part * max(height, width)))
    ring = np.ones((height, width), bool)
    ring[thick : height - thick, thick : width - thick] = False
    return ring


def _background(lab: Array, ring: Array) -> Array:
    """A polynomial of second order over the picture, fitted to its border; what does not fit loses its say."""
    height, width = ring.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    known, wanted = terms[ring], lab[ring].astype(np.float64)
    say = np.ones(len(known))
    factors = np.zeros((6, 3))
    for _ in range(_FIT_ROUNDS):
        weighted = known * say[:, None]
        factors = np.linalg.solve(weighted.T @ known + 1e-6 * np.eye(6), weighted.T @ wanted)
        off = np.linalg.norm(known @ factors - wanted, axis=1)
        say = 1 / (1 + (off / (2 * np.median(off) + 0.5)) ** 2) ** 2
    return np.asarray(terms @ factors, np.float32)


def _cut(small: Array, rough: Array, away: Array, limit: float) -> Array:
    """GrabCut from the rough mask on. Its chance is seeded, and each thread has its own."""
    marks = np.where(rough, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[(cv2.erode(rough.astype(np.uint8), np.ones((5, 5))) > 0) & (away > 2 * limit)] = cv2.GC_FGD
    marks[_ring(rough.shape, 0.01) & ~rough] = cv2.GC_BGD
    cv2.setRNGSeed(1)
    cv2.grabCut(small, marks, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD))


def _tidied(mask: Array) -> Array:
    """Without specks, with every enclosed hole filled."""
    size = max(3, round(max(mask.shape) * 0.012) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2)))
    area = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel)
    outlines, _ = cv2.findContours(area, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [one for one in outlines if cv2.contourArea(one) > _SPECK * mask.size]
    return np.asarray(cv2.drawContours(np.zeros_like(area), large, -1, 1, cv2.FILLED), bool)


def _plausible(mask: Array, ring: Array) -> bool:
    return bool(_COVER[0] <= mask.mean() <= _COVER[1] and mask[ring].mean() < _MOST_CONTACT)
