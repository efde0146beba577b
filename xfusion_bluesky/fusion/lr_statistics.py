"""Contrast, noise and speed of the LR frames of a burst."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["contrast_of", "motion_of", "noise_of", "usable_frames"]

_MOST_SAMPLES = 16
_SMOOTHING_PX = 1.0
_SMOOTHED_VARIANCE = 1 / (4 * math.pi * _SMOOTHING_PX**2)
"""Share of white noise variance that a Gaussian of that width leaves."""

_SMALLEST_NOISE = 1e-3
_SMALLEST_VARIANCE = 1e-10
_SIGNIFICANT = 3.0


def usable_frames(sequence: DualSequence) -> list[int]:
    """Return the LR frames that are valid and have a usable pixel; each of them is read."""
    valid = np.flatnonzero(sequence.lr_valid)
    return [int(i) for i in valid if sequence.lr_mask(int(i)).any()]


def contrast_of(sequence: DualSequence) -> float:
    """Return the 0.35 to 99.65 percentile range of the LR pixels; 0 for an even scene."""
    frames = usable_frames(sequence)
    sampled = frames[:: max(1, len(frames) // _MOST_SAMPLES)]
    if not sampled:
        return 0.0
    values = np.concatenate([sequence.lr(i)[sequence.lr_mask(i)] for i in sampled])
    low, high = np.percentile(values, (0.35, 99.65))
    return float(high - low)


def noise_of(sequence: DualSequence, contrast: float) -> NoiseModel:
    """Return the noise of the LR frames that images are judged by.

    Parameters
    ----------
    sequence : DualSequence
        A burst; its own noise model is taken where it has one.
    contrast : float
        From `contrast_of`; noise below a thousandth of it (60 dB) counts as that.

    Returns
    -------
    NoiseModel
        Of a noise-free model, an even noise from the differences of frames that follow each
        other, ``var(y_i-1 - 2 y_i + y_i+1) = 6 r``, by their median: most pixels rest.
    """
    if not sequence.noise.is_noise_free:
        return sequence.noise
    variances = []
    for i in _sampled_runs(sequence, length=3):
        before, here, after = (sequence.lr(i + k) for k in range(3))
        difference = np.abs(before - 2 * here + after)
        variances.append((1.4826 * float(np.median(difference))) ** 2 / 6)
    smallest = max((_SMALLEST_NOISE * contrast) ** 2, _SMALLEST_VARIANCE)
    return NoiseModel(beta=max(float(np.median(variances)) if variances else 0.0, smallest))


def motion_of(sequence: DualSequence, noise: NoiseModel) -> float:
    """Return how far what moves gets in one LR frame, in LR pixels; NaN when nothing moves.

    Normal flow ``|dy/dt| / |grad y|``, root mean square over the pixels that change and have an
    edge, smoothed by 1 px; median over up to 16 pairs of frames. It is linear in the difference,
    hence a lower limit for motions of more than about a pixel.
    """
    found = []
    for i in _sampled_runs(sequence, length=2):
        first, second = (ndimage.gaussian_filter(sequence.lr(k), _SMOOTHING_PX) for k in (i, i + 1))
        middle: Float32Array = (first + second) / 2
        if min(middle.shape) < 2:
            return math.nan
        rows, columns = np.gradient(middle)
        edge, step = rows**2 + columns**2, np.square(second - first)
        of_noise = 2 * _SMOOTHED_VARIANCE * noise.variance(middle)
        moving = (step > _SIGNIFICANT**2 * of_noise) & (edge > _SIGNIFICANT**2 * of_noise)
        if moving.any():
            excess = float((step - of_noise).mean(where=moving, dtype=np.float64))
            found.append(math.sqrt(excess / float(edge.mean(where=moving, dtype=np.float64))))
    return float(np.median(found)) if found else math.nan


def _sampled_runs(sequence: DualSequence, length: int) -> list[int]:
    """Return first frames of up to 16 runs of valid LR frames, spread over the burst."""
    valid = np.zeros(sequence.n_lr, dtype=np.bool_)
    valid[usable_frames(sequence)] = True
    starts = [i for i in range(sequence.n_lr - length + 1) if valid[i : i + length].all()]
    return starts[:: max(1, len(starts) // _MOST_SAMPLES)][:_MOST_SAMPLES]
