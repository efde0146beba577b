"""How the brightness of one camera follows from that of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.fusion.arrays import Float32Array, Float64Array
from xfusion_bluesky.fusion.pairs import robust_line, weighted_line

__all__ = ["GainOffset", "gain_offset"]

_TILES = 4
_FEWEST_PIXELS = 64
_FEWEST_PARTS = 4
_LEAST_CONTRAST = 0.01


@dataclass(frozen=True)
class GainOffset:
    """LR transmission = ``gain`` * HR transmission + ``offset``.

    Parameters
    ----------
    gain, offset : float
        Robust fit.
    gain_sigma, offset_sigma : float
        Standard errors, from the spread over parts of the field, so that what neighbouring pixels
        have in common (registration, the sample's motion) counts.
    """

    gain: float
    offset: float
    gain_sigma: float
    offset_sigma: float


def gain_offset(pairs: Sequence[tuple[Float32Array, Float32Array]]) -> GainOffset:
    """Fit gain and offset between the cameras.

    Parameters
    ----------
    pairs : sequence of (hx, y)
        HR frame binned to the LR grid, and LR frame, of one time; (h, w) float32 transmission, NaN
        where either camera has no value. Frames need contrast: a mesh, a sample.

    Raises
    ------
    CalibrationError
        The pairs have different shapes, too few pixels, or no contrast.
    """
    hx, y, tile = _gather(pairs)
    parts = [tile != each for each in np.unique(tile)]
    few = hx.size < _FEWEST_PIXELS or len(parts) < _FEWEST_PARTS
    if few or float(hx.std()) < _LEAST_CONTRAST * float(np.abs(hx).mean()):
        raise CalibrationError(
            f"No gain between the cameras: {len(pairs)} pairs of frames show {hx.size} common "
            "pixels, or an even field. Take pairs with the mesh or a sample in view; the data are "
            "safe."
        )
    gain, offset, weights = robust_line(hx, y)
    # Jackknife over parts of the field.
    fits = [weighted_line(hx[kept], y[kept], weights[kept]) for kept in parts]
    gains, offsets = np.array(fits).reshape(-1, 2).T
    return GainOffset(gain, offset, _jackknife(gains), _jackknife(offsets))


def _gather(
    pairs: Sequence[tuple[Float32Array, Float32Array]],
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return values of all pixels with both, and in which part of the field each is."""
    shapes = {np.shape(each) for pair in pairs for each in pair}
    if len(shapes) > 1:
        raise CalibrationError(
            f"No gain between the cameras: the frames of the pairs have the shapes {shapes}. Bin "
            "the HR frames to the LR grid first; the data are safe."
        )
    parts = []
    for hx, y in pairs:
        usable = np.isfinite(hx) & np.isfinite(y)
        rows, columns = np.nonzero(usable)
        tile = rows * _TILES // hx.shape[0] * _TILES + columns * _TILES // hx.shape[1]
        parts.append(np.stack([hx[usable], y[usable], tile]).astype(np.float64))
    hx, y, tile = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0))
    return hx, y, tile


def _jackknife(left_out: Float64Array) -> float:
    return math.sqrt((len(left_out) - 1) * float(left_out.var()))
