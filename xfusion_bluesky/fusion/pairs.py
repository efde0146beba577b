"""LR and HR frames of one time: what they say about gain, noise and registration of the cameras."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.arrays import Float64Array
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.pair_shift import pair_shift
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["PairStatistics", "coincident_pairs", "robust_line", "spread_pairs", "weighted_line"]

_TOLERANCE = 0.1
"""Largest time between the frames of a pair, as a share of the LR interval."""

_MOST_PAIRS = 8
_FEWEST_PIXELS = 16
_HUBER = 1.345
_ROUNDS = 3


@dataclass(frozen=True)
class PairStatistics:
    """How LR frames follow from HR frames: ``y = gain H x + offset + noise``, and a shift.

    Parameters
    ----------
    pairs : int
        Number of frame pairs used; everything else is NaN when there is none.
    gain, offset : float
        Robust fit over all pairs; the offset in units of the frames.
    residual_variance : float
        Mean squared residual of that fit. It holds noise as well as what geometry and timing
        get wrong.
    shift_px : float
        Length of the mean shift between LR frames and binned HR frames, in pixels of the fused
        grid; drift after the calibration.
    shift_error_px : float
        Its standard error over the pairs; inf for a single pair.
    """

    pairs: int
    gain: float = math.nan
    offset: float = math.nan
    residual_variance: float = math.nan
    shift_px: float = math.nan
    shift_error_px: float = math.nan

    @classmethod
    def of(cls, sequence: DualSequence) -> PairStatistics:
        """Compare the frames of a burst that both cameras took at one time, 8 pairs at most."""
        binned, measured, shifts = [], [], []
        for i, j in spread_pairs(list(coincident_pairs(sequence))):
            hx = block_mean(np.where(sequence.hr_mask(j), sequence.hr(j), np.nan))
            usable = sequence.lr_mask(i) & np.isfinite(hx)
            if usable.sum() < _FEWEST_PIXELS:
                continue
            y = sequence.lr(i)
            binned.append(hx[usable])
            measured.append(y[usable])
            shift = pair_shift(
                sequence.hr(j),
                sequence.hr_mask(j),
                y,
                sequence.lr_mask(i),
                sequence.noise,
                rounds=1,
            )
            if shift is not None:
                shifts.append(shift.shift_px)
        if not binned:
            return cls(pairs=0)
        u, v = np.concatenate(binned).astype(float), np.concatenate(measured).astype(float)
        gain, offset, _ = robust_line(u, v)
        rows, columns = np.array(shifts).reshape(-1, 2).T
        return cls(
            pairs=len(binned),
            gain=gain,
            offset=offset,
            residual_variance=float(np.square(v - gain * u - offset).mean()),
            shift_px=math.hypot(_mean(rows), _mean(columns)),
            shift_error_px=math.hypot(_standard_error(rows), _standard_error(columns)),
        )


def coincident_pairs(sequence: DualSequence) -> Iterator[tuple[int, int]]:
    """Yield (LR frame, HR frame) of all valid pairs that were taken at one time.

    Parameters
    ----------
    sequence : DualSequence
        A burst with two or more LR frames; otherwise nothing is yielded.
    """
    tolerance_ns = _TOLERANCE * sequence.lr_interval_ns
    for j in np.flatnonzero(sequence.hr_valid):
        offset_ns = np.abs(sequence.lr_time_ns - sequence.hr_time_ns[j])
        i = int(np.argmin(offset_ns))
        if offset_ns[i] <= tolerance_ns and sequence.lr_valid[i]:
            yield i, int(j)


def spread_pairs(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Keep eight pairs at most, spread over the burst."""
    if len(pairs) <= _MOST_PAIRS:
        return pairs
    return [pairs[k] for k in np.linspace(0, len(pairs) - 1, _MOST_PAIRS).round().astype(int)]


def weighted_line(u: Float64Array, v: Float64Array, weights: Float64Array) -> tuple[float, float]:
    """Fit ``v = gain u + offset`` by weighted least squares.

    Parameters
    ----------
    u, v, weights : (n,) float64

    Returns
    -------
    gain, offset : float
        The gain is NaN without contrast in `u`; the offset is then that of gain 1.
    """
    total = weights.sum()
    mean_u, mean_v = (weights * u).sum() / total, (weights * v).sum() / total
    spread = (weights * np.square(u - mean_u)).sum()
    if spread <= 1e-12 * max(1.0, float(np.square(u).sum())):
        return math.nan, float(mean_v - mean_u)
    gain = float((weights * (u - mean_u) * (v - mean_v)).sum() / spread)
    return gain, float(mean_v - gain * mean_u)


def robust_line(u: Float64Array, v: Float64Array) -> tuple[float, float, Float64Array]:
    """Fit ``v = gain u + offset`` with Huber weights.

    Parameters
    ----------
    u, v : (n,) float64

    Returns
    -------
    gain, offset : float
        As `weighted_line`.
    weights : (n,) float64
        Of the points in the last fit.
    """
    weights = np.ones_like(u)
    for number in range(_ROUNDS + 1):
        gain, offset = weighted_line(u, v, weights)
        residual = np.abs(v - gain * u - offset)
        scale = 1.4826 * float(np.median(residual))
        # NaN without contrast: there is nothing to weigh.
        if number == _ROUNDS or not scale > 0:
            break
        weights = np.minimum(1.0, _HUBER * scale / np.maximum(residual, 1e-30))
    return gain, offset, weights


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _standard_error(values: Float64Array) -> float:
    if values.size < 2:
        return math.inf
    return float(values.std(ddof=1) / math.sqrt(values.size))
