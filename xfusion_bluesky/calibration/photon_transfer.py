"""The photon transfer curve: how the noise of a camera grows with its signal.

A photon that is counted becomes ``g`` counts, so a signal of ``s`` counts has the variance ``g s``
on top of the read noise: the slope of variance against signal is the gain (Janesick, Photon
Transfer, 2007, chapter 5). A pattern that differs between storage cells adds ``(p s)^2``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["LightLevel", "PhotonTransfer", "photon_transfer"]

_CLASSES = 24
_FEWEST_PIXELS = 8
_ROUNDS = 4
_BELOW = 0.7
"""Variance below this share of the line of lower signals: full wells do not fluctuate."""

_SIGNIFICANT = 3.0


@dataclass(frozen=True, eq=False)
class LightLevel:
    """Repeated frames of one brightness.

    Parameters
    ----------
    signal : (H, W) float32
        Mean above the dark, counts.
    variance : (H, W) float32
        Of one frame, counts^2, free of fixed pattern and flicker.
    degrees : float
        Of freedom of the variance of one pixel.
    """

    signal: Float32Array
    variance: Float32Array
    degrees: float


@dataclass(frozen=True, eq=False)
class PhotonTransfer:
    """The curve ``variance = read_noise^2 + counts_per_photon signal + (cell_pattern signal)^2``.

    Parameters
    ----------
    counts_per_photon, counts_per_photon_sigma : float
        Slope and its standard error, counts.
    read_noise_counts, read_noise_sigma : float
        Rms without light, rounding included, and its standard error.
    cell_pattern : float
        Share of the signal; 0 where none was looked for or none is significant.
    saturation_counts : float or None
        Signal above the dark from which on the variance falls short of the line; None: none does.
    signal, variance : float64 arrays
        Points of the curve, in counts and counts^2.
    """

    counts_per_photon: float
    counts_per_photon_sigma: float
    read_noise_counts: float
    read_noise_sigma: float
    cell_pattern: float
    saturation_counts: float | None
    signal: Float64Array
    variance: Float64Array


def photon_transfer(
    levels: Sequence[LightLevel], usable: BoolArray, *, cell_pattern: bool = False, what: str = ""
) -> PhotonTransfer:
    """Fit the photon transfer curve of a camera.

    Parameters
    ----------
    levels : sequence of LightLevel
        Darks (signal 0) and one or more flats. An uneven beam makes one flat a range of levels.
    usable : (H, W) bool
        Pixels that count.
    cell_pattern : bool
        Whether the variances hold a pattern that differs between storage cells. It is told from
        photon noise by the curve's bend; where that is not significant, a line is fitted.
    what : str
        Names the camera in errors.

    Raises
    ------
    CalibrationError
        Fewer than two levels of light can be told apart, or no frame was repeated.
    """
    points = np.concatenate([_points(each, usable) for each in levels])
    signal, variance, sigma = points[np.argsort(points[:, 0])].T
    if not signal.size or not signal[-1] > signal[0]:
        raise CalibrationError(
            f"No photon transfer curve of {what or 'the camera'}: dark and flat have one brightness"
            ", or fewer than two frames each. Record several frames of both, the shutter open for "
            "the flat; the data are safe."
        )
    onset = _onset(signal, variance)
    kept = np.ones(signal.size, dtype=np.bool_) if onset is None else signal < onset
    used = signal[kept], variance[kept], sigma[kept]
    solution, errors = _fit(*used, terms=2)
    pattern = 0.0
    if cell_pattern and kept.sum() > 3:
        bent, bent_errors = _fit(*used, terms=3)
        if bent[2] > _SIGNIFICANT * bent_errors[2] and bent[1] > -bent_errors[1]:
            solution, errors, pattern = bent, bent_errors, math.sqrt(bent[2])
    read_noise = math.sqrt(max(solution[0], 0.0))
    return PhotonTransfer(
        counts_per_photon=max(float(solution[1]), 0.0),
        counts_per_photon_sigma=float(errors[1]),
        read_noise_counts=read_noise,
        read_noise_sigma=float(errors[0]) / (2 * read_noise) if read_noise else 0.0,
        cell_pattern=pattern,
        saturation_counts=onset,
        signal=signal,
        variance=variance,
    )


def _points(level: LightLevel, usable: BoolArray) -> Float64Array:
    """Return signal, variance and its relative error of classes of equal light, (n, 3)."""
    if not level.degrees:
        return np.zeros((0, 3))
    order = np.argsort(level.signal[usable], kind="stable")
    signal, variance = level.signal[usable][order], level.variance[usable][order]
    classes = max(1, min(_CLASSES, signal.size // _FEWEST_PIXELS))
    if not signal.size or signal[-1] <= signal[0]:
        classes = 1
    rows = [
        (s.mean(dtype=float), v.mean(dtype=float), math.sqrt(2 / (level.degrees * s.size)))
        for s, v in zip(
            np.array_split(signal, classes), np.array_split(variance, classes), strict=True
        )
        if s.size
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _onset(signal: Float64Array, variance: Float64Array) -> float | None:
    """Return the signal of the first class whose variance, and that of all brighter ones, drops."""
    peak = int(np.argmax(variance))
    if peak < 1 or peak == signal.size - 1:
        return None
    slope = (variance[peak] - variance[0]) / max(signal[peak] - signal[0], 1e-12)
    expected = variance[0] + slope * (signal - signal[0])
    low = variance < _BELOW * expected
    low[: peak + 1] = False
    if not low[-1]:
        return None
    first = int(np.flatnonzero(~low)[-1]) + 1
    return float(signal[first])


def _fit(
    signal: Float64Array, variance: Float64Array, relative: Float64Array, terms: int
) -> tuple[Float64Array, Float64Array]:
    """Weighted polynomial, each point's error taken from the curve itself."""
    design = np.stack([signal**power for power in range(terms)], axis=1)
    expected = variance
    for _ in range(_ROUNDS):
        floor = 1e-6 * max(float(np.abs(expected).max()), 1e-12)
        weight = 1 / (relative * np.maximum(expected, floor))
        scale = np.abs(design * weight[:, None]).max(axis=0)
        solution, *_ = np.linalg.lstsq(
            design * weight[:, None] / scale, variance * weight, rcond=None
        )
        solution = solution / scale
        expected = design @ solution
    weighted = design * weight[:, None] / scale
    covariance = np.linalg.pinv(weighted.T @ weighted) / np.outer(scale, scale)
    spare = max(1, signal.size - terms)
    chi2 = float(np.square((variance - expected) * weight).sum()) / spare
    errors: Float64Array = np.sqrt(np.diag(covariance) * max(1.0, chi2))
    return solution, errors
