"""The linear-Gaussian model of the LR camera, ``y = g H x + o + noise``, and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bayesian.anchors import Anchor
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Observation", "calibrate", "fit_line", "pairs", "whole_blocks"]

_HUBER = 1.345
_STEPS = 3
_FEWEST_PAIRS = 16
_GAINS = (0.5, 2.0)


@dataclass(frozen=True)
class Observation:
    """How an LR pixel follows from its block.

    Parameters
    ----------
    gain, offset : float
        ``y = gain Hx + offset``.
    variance : float
        Mean squared residual of that, in squared units of ``y``; 0 when nothing is known of it.
    pairs : int
        LR pixels it was fitted to; 0 = it is the noise model of the sequence.
    """

    gain: float
    offset: float
    variance: float
    pairs: int

    def in_hr_units(self, y: Float32Array) -> Float64Array:
        """Return ``(y - offset) / gain``."""
        return (y.astype(np.float64) - self.offset) / self.gain


def calibrate(u: Float64Array, v: Float64Array) -> Observation | None:
    """Fit the observation model to block means and LR pixels of the same times.

    Parameters
    ----------
    u, v : (n,) float64
        From `pairs`.

    Returns
    -------
    Observation or None
        None when there are too few pairs.
    """
    if len(u) < _FEWEST_PAIRS:
        return None
    gain, offset = fit_line(u, v)
    if not _GAINS[0] < gain < _GAINS[1]:
        # A scene without contrast determines no gain.
        gain, offset = 1.0, 0.0
    residual = v - gain * u - offset
    return Observation(gain, offset, float(np.square(residual).mean()), len(u))


def pairs(sequence: DualSequence, anchors: Sequence[Anchor]) -> tuple[Float64Array, Float64Array]:
    """Block means of the HR frames and LR pixels of the same times, where both were seen.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    anchors : sequence of Anchor
        HR frames; one without an LR frame of its time gives no pair.

    Returns
    -------
    u, v : (n,) float64
        Block means and LR pixels.
    """
    binned, seen = [np.zeros(0)], [np.zeros(0)]
    for anchor in anchors:
        if anchor.lr_index is not None:
            mask = sequence.lr_mask(anchor.lr_index) & whole_blocks(anchor.mask)
            binned.append(anchor.binned[mask].astype(np.float64))
            seen.append(sequence.lr(anchor.lr_index)[mask].astype(np.float64))
    return np.concatenate(binned), np.concatenate(seen)


def fit_line(u: Float64Array, v: Float64Array) -> tuple[float, float]:
    """Fit ``v = g u + o`` by least squares and three reweightings with Huber's weights.

    Parameters
    ----------
    u, v : (n,) float64
        Pairs.

    Returns
    -------
    (float, float)
        g and o; 1 and the mean difference when `u` is constant.

    References
    ----------
    P. J. Huber, Robust Statistics (1981), chapter 7.
    """
    weights = np.ones_like(u)
    rounding = 1e-6 * max(float(np.abs(v).max()), 1e-300)
    gain, offset = 1.0, float((v - u).mean())
    for _ in range(1 + _STEPS):
        total = float(weights.sum())
        mean_u, mean_v = float((weights * u).sum()) / total, float((weights * v).sum()) / total
        spread = float((weights * np.square(u - mean_u)).sum()) / total
        if spread <= 1e-12 * mean_u**2:
            break
        gain = float((weights * (u - mean_u) * (v - mean_v)).sum()) / total / spread
        offset = mean_v - gain * mean_u
        size = np.abs(v - gain * u - offset)
        limit = max(_HUBER * 1.4826 * float(np.median(size)), rounding)
        weights = limit / np.maximum(size, limit)
    return gain, offset


def whole_blocks(mask: BoolArray) -> BoolArray:
    """LR pixels all of whose 16 fused pixels are usable."""
    h, w = mask.shape[0] // SCALE, mask.shape[1] // SCALE
    blocks = mask.reshape(h, SCALE, w, SCALE)
    return np.asarray(blocks.all(axis=(1, 3)), dtype=np.bool_)
