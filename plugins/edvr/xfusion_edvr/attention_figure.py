"""Two-dimensional histograms of attention scores over the place between HR frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_edvr.attention_scores import AttentionScores

__all__ = ["draw", "range_of"]

_BINS = 30
_DPI = 150
_SPREADS = 4.0


def draw(scores: AttentionScores, path: Path) -> None:
    """Draw raw and normalised scores of the HR frames before and after the target.

    Parameters
    ----------
    scores : AttentionScores
        Raw, in the order of time.
    path : Path
        Image to write; the ending says which kind.

    Raises
    ------
    ValueError
        If there are no scores.
    ModuleNotFoundError
        If matplotlib is not installed: ``pip install 'xfusion-edvr[figure]'``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not scores.place.size:
        raise ValueError(
            "there are no attention scores to draw: no target has an HR frame on each side"
        )
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    places = np.arange(scores.place.max() + 2) - 0.5
    for row, (kind, shown) in zip(
        panels, (("raw", scores), ("normalised", scores.normalised())), strict=True
    ):
        row[0].set_ylabel(f"{kind} score")
        edges = [np.linspace(*range_of(v), _BINS + 1) for v in (shown.before, shown.after)]
        if shown is scores:
            # Both sides on one scale: which of them matters more is to be seen. Normalised, one
            # begins at 1 and falls, and the other rises.
            both = np.concatenate((shown.before, shown.after))
            edges = [np.linspace(*range_of(both), _BINS + 1)] * 2
        counts = [
            np.histogram2d(shown.place, values, [places, e])[0]
            for values, e in zip((shown.before, shown.after), edges, strict=True)
        ]
        # Normalised scores are 1 at place 0: that bin says nothing, and would outshine the others.
        most = max([1.0, *(count[1:].max(initial=0) for count in counts)])
        sides = ("HR frame before", "HR frame after")
        for axes, name, count, e in zip(row, sides, counts, edges, strict=True):
            seen = np.ma.masked_equal(count.T, 0)
            mesh = axes.pcolormesh(places, e, seen, vmin=0, vmax=most, cmap="viridis")
            beyond = shown.place.size - int(count.sum())
            axes.set_title(f"{name} ({beyond} of {shown.place.size} beyond)" if beyond else name)
            if not shown.place.size:
                where = {"transform": axes.transAxes, "ha": "center", "va": "center"}
                axes.text(0.5, 0.5, "no target at an HR frame", **where)
        figure.colorbar(mesh, ax=row, label="targets", ticks=MaxNLocator(integer=True))
    for axes in panels[-1]:
        axes.set_xlabel("LR frames since the HR frame before")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=_DPI)


def range_of(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the range to show: that of all values but those far from the others.

    A normalised score is a ratio, and beyond all bounds where what it is divided by is near 0.
    """
    if not values.size:
        return 0.0, 1.0
    first, last = np.quantile(values, (0.25, 0.75))
    margin = _SPREADS * (last - first)
    near = values[(values >= first - margin) & (values <= last + margin)]
    low, high = float(near.min()), float(near.max())
    # All the same: any range around it.
    room = 0.02 * (high - low) or 0.5 * max(abs(high), 1e-9)
    return low - room, high + room
