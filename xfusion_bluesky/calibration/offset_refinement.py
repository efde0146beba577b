"""The offset at the bottom of a valley of the cost, with its error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from xfusion_bluesky.calibration.lagged_frames import LaggedBurst, LaggedFit, lagged_fit
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["RefinedOffset", "refine_offset"]

_ROUNDS = 4
_SCATTER = 1.15
"""Of offsets of simulated bursts, in standard errors: the minimum found is a little too sharp."""


@dataclass(frozen=True)
class RefinedOffset:
    """Offset and drift of the clocks; 1.645 sigma to each side hold the truth in 90 % of cases."""

    offset_ns: float
    offset_sigma_ns: float
    drift_ppm: float
    drift_sigma_ppm: float


def refine_offset(
    bursts: Sequence[LaggedBurst],
    start_ns: float,
    drift_ppm: float | None,
    used: Sequence[BoolArray],
    valley_ns: float,
    reach_ns: float,
) -> RefinedOffset:
    """Fit parabolas to the unexplained rest around the best trial, one after the other.

    Parameters
    ----------
    bursts : sequence of LaggedBurst
    start_ns : float
        Best offset tried.
    drift_ppm : float or None
        Known drift; None = fit it.
    used : sequence of (n_hr,) bool
        HR frames to use, by burst.
    valley_ns : float
        Least reach of a parabola to each side: bumps of the cost within are noise.
    reach_ns : float
        How far from the start the result may lie.

    Returns
    -------
    RefinedOffset
        Its error is the larger of that of independent residuals, and of HR frames that err each
        as a whole ("sandwich").
    """
    # About the middle of the recordings, offset and drift hardly depend on each other.
    middle_ns = float(np.mean([burst.lr_time_ns.mean() for burst in bursts]))
    longest_ns = max(float(np.ptp(burst.lr_time_ns)) for burst in bursts)

    def parameters(theta: Float64Array) -> tuple[float, float]:
        ppm = float(theta[1]) if drift_ppm is None else drift_ppm
        return float(theta[0]) - 1e-6 * ppm * middle_ns, ppm

    def fit(theta: Float64Array, slope: float | None = None) -> LaggedFit:
        return lagged_fit(bursts, *parameters(theta), used=used, slope=slope)

    theta = np.array([start_ns + 1e-6 * (drift_ppm or 0.0) * middle_ns])
    scale = np.array([1.0])
    if drift_ppm is None:
        theta = np.append(theta, 0.0)
        scale = np.append(scale, 2e6 / longest_ns)
    first, reach, least = theta, reach_ns * scale, valley_ns * scale
    step = np.maximum(reach / 4, least)
    for _ in range(_ROUNDS):
        curvature, shift = _parabola(lambda t: float(fit(t).unexplained.sum()), theta, step)
        theta = np.clip(theta + np.clip(shift, -2 * step, 2 * step), first - reach, first + reach)
        at = fit(theta)
        variance = at.residual / max(at.independent - len(theta), 1.0)
        covariance = 2 * np.linalg.inv(curvature) * variance
        step = np.clip(2 * np.sqrt(np.diag(covariance)), least, np.maximum(reach / 2, least))
    free = max(at.freedom - 1 - len(theta), 1)
    gradient = np.stack(
        [
            (fit(theta + d, at.slope).unexplained - fit(theta - d, at.slope).unexplained)
            / (2 * d.sum())
            for d in np.diag(step)
        ],
        axis=1,
    )
    bread = np.linalg.inv(curvature)
    robust = bread @ (gradient.T @ gradient) @ bread * len(gradient) / free
    # Few frames estimate their own scatter badly: 1.645 sigma is to hold 90 % all the same.
    few = float(stats.t.ppf(0.95, free) / stats.norm.ppf(0.95))
    sigma = _SCATTER * few * np.sqrt(np.maximum(np.diag(covariance), np.diag(robust)))
    offset_ns, ppm = parameters(theta)
    drift_sigma_ppm = float(sigma[1]) if drift_ppm is None else 0.0
    return RefinedOffset(
        offset_ns=offset_ns,
        offset_sigma_ns=math.hypot(float(sigma[0]), 1e-6 * drift_sigma_ppm * middle_ns),
        drift_ppm=ppm,
        drift_sigma_ppm=drift_sigma_ppm,
    )


def _parabola(
    function: Callable[[Float64Array], float], centre: Float64Array, step: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Second derivatives at `centre`, and how far away the minimum lies."""
    n = len(centre)
    grid = np.array(list(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=n)))
    values = np.array([function(centre + step * g) for g in grid])
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    design = np.column_stack(
        [np.ones(len(grid)), *grid.T, *(grid[:, i] * grid[:, j] for i, j in pairs)]
    )
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    curvature = np.zeros((n, n))
    for (i, j), value in zip(pairs, solution[1 + n :], strict=True):
        curvature[i, j] += value
        curvature[j, i] += value
    # Where noise bends the cost downwards there is no minimum: stay, with an error to match.
    lowest = 1e-9 * max(float(np.abs(values).max()), 1e-300)
    eigenvalues, axes = np.linalg.eigh(curvature)
    curvature = axes @ np.diag(np.maximum(eigenvalues, lowest)) @ axes.T
    shift = -np.linalg.solve(curvature, solution[1 : 1 + n])
    return curvature / np.outer(step, step), shift * step
