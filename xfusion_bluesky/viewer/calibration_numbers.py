"""A calibration record in numbers people compare: scale, rotation, errors, clock, brightness."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..calibration.record import (
    CalibrationRecord,
    CameraRadiometry,
    SpatialCalibration,
    TemporalCalibration,
)
from ..fusion.arrays import Float64Array

__all__ = ["Geometry", "calibration_numbers", "geometry", "one_line"]

Line = tuple[str, str]


@dataclass(frozen=True)
class Geometry:
    """A linear map from LR to HR pixels, taken apart."""

    rotation_deg: float
    """Of the matrix [[cos, -sin], [sin, cos]] on (row, column), after the mirror."""
    row_scale: float
    column_scale: float
    """HR pixels an LR pixel, along the rows and columns of the LR frame."""
    skew_deg: float
    """By how much the angle between the images of rows and columns differs from 90."""

    @property
    def anisotropy(self) -> float:
        """Row scale over column scale, less one."""
        return self.row_scale / self.column_scale - 1


def geometry(lr_to_hr: Float64Array) -> Geometry:
    """Take a map apart.

    Parameters
    ----------
    lr_to_hr : (2, 3) float64
        LR (row, column) to HR (row, column), px.
    """
    linear = np.asarray(lr_to_hr, dtype=np.float64)[:, :2]
    if np.linalg.det(linear) < 0:
        linear = linear @ np.diag([1.0, -1.0])
    left, _, right = np.linalg.svd(linear)
    rotation = left @ right
    down, across = linear.T
    row_scale, column_scale = float(np.hypot(*down)), float(np.hypot(*across))
    cosine = float(down @ across) / (row_scale * column_scale)
    return Geometry(
        math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])),
        row_scale,
        column_scale,
        math.degrees(math.asin(max(-1.0, min(1.0, cosine)))),
    )


def calibration_numbers(record: CalibrationRecord) -> dict[str, list[Line]]:
    """Return the numbers of a record as (name, value with unit), by topic.

    Parameters
    ----------
    record : CalibrationRecord
        What was not measured says so.
    """
    return {
        "where": list(_spatial(record.spatial)),
        "when": list(_temporal(record.temporal)),
        "how bright": list(_radiometric(record)),
    }


def one_line(record: CalibrationRecord) -> str:
    """Return how well a calibration knows where and when, for a log or a summary.

    Parameters
    ----------
    record : CalibrationRecord
        What was found.
    """
    found = record.spatial.residuals
    where = f"{found.nodes} nodes of the mesh within {found.rms_px:.2f} HR px rms"
    if record.temporal is None:
        return f"{where}, clocks not compared"
    time = record.temporal
    return f"{where}, clocks {time.offset_ns:+.0f} +- {time.offset_sigma_ns:.0f} ns"


def _spatial(spatial: SpatialCalibration) -> Iterator[Line]:
    found, lattice, residuals = geometry(spatial.affine), spatial.lattice, spatial.residuals
    mirror = ", mirrored" if spatial.mirrored else ""
    yield "map", f"{spatial.model}{mirror}"
    yield "scale, rows", f"{found.row_scale:.4f} HR px an LR px"
    yield "scale, columns", f"{found.column_scale:.4f} HR px an LR px"
    yield "anisotropy, skew", f"{100 * found.anisotropy:+.2f} %, {found.skew_deg:+.3f} deg"
    yield "rotation", f"{found.rotation_deg:+.3f} deg"
    if spatial.radial_per_px2:
        yield "distortion", f"{spatial.radial_per_px2:+.3g} per px2"
    yield "error, rms", f"{residuals.rms_px:.3f} HR px (most {residuals.max_px:.2f})"
    yield (
        "nodes",
        f"{residuals.nodes}, {residuals.outliers} left out, {residuals.views} view(s)",
    )
    yield "lattice", f"by {lattice.method}, {lattice.margin:.1f} x the least margin"
    yield "pixels", f"LR {spatial.lr_pixel_um:.3f} um, HR {spatial.hr_pixel_um:.3f} um"
    yield "pitch", f"{spatial.pitch_um:g} +- {spatial.pitch_sigma_um:g} um"
    spread = spatial.point_spread
    yield (
        "LR blur",
        "not measured" if spread is None else f"{spread.sigma_px:.2f} +- {spread.error_px:.2f} px",
    )
    (lr_rows, lr_columns), (hr_rows, hr_columns) = spatial.lr_shape, spatial.hr_shape
    yield "frames", f"LR {lr_columns} x {lr_rows}, HR {hr_columns} x {hr_rows}"


def _temporal(temporal: TemporalCalibration | None) -> Iterator[Line]:
    if temporal is None:
        yield "clock", "not measured"
        return
    yield "offset", f"{temporal.offset_ns:+.1f} +- {temporal.offset_sigma_ns:.1f} ns"
    yield "drift", f"{temporal.drift_ppm:+.2f} +- {temporal.drift_sigma_ppm:.2f} ppm"
    yield "method", f"{temporal.method}, {temporal.samples} HR frames"
    yield "second best", f"{temporal.ambiguity:.2f} x the cost (1.2 and more is safe)"


def _radiometric(record: CalibrationRecord) -> Iterator[Line]:
    radiometric = record.radiometric
    if radiometric is None:
        yield "brightness", "not measured"
        return
    yield "gain LR / HR", f"{radiometric.gain:.4f} +- {radiometric.gain_sigma:.4f}"
    yield "offset", f"{radiometric.offset:+.4f} +- {radiometric.offset_sigma:.4f}"
    noise = f"{radiometric.noise_alpha:.3g} y + {radiometric.noise_beta:.3g}"
    yield "LR noise", f"variance {noise}"
    for name, camera in (("LR", radiometric.lr), ("HR", radiometric.hr)):
        yield from _camera(name, camera)


def _camera(name: str, camera: CameraRadiometry) -> Iterator[Line]:
    yield f"{name} dark, flat", f"{camera.dark_counts:.0f}, {camera.flat_counts:.0f} counts"
    yield (
        f"{name} gain, noise",
        f"{camera.counts_per_photon:.3g} counts/photon, {camera.read_noise_counts:.2g} counts",
    )
    cells = f", cells {100 * camera.cell_pattern:.2g} %" if camera.cell_pattern else ""
    yield f"{name} flicker", f"{100 * camera.flicker:.2g} %{cells}, bad pixels {camera.bad_pixels}"
