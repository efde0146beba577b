"""The operators between the LR and the fused grid: block mean, its adjoint, two upsamplings.

All work on the last two axes, leave leading axes alone, and return float32. LR pixel (i, j) has
its centre at fused (4 i + 1.5, 4 j + 1.5), so a blob keeps its centroid in both directions.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["SCALE", "block_mean", "block_mean_adjoint", "upsample_cubic", "upsample_nearest"]

SCALE = 4
"""Fused pixels along one side of an LR pixel."""

_KEYS_A = -0.75
"""Keys' free parameter; -0.75 is the value of OpenCV and PyTorch."""

_TAPS = 4
_PAD = 2


def block_mean(image: npt.ArrayLike) -> Float32Array:
    """Bin a fused image to the LR grid: the operator H.

    ``(Hx)(i) = mean of x over the 4 x 4 fused pixels of LR pixel i``.

    Parameters
    ----------
    image : (..., 4 h, 4 w)
        Intensities in any unit.

    Returns
    -------
    (..., h, w) float32
        Same unit; NaN where a block holds a NaN.

    Raises
    ------
    ValueError
        If a side is not a multiple of 4.
    """
    x = _image(image)
    if x.shape[-2] % SCALE or x.shape[-1] % SCALE:
        raise ValueError(
            f"cannot bin an image of shape {x.shape}: its last two sides must be multiples of "
            f"{SCALE}; crop it to the fused grid first"
        )
    # Adding in pairs keeps the sum of 16 equal numbers exact, hence H U0 = I bit by bit.
    rows = (x[..., 0::4, :] + x[..., 1::4, :]) + (x[..., 2::4, :] + x[..., 3::4, :])
    total = (rows[..., 0::4] + rows[..., 1::4]) + (rows[..., 2::4] + rows[..., 3::4])
    mean: Float32Array = total * np.float32(1 / SCALE**2)
    return mean


def block_mean_adjoint(image: npt.ArrayLike) -> Float32Array:
    """Spread LR values over their fused pixels: the adjoint H^T, with <Hx, y> = <x, H^T y>.

    Parameters
    ----------
    image : (..., h, w)
        LR image.

    Returns
    -------
    (..., 4 h, 4 w) float32
        Each fused pixel holds 1/16 of its LR pixel.
    """
    return upsample_nearest(_image(image) * np.float32(1 / SCALE**2))


def upsample_nearest(image: npt.ArrayLike) -> Float32Array:
    """Replicate every LR pixel over its 4 x 4 fused pixels: U0 = 16 H^T, with H U0 = I exactly.

    Parameters
    ----------
    image : (..., h, w)
        LR image.

    Returns
    -------
    (..., 4 h, 4 w) float32
        Same unit.
    """
    y = _image(image)
    *lead, h, w = y.shape
    wide = np.repeat(y, SCALE, axis=-1)
    out = np.empty((*lead, h, SCALE, w * SCALE), dtype=np.float32)
    out[...] = wide[..., :, None, :]
    return out.reshape(*lead, h * SCALE, w * SCALE)


def upsample_cubic(image: npt.ArrayLike) -> Float32Array:
    """Upsample four times with Keys' cubic kernel: U3.

    Separable, half-pixel centres, a = -0.75, replicated border: the numbers of OpenCV's
    ``INTER_CUBIC``. ``H U3`` is close to, but not, the identity: it keeps constants exactly and
    smooth images nearly.

    Parameters
    ----------
    image : (..., h, w)
        LR image.

    Returns
    -------
    (..., 4 h, 4 w) float32
        Same unit. The kernel overshoots at edges; nothing is clipped.

    References
    ----------
    R. G. Keys, IEEE Trans. ASSP 29 (1981) 1153, eq. (15) for general a.
    """
    y = _image(image)
    # Columns first, while the image is small: they need a transposed copy, rows do not.
    wide = np.swapaxes(_upsample_rows(np.swapaxes(y, -1, -2)), -1, -2)
    return _upsample_rows(wide)


def _image(image: npt.ArrayLike) -> Float32Array:
    x = np.asarray(image, dtype=np.float32)
    if x.ndim < 2:
        raise ValueError(f"an image needs two axes, got an array of shape {x.shape}")
    return x


def _upsample_rows(image: Float32Array) -> Float32Array:
    """Upsample along the last axis but one."""
    *lead, h, w = image.shape
    padded = np.empty((*lead, h + 2 * _PAD, w), dtype=np.float32)
    padded[..., _PAD:-_PAD, :] = image
    padded[..., :_PAD, :] = image[..., :1, :]
    padded[..., -_PAD:, :] = image[..., -1:, :]
    # (..., row, 4 taps, column), a view: each product with it is one small matrix product a row,
    # several times faster than adding up four scaled copies of the image.
    taps = np.swapaxes(sliding_window_view(padded, _TAPS, axis=-2), -1, -2)
    out = np.empty((*lead, h, SCALE, w), dtype=np.float32)
    phases = _phases()
    for first in sorted({tap for tap, _ in phases}):
        of_tap = [phase for phase, (tap, _) in enumerate(phases) if tap == first]
        weights = np.stack([phases[phase][1] for phase in of_tap])
        begin = first + _PAD
        np.matmul(
            weights,
            taps[..., begin : begin + h, :, :],
            out=out[..., of_tap[0] : of_tap[-1] + 1, :],
        )
    return out.reshape(*lead, h * SCALE, w)


@lru_cache(maxsize=1)
def _phases() -> list[tuple[int, Float32Array]]:
    """First tap (relative to the LR pixel) and weights of the four fused pixels of an LR pixel."""
    phases = []
    for phase in range(SCALE):
        position = (phase + 0.5) / SCALE - 0.5
        nearest_left = int(np.floor(position))
        taps = nearest_left + np.arange(-1, 3)
        phases.append((int(taps[0]), _keys(position - taps).astype(np.float32)))
    return phases


def _keys(distance: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    d, a = np.abs(distance), _KEYS_A
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
