"""Blur of the LR camera that its square pixels do not explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from xfusion_bluesky.calibration.record import PointSpread
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, fill_masked
from xfusion_bluesky.fusion.operators import SCALE, block_mean
from xfusion_bluesky.fusion.pixelmap import PixelMap

__all__ = ["point_spread"]

_LARGEST_SIGMA_PX = 8.0
_FEWEST_PIXELS = 64
_LARGEST_SIDE = 96
"""LR pixels along a side of the part that is compared: enough for an error of some per cent."""

_STEP_PX = 0.3
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32) / 6
"""Passes white noise as it is, and next to nothing of edges along the axes."""


@dataclass(frozen=True, eq=False)
class _View:
    lr: Float32Array
    hr: Float32Array
    """On the fused grid."""
    noise: Float32Array
    """As strong as that of the HR camera, on the fused grid."""
    usable: BoolArray


def point_spread(
    views: list[tuple[Float32Array, Float32Array]], pixel_map: PixelMap
) -> PointSpread | None:
    """Find the Gaussian that makes LR images of binned HR images.

    ``lr = gain H G(sigma) hr + offset``: sigma is what the LR camera blurs more than the HR camera,
    on the fused grid, besides averaging over its pixels; 0 when it is the sharper one.

    Parameters
    ----------
    views : list of (LR image, HR image)
        Of the mesh, as the cameras give them; NaN = masked.
    pixel_map : PixelMap
        The fitted map.

    Returns
    -------
    PointSpread or None
        None when too few pixels are usable, or the images do not correspond.
    """
    prepared = [_prepared(lr, hr, pixel_map) for lr, hr in views]
    prepared = [each for each in prepared if each.usable.sum() >= _FEWEST_PIXELS]
    if not prepared:
        return None

    def cost(sigma: float) -> float:
        return sum(_misfit(each, sigma)[0] for each in prepared)

    best = optimize.minimize_scalar(
        cost, bounds=(0.0, _LARGEST_SIGMA_PX), method="bounded", options={"xatol": 0.01}
    )
    sigma = float(best.x)
    middle = max(sigma, 2 * _STEP_PX)  # at 0 the cost is flat
    around = [cost(middle + step) for step in (-_STEP_PX, 0, _STEP_PX)]
    curvature = (around[0] - 2 * around[1] + around[2]) / _STEP_PX**2
    if curvature <= 0 or sigma > 0.95 * _LARGEST_SIGMA_PX:
        return None
    power = sum(_misfit(each, sigma)[1] for each in prepared)
    variance = power / sum(int(each.usable.sum()) for each in prepared)
    return PointSpread(
        sigma_px=sigma if sigma > 0.05 else 0.0, error_px=float(np.sqrt(2 * variance / curvature))
    )


def _prepared(lr: Float32Array, hr: Float32Array, pixel_map: PixelMap) -> _View:
    """Bring the middle of a view onto the fused grid."""
    field = pixel_map.crop_lr(lr)
    rows, columns = (
        slice(max(0, (side - _LARGEST_SIDE) // 2), (side + _LARGEST_SIDE + 1) // 2)
        for side in field.shape
    )
    fused = tuple(slice(SCALE * each.start, SCALE * each.stop) for each in (rows, columns))
    finite = np.isfinite(hr)
    filled = fill_masked(hr, finite)
    rough = ndimage.convolve(filled, _NOISE_KERNEL)[finite]
    sigma = 1.4826 * float(np.median(np.abs(rough))) if rough.size else 0.0
    noise = sigma * np.random.default_rng(0).standard_normal(hr.shape, dtype=np.float32)
    seen = pixel_map.valid_mask(finite)[fused]
    part = field[rows, columns]
    usable = np.isfinite(part) & (block_mean(seen.astype(np.float32)) > 1 - 1e-6)
    usable &= ndimage.binary_erosion(usable, iterations=2)
    return _View(
        fill_masked(part, np.isfinite(part)),
        pixel_map.warp(filled)[fused],
        pixel_map.warp(noise)[fused],
        usable,
    )


def _misfit(view: _View, sigma: float) -> tuple[float, float]:
    """Sum of squares that a gain and an offset leave over: without HR noise, and with it."""
    predicted, noise = (
        block_mean(ndimage.gaussian_filter(each, sigma, mode="nearest"))[view.usable].astype(float)
        for each in (view.hr, view.noise)
    )
    seen = view.lr[view.usable].astype(float)
    design = np.column_stack([predicted, np.ones_like(predicted)])
    solution, *_ = np.linalg.lstsq(design, seen, rcond=None)
    power = float(np.square(seen - design @ solution).sum())
    # A wider blur also averages the noise of the HR camera, and would seem to fit for that alone.
    return power - float(solution[0] ** 2 * np.square(noise).sum()), power
