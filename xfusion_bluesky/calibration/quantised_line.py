"""A straight line through numbers that were rounded to a step, with an honest error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["Line", "fit_line"]

_ENDS = 256
"""Points at each end of a long line that are compared: only far pairs bound a slope closely."""


@dataclass(frozen=True)
class Line:
    """One slope through one or more pieces, each with a start of its own.

    Parameters
    ----------
    slope, slope_sigma : float
        Per unit of x.
    starts : tuple of float
        Value at x = 0 of each piece.
    start_sigma : float
        Of the first piece.
    residual_rms : float
    """

    slope: float
    slope_sigma: float
    starts: tuple[float, ...]
    start_sigma: float
    residual_rms: float


def fit_line(pieces: Sequence[tuple[Float64Array, Float64Array]], quantum: float) -> Line:
    """Fit ``y = start + slope x`` with one slope for all pieces.

    Rounding is no noise: its errors repeat, and least squares then err by more than they say.
    Where every point agrees with some line to half a quantum, the slope is the middle of all
    slopes that do, and its error their spread. Otherwise it is least squares.

    Parameters
    ----------
    pieces : sequence of (x, y)
        x increasing within a piece; at least one piece has two points.
    quantum : float
        Width of the interval that a rounded y stands for.

    Raises
    ------
    ValueError
        No piece has two points.
    """
    if not any(len(x) > 1 for x, _ in pieces):
        raise ValueError("a line needs two points")
    bounds = [_slope_bounds(x, y, quantum) for x, y in pieces if len(x) > 1]
    low, high = max(b[0] for b in bounds), min(b[1] for b in bounds)
    if low <= high:
        slope, sigma = (low + high) / 2, (high - low) / 2 / math.sqrt(3)
    else:
        slope, sigma = _least_squares(pieces, quantum)
    rest = [y - slope * x for x, y in pieces]
    starts = tuple(float((r.min() + r.max()) / 2 if low <= high else r.mean()) for r in rest)
    residual = np.concatenate([r - s for r, s in zip(rest, starts, strict=True)])
    rms = float(np.sqrt(np.mean(np.square(residual))))
    first = pieces[0][0]
    if low <= high:
        level = max(quantum - float(np.ptp(rest[0])), 0.0) / 2 / math.sqrt(3)
    else:
        level = rms / math.sqrt(len(first))
    return Line(
        slope=slope,
        slope_sigma=sigma,
        starts=starts,
        start_sigma=math.hypot(level, sigma * float(np.abs(first).mean())),
        residual_rms=rms,
    )


def _slope_bounds(x: Float64Array, y: Float64Array, quantum: float) -> tuple[float, float]:
    """Return the slopes between which a line passes every point within half a quantum."""
    if len(x) > 2 * _ENDS:
        x, y = (np.concatenate([v[:_ENDS], v[-_ENDS:]]) for v in (x, y))
    i, j = np.triu_indices(len(x), k=1)
    rise, run = y[j] - y[i], x[j] - x[i]
    return float(((rise - quantum) / run).max()), float(((rise + quantum) / run).min())


def _least_squares(
    pieces: Sequence[tuple[Float64Array, Float64Array]], quantum: float
) -> tuple[float, float]:
    x = np.concatenate([x - x.mean() for x, _ in pieces])
    y = np.concatenate([y - y.mean() for _, y in pieces])
    spread = float(x @ x)
    slope = float(x @ y) / spread
    freedom = max(len(x) - len(pieces) - 1, 1)
    variance = float(np.square(y - slope * x).sum()) / freedom
    return slope, math.sqrt(max(variance, quantum**2 / 12) / spread)
