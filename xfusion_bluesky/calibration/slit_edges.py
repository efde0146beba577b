"""The four edges of the slits' image, each a straight line fitted with an error function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, special

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["Edges", "find_edges"]

_SMALLEST_SIDE_PX = 8
_MIDDLE = 0.7
"""Part of an edge that is used: its ends are rounded by the corners."""

_LEAST_STEP = 0.3
"""Of the brightness inside, over an edge; a mesh alone changes less."""

_POINTS = 5


@dataclass(frozen=True, eq=False)
class Edges:
    """Four straight edges around a lit rectangle: top, bottom, left, right of the image.

    Parameters
    ----------
    normal : (4, 2) float64
        Unit vectors across the edges, (row, column).
    distance_px : (4,) float64
        Points p of an edge fulfil ``normal . p = distance``.
    points_px : (4, 5, 2) float64
        Points on the used part of each edge.
    """

    normal: Float64Array
    distance_px: Float64Array
    points_px: Float64Array


def find_edges(image: Float32Array, name: str) -> Edges:
    """Find the edges of the slits, turned by up to 15 degrees against the frame.

    Parameters
    ----------
    image : (h, w) float32
        View with the slits closed to a rectangle inside the frame; NaN = masked.
    name : str
        What the image is, for messages.

    Raises
    ------
    CalibrationError
        No lit rectangle with four edges is in view.
    """
    usable = np.isfinite(image)
    if usable.mean() < 0.5:
        raise CalibrationError(_message(name, "more than half of it is masked"))
    filled = np.where(usable, image, np.median(image[usable])).astype(np.float32)
    smooth = ndimage.median_filter(filled, 3)
    dark, bright = (float(np.percentile(smooth, q)) for q in (1, 99))
    lit = ndimage.binary_opening(smooth > (dark + bright) / 2, iterations=2)
    label, count = ndimage.label(lit)
    if count == 0 or bright - dark < _LEAST_STEP * abs(bright):
        raise CalibrationError(_message(name, "no part of it is clearly brighter than the rest"))
    region = label == int(np.argmax(np.bincount(label.ravel())[1:])) + 1
    lines = []
    for axis in (0, 1):
        # Rows are across the edges from here on.
        values, valid, inside = filled, usable, region
        if axis == 1:
            values, valid, inside = values.T, valid.T, inside.T
        across, along = (np.flatnonzero(inside.any(axis=1 - k)) for k in (0, 1))
        ends = across[0], across[-1]
        if ends[0] < 2 or ends[1] > len(values) - 3 or np.ptp(across) < _SMALLEST_SIDE_PX:
            raise CalibrationError(_message(name, "its lit part does not end inside the frame"))
        trimmed = round((1 - _MIDDLE) / 2 * len(along))
        columns = along[trimmed : len(along) - trimmed]
        for rising in (True, False):
            coarse = inside if rising else inside[::-1]
            rows = np.argmax(coarse[:, columns], axis=0)
            rows = rows - 0.5 if rising else len(inside) - 1 - rows + 0.5
            offset, slope = _edge(values, valid, columns, rows, rising, int(np.ptp(across)), name)
            lines.append(_line(offset, slope, columns, axis))
    normal, distance, points = zip(*lines, strict=True)
    return Edges(np.array(normal), np.array(distance), np.array(points))


def _edge(
    values: Float32Array,
    valid: BoolArray,
    columns: npt.NDArray[np.int64],
    rows: Float64Array,
    rising: bool,
    length: int,
    name: str,
) -> tuple[float, float]:
    """Fit ``row = offset + slope (column - middle)`` to an edge between dark and light."""
    middle = float(columns.mean())
    slope, offset = np.polyfit(columns - middle, rows, 1)
    reach = max(4, min(12, length // 4))
    near = np.clip(np.round(offset + slope * (columns - middle)).astype(int), 0, len(values) - 1)
    r = near[None, :] + np.arange(-reach, reach + 1)[:, None]
    c = np.broadcast_to(columns, r.shape)
    kept = (r >= 0) & (r < len(values))
    kept &= valid[np.clip(r, 0, len(values) - 1), c]
    r, c = r[kept], c[kept]
    seen = values[r, c].astype(float)
    low, high = np.percentile(seen, (10, 90))

    def left(p: Float64Array) -> Float64Array:
        across = (r - p[0] - p[1] * (c - middle)) / abs(p[2])
        residual: Float64Array = p[3] + p[4] * special.ndtr(across if rising else -across) - seen
        return residual

    fit = optimize.least_squares(
        left, [offset, slope, 1.0, low, high - low], loss="soft_l1", f_scale=0.1 * (high - low)
    )
    if not fit.success or abs(fit.x[0] - offset) > reach or fit.x[4] < 0.3 * (high - low):
        raise CalibrationError(_message(name, "one of its edges is no straight step"))
    return float(fit.x[0]), float(fit.x[1])


def _line(
    offset: float, slope: float, columns: npt.NDArray[np.int64], axis: int
) -> tuple[Float64Array, float, Float64Array]:
    """Give normal, distance and points of an edge in the frame's (row, column)."""
    along = np.linspace(columns[0], columns[-1], _POINTS)
    points = np.stack([offset + slope * (along - columns.mean()), along], axis=1)
    normal = np.array([1.0, -slope]) / np.hypot(1.0, slope)
    if axis == 1:
        points, normal = points[:, ::-1], normal[::-1]
    return normal, float(points[0] @ normal), points


def _message(name: str, why: str) -> str:
    return (
        f"No slit edges in {name}: {why}. Close the slits to a rectangle whose four edges are "
        "inside the fields of both cameras, turned by less than 15 degrees against them, and take "
        "the view again; nothing was changed."
    )
