"""The picture of `growth` for the README: `python -m tests.bench.plot BENCH.json growth.png` draws it anew from the figures."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt  # after the choice of what draws
from matplotlib.axes import Axes

_PANELS = (("by_jobs", "jobs"), ("by_slots", "slots"))
_COLOR = "#2458a6"
_ROWS = (("cpu_ms_a_job", "CPU ms a job"), ("peak_mb", "peak memory, MB"))


def draw(figures: Mapping[str, Sequence[Mapping[str, Any]]], target: Path) -> None:
    """Two columns (jobs, slots) of two rows (CPU a job, peak memory). Hollow: only a part of the jobs was bought."""
    figure, grid = plt.subplots(2, 2, figsize=(8, 4.2), sharex="col", sharey="row", layout="constrained")
    for row, (item, label) in enumerate(_ROWS):
        for column, (series, what) in enumerate(_PANELS):
            _panel(grid[row][column], figures[series], what, item)
        grid[row][0].set_ylabel(label)
        grid[row][0].set_ylim(0, 1.1 * max(one[item] for series, _ in _PANELS for one in figures[series]))
    for column, (_, what) in enumerate(_PANELS):
        grid[1][column].set_xlabel(what)
    figure.savefig(target, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _panel(axes: Axes, points: Sequence[Mapping[str, Any]], what: str, item: str) -> None:
    axes.plot([one[what] for one in points], [one[item] for one in points], marker="o", markersize=4, color=_COLOR)
    parts = [one for one in points if one["bought"] < one["jobs"]]
    axes.plot([one[what] for one in parts], [one[item] for one in parts], "o", markersize=4, color=_COLOR, mfc="white")
    axes.set_xscale("log")
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text("utf-8"))["growth"], Path(sys.argv[2]))
