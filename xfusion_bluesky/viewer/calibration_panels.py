"""What a calibration rests on, drawn: overlays, residuals, lattice check, time fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from ..calibration.record import SpatialCalibration, TemporalCalibration
from ..fusion.arrays import Float32Array, Float64Array, fill_masked
from .panels import FAINT, PAPER, text_width_px
from .plots import BLUE, GREEN, ORANGE, RED, Axes, Page

if TYPE_CHECKING:
    from ..calibration.spatial import SpatialEvidence
    from ..calibration.time_fit import TimeFit

__all__ = ["draw_cost", "draw_lattice", "draw_overlay", "draw_residuals", "draw_trace", "overlay"]

Corners = tuple[float, float, float, float]
_SHOWN_HR_PX = 240
_TEXT = 17
_VECTOR_PX = 16.0
_MOST_VECTORS = 1500
_PALE_GREEN = (205, 232, 214)


def overlay(
    lr_image: Float32Array,
    hr_image: Float32Array,
    lr_to_hr: Float64Array,
    size_px: tuple[int, int],
    radial_per_px2: float = 0.0,
) -> Image.Image:
    """Lay the LR image over the HR image: equal is grey, HR alone orange, LR alone blue.

    Parameters
    ----------
    lr_image, hr_image : (h, w), (H, W)
        Of the same thing; NaN where masked.
    lr_to_hr : (2, 3)
        LR (row, column) to HR (row, column), px.
    size_px : (int, int)
        Width and height of the picture.
    radial_per_px2 : float
        Distortion about the middle of the HR image.
    """
    width, height = size_px
    middle = (np.array(hr_image.shape) - 1) / 2
    rows_px = min(_SHOWN_HR_PX, hr_image.shape[0])
    step = min(rows_px / height, hr_image.shape[1] / width)
    rows, columns = np.indices((height, width), dtype=np.float64)
    hr_at = np.stack([rows - (height - 1) / 2, columns - (width - 1) / 2]) * step
    reach = np.square(hr_at).sum(axis=0)
    flat = hr_at / (1 + radial_per_px2 * reach) + middle[:, None, None]
    inverse = np.linalg.inv(lr_to_hr[:, :2])
    lr_at = np.tensordot(inverse, flat - lr_to_hr[:, 2, None, None], axes=1)
    hr = _sampled(hr_image, hr_at + middle[:, None, None])
    lr = _sampled(lr_image, lr_at)
    colours = np.stack([hr, (hr + lr) / 2, lr], axis=-1)
    return Image.fromarray(np.rint(255 * colours).astype(np.uint8))


def _sampled(image: Float32Array, at: Float64Array) -> Float64Array:
    known = np.isfinite(image)
    values = fill_masked(np.asarray(image, dtype=np.float32), known)
    taken = ndimage.map_coordinates(values, at, order=1, mode="nearest").astype(np.float64)
    black, white = np.percentile(taken, (1, 99))
    scaled: Float64Array = np.clip((taken - black) / max(white - black, 1e-9), 0, 1)
    outside = ndimage.map_coordinates(
        known.astype(np.float32), at, order=0, mode="constant", cval=0.0
    )
    scaled[outside < 0.5] = 0.0
    return scaled


def draw_overlay(
    page: Page,
    corners: Corners,
    evidence: SpatialEvidence,
    lr_to_hr: Float64Array,
    radial_per_px2: float = 0.0,
) -> None:
    """Draw `overlay` of the first view."""
    left, top, right, bottom = corners
    size_px = round(right - left), round(bottom - top)
    image = overlay(evidence.lr_image, evidence.hr_image, lr_to_hr, size_px, radial_per_px2)
    page.paste(image, (left, top))


def draw_residuals(
    page: Page, corners: Corners, evidence: SpatialEvidence, spatial: SpatialCalibration
) -> None:
    """Draw how far each node of the mesh is from where the map puts it, exaggerated."""
    rows, columns = spatial.hr_shape
    axes = _fitting(page, corners, columns, rows)
    page.box(axes.corners, outline=FAINT)
    scale = (axes.corners[2] - axes.corners[0]) / columns
    gain = _round(_VECTOR_PX / scale / max(spatial.residuals.rms_px, 1e-6))
    nodes, residual = evidence.nodes_hr_px, evidence.residual_px
    every = max(1, -(-len(nodes) // _MOST_VECTORS))
    for node, away, good in zip(
        nodes[::every], residual[::every], evidence.inlier[::every], strict=True
    ):
        start = axes.x(node[1]), axes.y(node[0])
        end = axes.x(node[1] + gain * away[1]), axes.y(node[0] + gain * away[0])
        page.line([start, end], BLUE if good else RED, 1.2)
        page.dot(start, BLUE if good else RED, 1.6)
    bar_px = _round(2 * _VECTOR_PX / scale / gain)
    length = bar_px * gain * scale
    left, bottom = axes.corners[0] + 12, axes.corners[3] - 14
    width = max(length, text_width_px(f"{bar_px:g} HR px", 15))
    page.box((left - 8, bottom - 30, left + width + 8, bottom + 10), fill=PAPER, outline=FAINT)
    page.line([(left, bottom), (left + length, bottom)], BLUE, 3)
    page.text((left, bottom - 8), f"{bar_px:g} HR px", 15)


def draw_lattice(
    page: Page, corners: Corners, scores: Float32Array, spatial: SpatialCalibration
) -> None:
    """Draw the score of each lattice shift around the chosen one, and the best other one."""
    rows, columns = scores.shape
    axes = _fitting(page, corners, columns, rows)
    left, top, right, bottom = axes.corners
    finite = np.isfinite(scores)
    if not finite.any():
        page.text(((left + right) / 2, (top + bottom) / 2), "no score", _TEXT, anchor="mm")
        return
    low, high = float(scores[finite].min()), float(scores[finite].max())
    side_px = (right - left) / columns
    for row, column in np.ndindex(rows, columns):
        level = (float(scores[row, column]) - low) / max(high - low, 1e-9)
        shade = (238, 230, 245) if not finite[row, column] else _heat(level)
        corner = (left + column * side_px, top + row * side_px)
        page.box((*corner, corner[0] + side_px, corner[1] + side_px), fill=shade)
    others = np.where(finite, scores, -np.inf)
    chosen = rows // 2, columns // 2
    others[chosen] = -np.inf
    second = np.unravel_index(int(np.argmax(others)), others.shape)
    marks = [(chosen, GREEN)]
    if np.isfinite(others[second]):
        marks.append(((int(second[0]), int(second[1])), RED))
    for (row, column), colour in marks:
        corner = (left + column * side_px, top + row * side_px)
        for inset in (0, 1, 2):
            edge = (corner[0] + inset, corner[1] + inset)
            far = (corner[0] + side_px - inset, corner[1] + side_px - inset)
            page.box((*edge, *far), outline=colour)
    check = spatial.lattice
    page.text((left, bottom + 22), f"chosen {check.score:.3g}", _TEXT, fill=GREEN)
    page.text(
        (right, bottom + 22), f"second {check.second_score:.3g}", _TEXT, anchor="rs", fill=RED
    )


def draw_cost(page: Page, corners: Corners, fit: TimeFit, temporal: TemporalCalibration) -> None:
    """Draw the cost of each trial offset, the one chosen and its error."""
    offsets_us, cost = np.asarray(fit.trial_offsets_ns) / 1e3, np.asarray(fit.cost)
    chosen_us, sigma_us = temporal.offset_ns / 1e3, temporal.offset_sigma_ns / 1e3
    axes = Axes(page, corners, _range(offsets_us), _range(cost))
    axes.frame("offset, us", "share of the HR variation that stays unexplained")
    left, right = axes.x(chosen_us - sigma_us), axes.x(chosen_us + sigma_us)
    page.box((left, corners[1], right, corners[3]), fill=_PALE_GREEN)
    axes.curve(offsets_us, cost, BLUE, 2)
    middle = axes.x(chosen_us)
    page.line([(middle, corners[1]), (middle, corners[3])], GREEN, 1.5)


def draw_trace(page: Page, corners: Corners, fit: TimeFit) -> None:
    """Draw the HR trace of all bursts and what the LR trace says it should be."""
    frames = np.arange(len(fit.hr_trace))
    both = np.concatenate([np.asarray(fit.hr_trace), np.asarray(fit.fitted_trace)])
    axes = Axes(page, corners, (-1.0, float(max(len(frames), 1))), _range(both))
    axes.frame("HR frame, all bursts", "variation: HR (dots), from LR (line)")
    axes.curve(frames, fit.fitted_trace, BLUE, 1.5)
    axes.dots(frames, fit.hr_trace, ORANGE)


def _fitting(page: Page, corners: Corners, columns: int, rows: int) -> Axes:
    """Return axes with square pixels within corners; row 0 is at the top."""
    left, top, right, bottom = corners
    scale = min((right - left) / columns, (bottom - top) / rows)
    across = (right - left - scale * columns) / 2
    box = (left + across, top, right - across, top + scale * rows)
    return Axes(page, box, (-0.5, columns - 0.5), (rows - 0.5, -0.5))


def _range(values: Float64Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - margin, high + margin


def _round(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a value."""
    unit = 10.0 ** math.floor(math.log10(value))
    return max(unit * factor for factor in (1, 2, 5) if unit * factor <= value * (1 + 1e-9))


def _heat(level: float) -> tuple[int, int, int]:
    """Return white to dark blue."""
    return tuple(round(255 + level * (dark - 255)) for dark in (22, 54, 102))  # type: ignore[return-value]
