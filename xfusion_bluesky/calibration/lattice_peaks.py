"""The two frequencies of a mesh, from the peaks of a spectrum."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import fft, ndimage, signal

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["flattened", "reciprocal_vectors", "smooth_background"]

_FEWEST_PERIODS = 2.2
"""Slower variations across the frame are background, not mesh."""

_PEAKS = 14
_FAINTEST = 0.3
"""Of the strongest peak: weaker ones cannot be a fundamental of the mesh."""

_LEAST_PROMINENCE = 8.0
"""Of a fundamental over the median of the spectrum; pure noise reaches 4."""

_DARK = 0.15
"""Of the brighter parts of the image: less is not lit."""

_SIGMA_OF_BOXES = 5.0
_SKEW = 0.25
_ANISOTROPY = 0.2


def flattened(image: Float32Array, sigma_px: tuple[float, float]) -> tuple[Float32Array, BoolArray]:
    """Divide an image by its smooth background and take off 1.

    Parameters
    ----------
    image : (h, w) float32
        NaN = masked.
    sigma_px : (float, float)
        Of the Gaussian that makes the background, along rows and columns.

    Returns
    -------
    (h, w) float32, (h, w) bool
        Relative modulation, between -1 and 1 and 0 where masked; and which pixels are usable:
        finite, and not in the dark.
    """
    usable = np.isfinite(image)
    if not usable.any():
        return np.zeros(image.shape, np.float32), usable
    low, middle, high = np.percentile(image[usable], (0.5, 50, 99.5))
    kept = np.clip(image, max(low, -abs(middle)), min(high, 4 * abs(middle)))
    kept = np.where(usable, kept, 0).astype(np.float32)
    background = smooth_background(kept, usable, sigma_px)
    # Where the beam does not reach, a quotient of two noises would drown the mesh.
    bright = np.percentile(background[usable], 90)
    near = (max(1.0, sigma_px[0] / 6), max(1.0, sigma_px[1] / 6))
    usable &= smooth_background(kept, usable, near) > _DARK * bright
    kept[~usable] = 0
    background = smooth_background(kept, usable, sigma_px)
    usable &= background > _DARK * bright
    modulation = np.divide(kept, background, out=np.ones_like(kept), where=usable) - 1
    return np.clip(modulation, -1, 1, dtype=np.float32), usable


def smooth_background(
    image: Float32Array, usable: BoolArray, sigma_px: tuple[float, float]
) -> Float32Array:
    """Mean over usable pixels around each, almost Gaussian; 0 where none is near.

    Parameters
    ----------
    image : (h, w) float32
        0 where not usable.
    usable : (h, w) bool
        True = counts.
    sigma_px : (float, float)
        Along rows and columns.
    """
    weight = _blurred(usable.astype(np.float32), sigma_px)
    total = _blurred(image, sigma_px)
    mean: Float32Array = np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-4)
    return mean


def _blurred(image: Float32Array, sigma_px: tuple[float, float]) -> Float32Array:
    if max(sigma_px) < _SIGMA_OF_BOXES:
        narrow: Float32Array = ndimage.gaussian_filter(image, sigma_px, mode="constant")
        return narrow
    # Three boxes make a Gaussian to a few per cent, at a cost that does not grow with it; their
    # sides are odd, or each would move the image by half a pixel.
    sides = [2 * round((float(np.sqrt(4 * sigma**2 + 1)) - 1) / 2) + 1 for sigma in sigma_px]
    for _ in range(3):
        image = ndimage.uniform_filter(image, sides, mode="constant")
    return image


def reciprocal_vectors(
    modulation: Float32Array, pitch_hint_px: float | None = None
) -> Float64Array | None:
    """Find the two fundamental frequencies of a square mesh, at any rotation.

    Parameters
    ----------
    modulation : (h, w) float32
        Relative modulation, 0 where masked.
    pitch_hint_px : float, optional
        Look only at pitches within a third of this.

    Returns
    -------
    (2, 2) float64 or None
        Two rows, each a frequency in cycles a pixel along (row, column), with an error of about
        0.02 periods across the frame; None when no two peaks stand out that fit a square mesh.
    """
    height, width = modulation.shape
    window = np.outer(signal.windows.hann(height), signal.windows.hann(width))
    padded = [fft.next_fast_len(2 * side, real=True) for side in modulation.shape]
    spectrum = np.abs(fft.rfft2(modulation * window.astype(np.float32), padded))
    rows = fft.fftfreq(padded[0])[:, None]
    columns = fft.rfftfreq(padded[1])[None, :]
    allowed = (rows * height) ** 2 + (columns * width) ** 2 > _FEWEST_PERIODS**2
    if pitch_hint_px is not None:
        periods = np.hypot(rows, columns) * pitch_hint_px
        allowed &= (periods > 0.75) & (periods < 1.33)
    if not allowed.any():
        return None
    floor = float(np.median(spectrum[allowed]))
    search = np.where(allowed, spectrum, 0)
    summit = search == ndimage.maximum_filter(search, 5, mode="wrap")
    summit &= search > max(_FAINTEST * float(search.max()), _LEAST_PROMINENCE * floor)
    where = np.argwhere(summit)
    order = np.argsort(search[summit])[::-1][:_PEAKS]
    strength = search[summit][order].astype(float)
    vectors = np.array([_sub_bin(spectrum, row, column, padded) for row, column in where[order]])
    pair = _best_pair(vectors, strength)
    return None if pair is None else _fundamentals(pair, vectors, 2 / min(padded))


def _best_pair(vectors: Float64Array, strength: Float64Array) -> Float64Array | None:
    """Strongest pair of peaks of a square; of equals the slowest, as harmonics are faster."""
    best, best_score = None, 0.0
    for i, j in itertools.combinations(range(len(vectors)), 2):
        first, second = vectors[i], vectors[j]
        lengths = np.hypot(*first), np.hypot(*second)
        if abs(np.dot(first, second)) > _SKEW * lengths[0] * lengths[1]:
            continue
        if abs(np.log(lengths[0] / lengths[1])) > _ANISOTROPY:
            continue
        score = float(np.sqrt(strength[i] * strength[j] / np.hypot(*lengths)))
        if score > best_score:
            best, best_score = np.stack([first, second]), score
    return None if best is None else _canonical(best)


def _fundamentals(pair: Float64Array, vectors: Float64Array, tolerance: float) -> Float64Array:
    """Replace the diagonals of a mesh by its fundamentals, where those are peaks as well.

    The bright rims of the holes, where they are saturated and left out, make diagonals strongest.
    """
    found = []
    for half in ((pair[0] + pair[1]) / 2, (pair[0] - pair[1]) / 2):
        away = np.minimum(np.hypot(*(vectors - half).T), np.hypot(*(vectors + half).T))
        if away.min() > tolerance:
            return pair
        found.append(vectors[int(away.argmin())])
    return _canonical(np.stack(found))


def _canonical(pair: Float64Array) -> Float64Array:
    """Name the one nearer to the rows the first, and let both point to positive indices."""
    if abs(pair[0, 0]) < abs(pair[1, 0]):
        pair = pair[::-1]
    signs = np.sign([pair[0, 0], pair[1, 1]])
    ordered: Float64Array = pair * np.where(signs == 0, 1, signs)[:, None]
    return ordered


def _sub_bin(
    spectrum: Float32Array, row: int, column: int, padded: list[int]
) -> tuple[float, float]:
    """Frequency of a peak, by a parabola through the logarithms of its neighbours."""
    position = []
    for axis, (at, size) in enumerate(zip((row, column), padded, strict=True)):
        near = []
        for step in (-1, 0, 1):
            r, c = (at + step, column) if axis == 0 else (row, abs(at + step))
            if c >= spectrum.shape[1]:
                c = 2 * (spectrum.shape[1] - 1) - c
            near.append(float(np.log(spectrum[r % spectrum.shape[0], c] + 1e-30)))
        bend = near[0] - 2 * near[1] + near[2]
        moved = at + (0.5 * (near[0] - near[2]) / bend if bend < 0 else 0.0)
        position.append((moved - size if axis == 0 and moved > size / 2 else moved) / size)
    return position[0], position[1]
