"""Flicker of the beam: how strong it is in flats, and what to divide the frames of a burst by.

Frames are never brought to one minimum and maximum: that would destroy the photon scale and what
the two cameras have in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.calibration.frame_statistics import FrameStatistics
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["FlickerFactors", "flicker_factors", "flicker_of_flats"]

_REFERENCE_FRAMES = 16
_TILES = 4
_FEWEST_PIXELS = 64
_LEAST_SIGNAL = 0.05
_MOST_DISAGREEMENT = 3.0
_TOLERANCE = 1e-3
"""Parts of the picture that differ by less agree: such a wrong factor does no harm."""

_DARK = 0.5
"""Share of the mean light below which a frame is not flicker: a shutter moved."""


def flicker_of_flats(dark: FrameStatistics, flat: FrameStatistics) -> float:
    """Return the rms of the frame mean of flats within a burst, as a share of it.

    Photon noise of the mean, and what the mean of darks varies by (read noise, jitter of the black
    level), are taken off. Changes from burst to burst do not count.

    Parameters
    ----------
    dark, flat : FrameStatistics
        References of one camera.

    Returns
    -------
    float
        0 where no burst has two frames.
    """
    level = float(np.nanmean(np.concatenate(flat.frame_means)))
    photons = float(flat.variance.mean(dtype=float) - dark.variance.mean(dtype=float))
    variance = _within(flat) - _within(dark) - max(0.0, photons) / flat.mean.size
    return math.sqrt(max(0.0, variance)) / level if level > 0 else 0.0


@dataclass(frozen=True, eq=False)
class FlickerFactors:
    """What to divide the frames of a burst by.

    Parameters
    ----------
    factors : (n,) float64
        Brightness of the beam relative to its mean over the burst; ones where it is not known.
    reason : str or None
        Why they cannot be had; None when they can.
    """

    factors: Float64Array
    reason: str | None = None


def flicker_factors(
    frames: Sequence[Float32Array], beam: BoolArray | None = None
) -> FlickerFactors:
    """Estimate the brightness of the beam in every frame of a burst.

    With a region where nothing but the beam is seen all the time, its mean tells. Without one, the
    median over pixels of the ratio to a median frame does: what moves must then cover less than
    half of the picture, and parts of the picture must agree. A change of the whole sample (it
    melts, it leaves the view, a shutter moves) cannot be told from flicker this way; use the
    factors only where that is excluded.

    Parameters
    ----------
    frames : sequence of (h, w) float32
        Transmission, NaN in pixels without a value. Each is read once, some twice.
    beam : (h, w) bool, optional
        True where only the beam is seen.

    Returns
    -------
    FlickerFactors
        Ones and the reason where the frames do not tell. Never raises for bad data.
    """
    count = len(frames)
    if count < 2:
        return FlickerFactors(np.ones(count), "fewer than two frames")
    if beam is not None:
        return _of_region(frames, beam)
    chosen = np.unique(np.linspace(0, count - 1, _REFERENCE_FRAMES).round().astype(int))
    seen = [frame for k in chosen if np.isfinite(frame := frames[k]).any()]
    if not seen:
        return FlickerFactors(np.ones(count), "no frame has a usable pixel")
    reference = np.median(seen, axis=0)
    lit = np.isfinite(reference) & (reference > _LEAST_SIGNAL)
    if lit.sum() < _FEWEST_PIXELS:
        return FlickerFactors(np.ones(count), f"only {lit.sum()} pixels see the beam")
    tiles = _tiles(lit)
    ratios = np.array([_ratios(frame, reference, lit, tiles) for frame in frames])
    whole, parts, errors = ratios[:, 0, 0], ratios[:, 0, 1:], ratios[:, 1, 1:]
    # The median part: some parts may hold a moving sample.
    apart = np.abs(parts - whole[:, None]) / np.hypot(errors, _TOLERANCE)
    wrong = int((np.median(apart, axis=1) > _MOST_DISAGREEMENT).sum())
    if wrong:
        return FlickerFactors(
            np.ones(count),
            f"in {wrong} of {count} frames parts of the picture change by more than others: that "
            "is the sample, not the beam",
        )
    return FlickerFactors(_relative(whole))


def _of_region(frames: Sequence[Float32Array], beam: BoolArray) -> FlickerFactors:
    count = len(frames)
    if beam.sum() < _FEWEST_PIXELS:
        return FlickerFactors(np.ones(count), f"the beam-only region has {beam.sum()} pixels")
    means = np.full(count, math.nan)
    for k, frame in enumerate(frames):
        seen = frame[beam]
        if np.isfinite(seen).any():
            means[k] = np.nanmean(seen, dtype=np.float64)
    factors = _relative(means)
    if factors.min() < _DARK:
        return FlickerFactors(np.ones(count), "the beam-only region is dark in some frames")
    return FlickerFactors(factors)


def _relative(values: Float64Array) -> Float64Array:
    """Divide by the mean; frames without a value get 1."""
    known = np.isfinite(values)
    factors = np.ones(values.size)
    mean = float(values[known].mean()) if known.any() else 0.0
    factors[known] = values[known] / mean if mean > 0 else 0.0
    return factors


def _tiles(lit: BoolArray) -> list[BoolArray]:
    """Return parts of the picture, as masks over the lit pixels."""
    rows, columns = np.nonzero(lit)
    tile = rows * _TILES // lit.shape[0] * _TILES + columns * _TILES // lit.shape[1]
    parts = [tile == each for each in np.unique(tile)]
    return [part for part in parts if part.sum() >= _FEWEST_PIXELS // 4]


def _ratios(
    frame: Float32Array, reference: Float64Array, lit: BoolArray, tiles: list[BoolArray]
) -> Float64Array:
    """Return the median ratio to the reference of all and of each part, and standard errors."""
    ratio = frame[lit] / reference[lit]
    return np.array([_median(ratio), *(_median(ratio[part]) for part in tiles)]).T


def _median(ratio: Float64Array) -> tuple[float, float]:
    known = ratio[np.isfinite(ratio)]
    if not known.size:
        return math.nan, math.nan
    median = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - median)))
    # The median of n normal numbers has 1.2533 times the error of their mean.
    return median, 1.2533 * spread / math.sqrt(known.size)


def _within(frames: FrameStatistics) -> float:
    """Return the variance of frame means about the mean of their burst."""
    squares, degrees = 0.0, 0
    for means in frames.frame_means:
        known = means[np.isfinite(means)]
        if known.size > 1:
            squares += float(np.square(known - known.mean()).sum())
            degrees += known.size - 1
    return squares / degrees if degrees else 0.0
