"""What is seen in both cameras and does not repeat: dust, scratches, beam edges, broken cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.calibration.lattice_peaks import flattened, smooth_background
from xfusion_bluesky.fusion.arrays import Float32Array, Float64Array

__all__ = ["FeaturePair", "defect_features", "flat_features"]

_SPECK_PX = 0.6
_CLIP_SIGMAS = 6.0
"""One hot pixel of one camera must not decide."""

_NOISE_SIGMAS = 1.5
_FEWEST_PIXELS = 100
_LOW_ORDERS = np.add.outer(np.arange(5), np.arange(5)) <= 4


@dataclass(frozen=True, eq=False)
class FeaturePair:
    """Irregular features as both cameras see them, 0 on average; masked pixels are NaN.

    Parameters
    ----------
    lr : (h, w) float32
        Of the LR camera.
    hr : (H, W) float32
        Of the HR camera, smoothed as the other.
    grain_px : float
        Smallest feature, LR pixels (sigma).
    """

    lr: Float32Array
    hr: Float32Array
    grain_px: float


def flat_features(
    lr_flat: Float32Array, hr_flat: Float32Array, lr_pitch_px: float, hr_pitch_px: float
) -> FeaturePair:
    """Dust, scratches and edges of the beam, from the flat fields of both cameras.

    Parameters
    ----------
    lr_flat, hr_flat : (h, w), (H, W) float32
        Counts above the dark; NaN = masked.
    lr_pitch_px, hr_pitch_px : float
        Pitch of the mesh in both cameras, which sets what is small.
    """
    scale = hr_pitch_px / lr_pitch_px
    return FeaturePair(
        _band(lr_flat, _SPECK_PX, 0.7 * lr_pitch_px),
        _band(hr_flat, _SPECK_PX * scale, 0.7 * hr_pitch_px),
        grain_px=1.5 * _SPECK_PX,
    )


def defect_features(
    lr_mesh: Float32Array, hr_mesh: Float32Array, lr_pitch_px: float, hr_pitch_px: float
) -> FeaturePair:
    """Cells of the mesh that are brighter or darker than others: broken or filled.

    Parameters
    ----------
    lr_mesh, hr_mesh : (h, w), (H, W) float32
        Transmission; NaN = masked.
    lr_pitch_px, hr_pitch_px : float
        Pitch of the mesh in both cameras.
    """
    # A Gaussian of 0.6 pitches passes a thousandth of the mesh itself.
    lr, hr = (
        _band(image, 0.6 * pitch, 2 * pitch)
        for image, pitch in ((lr_mesh, lr_pitch_px), (hr_mesh, hr_pitch_px))
    )
    return FeaturePair(lr, hr, grain_px=0.6 * lr_pitch_px)


def _band(image: Float32Array, smallest_px: float, largest_px: float) -> Float32Array:
    # The mean over a window that the frame cuts off is wrong on a slope: take off the slope first.
    relative, usable = flattened(image / _profile(image), (largest_px, largest_px))
    if not usable.any():
        return np.full(image.shape, np.nan, np.float32)
    noise = 1.4826 * float(np.median(np.abs(relative[usable])))
    limit = _CLIP_SIGMAS * max(noise, 0.02 * float(relative[usable].std()), 1e-6)
    clipped = np.where(usable, np.clip(relative, -limit, limit), 0).astype(np.float32)
    smooth = smooth_background(clipped, usable, (smallest_px, smallest_px))
    # Keep what stands out: the rest is noise, whose many pixels would drown a few specks.
    noise = 1.4826 * float(np.median(np.abs(smooth[usable])))
    spots = np.sign(smooth) * np.maximum(np.abs(smooth) - _NOISE_SIGMAS * noise, 0)
    size = float(np.sqrt(np.square(spots[usable]).mean())) or 1.0
    banded: Float32Array = np.where(usable, spots / size, np.nan).astype(np.float32)
    return banded


def _profile(image: Float32Array) -> Float32Array:
    """Polynomial of degree 4 through an image, for the profile of the beam; never below 2 %."""
    usable = np.isfinite(image)
    if usable.sum() < _FEWEST_PIXELS:
        return np.ones(image.shape, np.float32)
    rows, columns = (np.linspace(-1, 1, side) for side in image.shape)
    step = max(1, int(np.sqrt(image.size / 20_000)))
    thin = (slice(None, None, step), slice(None, None, step))

    def terms(r: Float64Array, c: Float64Array) -> Float64Array:
        down, across = (
            np.polynomial.legendre.legvander(r, 4),
            np.polynomial.legendre.legvander(c, 4),
        )
        products: Float64Array = np.einsum("ri,cj->rcij", down, across)
        return products[..., _LOW_ORDERS]

    kept = usable[thin]
    design = terms(rows[::step], columns[::step])[kept]
    solution = np.linalg.lstsq(design, image[thin][kept].astype(float), rcond=None)[0]
    low = np.zeros((5, 5))
    low[_LOW_ORDERS] = solution
    profile = np.polynomial.legendre.leggrid2d(rows, columns, low)
    floor = 0.02 * float(np.abs(profile).max()) + 1e-30
    limited: Float32Array = np.maximum(profile, floor).astype(np.float32)
    return limited
