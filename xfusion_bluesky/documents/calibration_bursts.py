"""A calibration computed from the bursts of a calibration scan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from scipy import ndimage

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.radiometric import (
    radiometric_calibration,
    radiometric_remarks,
)
from xfusion_bluesky.calibration.record import (
    CalibrationInput,
    CalibrationRecord,
    SpatialCalibration,
)
from xfusion_bluesky.calibration.spatial import MeshView, SpatialEvidence, calibrate_spatial
from xfusion_bluesky.calibration.time_fit import TimeFit
from xfusion_bluesky.calibration.time_offset import TraceBurst, offset_from_traces
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.documents.references import ReferenceFrames, counts
from xfusion_bluesky.fusion.arrays import Float32Array, Float64Array
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.pixelmap import PixelMap

__all__ = ["CalibrationEvidence", "calibrate_from_bursts"]

MESH_ROTATION = "mesh_rotation"
_SKIPPED_SHIMADZU_FRAMES = 1  # its first frame differs from the others
_SOFTWARE = ("xfusion-bluesky", "numpy", "scipy", "scikit-image")
_EVERYWHERE = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class CalibrationEvidence:
    """What a record rests on, for its picture.

    Parameters
    ----------
    spatial : SpatialEvidence
        Nodes, residuals, lattice scores, images.
    temporal : TimeFit or None
        Traces, and the cost of trial offsets.
    """

    spatial: SpatialEvidence
    temporal: TimeFit | None

    def save(self, record_file: Path) -> None:
        """Write it beside the file of its record."""
        self.spatial.save(record_file.with_suffix(".spatial.npz"))
        if self.temporal is not None:
            self.temporal.save(record_file.with_suffix(".temporal.npz"))


def calibrate_from_bursts(
    dark: Sequence[Burst],
    flat: Sequence[Burst],
    mesh: Sequence[Burst],
    *,
    pitch_um: float,
    pitch_sigma_um: float,
    valid_hours: float,
) -> tuple[CalibrationRecord, CalibrationEvidence]:
    """Calibrate the pair of cameras with the bursts of one scan.

    Parameters
    ----------
    dark, flat : sequence of Burst
        Of both cameras, one or more each.
    mesh : sequence of Burst
        One a position and angle of the mesh; the angle is ``mesh_rotation`` in `positions`.
    pitch_um, pitch_sigma_um : float
        Pitch of the mesh and its uncertainty.
    valid_hours : float
        For the record.

    Raises
    ------
    CalibrationError
        The images do not support a map. Clocks or brightness that cannot be measured are left out
        of the record, with a remark.
    OSError
        A burst file is missing or damaged.
    """
    for what, bursts in (("dark", dark), ("flat", flat), ("mesh", mesh)):
        if not bursts:
            raise CalibrationError(
                f"A calibration needs a burst of the {what}, and there is none: take the scan "
                "again. The bursts that there are are safe."
            )
    lr_references = _references(dark, flat, "shimadzu")
    hr_references = _references(dark, flat, "phantom")
    # A hole whose rim is clipped is still centred; one whose rim is cut out depends on where the
    # pixels lie.
    lr_clipped, hr_clipped = (
        replace(each, saturation_counts=math.inf) for each in (lr_references, hr_references)
    )
    views = [
        MeshView(
            _mean(each.shimadzu, lr_clipped, _SKIPPED_SHIMADZU_FRAMES),
            _mean(each.phantom, hr_clipped),
            rotation_deg=each.positions.get(MESH_ROTATION, 0.0),
            label=f"burst {each.seq_num}",
        )
        for each in mesh
    ]
    spatial, spatial_evidence = calibrate_spatial(
        views,
        lr_flat=lr_references.level,
        hr_flat=hr_references.level,
        pitch_um=pitch_um,
        pitch_sigma_um=pitch_sigma_um,
    )
    pixel_map = spatial.pixel_map()
    lr_field, hr_field = _fields(pixel_map, spatial.hr_shape)
    remarks = []
    time_fit = radiometric = None
    try:
        time_fit = offset_from_traces(
            [
                TraceBurst(
                    lr_time_ns=np.array(each.shimadzu.time_ns),
                    lr_trace=_trace(each.shimadzu, lr_references, lr_field),
                    hr_time_ns=np.array(each.phantom.time_ns),
                    hr_trace=_trace(each.phantom, hr_references, hr_field),
                    lr_exposure_ns=each.shimadzu.exposure_ns,
                    hr_exposure_ns=each.phantom.exposure_ns,
                )
                for each in (*flat, *mesh)
            ]
        )
    except CalibrationError as error:
        remarks.append(f"The clocks were not compared. {error}")
    try:
        pairs = [_pair(view, spatial, pixel_map) for view in views]
        radiometric = radiometric_calibration(lr_references, hr_references, pairs=pairs)
        remarks += radiometric_remarks(lr_references, radiometric)
    except CalibrationError as error:
        remarks.append(f"The brightness was not calibrated. {error}")
    record = CalibrationRecord(
        made_utc=datetime.now(UTC),
        valid_hours=valid_hours,
        spatial=spatial,
        temporal=None if time_fit is None else time_fit.calibration,
        radiometric=radiometric,
        inputs=(_input("dark", dark), _input("flat", flat), _input("mesh", mesh)),
        remarks=tuple(remarks),
        software={name: version(name) for name in _SOFTWARE},
    )
    return record, CalibrationEvidence(spatial_evidence, time_fit)


def _pair(
    view: MeshView, spatial: SpatialCalibration, pixel_map: PixelMap
) -> tuple[Float32Array, Float32Array]:
    """Return a view by both cameras on the LR grid."""
    hr = pixel_map.warp(view.hr)
    if spatial.point_spread is not None:
        # Without the blur of the LR camera its smaller contrast would pass for a smaller gain.
        hr = ndimage.gaussian_filter(hr, spatial.point_spread.sigma_px)
    return block_mean(hr), pixel_map.crop_lr(view.lr)


def _references(
    dark: Sequence[Burst], flat: Sequence[Burst], camera: Literal["phantom", "shimadzu"]
) -> ReferenceFrames:
    fast = camera == "shimadzu"
    return ReferenceFrames.of(
        [getattr(each, camera) for each in dark],
        [getattr(each, camera) for each in flat],
        skip=_SKIPPED_SHIMADZU_FRAMES if fast else 0,
        cells=fast,
    )


def _transmissions(
    burst: CameraBurst, references: ReferenceFrames, part: tuple[slice, slice]
) -> Iterator[tuple[int, Float32Array]]:
    """Yield number and transmission of the valid frames."""
    with h5py.File(burst.file, "r", locking=False) as file:
        frames = file[burst.dataset]
        for k in np.flatnonzero(burst.valid).tolist():
            yield k, references.transmission(counts(frames[k], burst.bit_shift), k)[part]


def _mean(burst: CameraBurst, references: ReferenceFrames, skip: int = 0) -> Float32Array:
    """Return the mean transmission of a burst, NaN where no frame has a value."""
    total = np.zeros(references.shape, dtype=np.float64)
    number = np.zeros(references.shape, dtype=np.int64)
    for k, frame in _transmissions(burst, references, _EVERYWHERE):
        if k >= skip:
            seen = np.isfinite(frame)
            total += np.where(seen, frame, 0)
            number += seen
    mean: Float32Array = np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(
        np.float32
    )
    return mean


def _trace(
    burst: CameraBurst, references: ReferenceFrames, part: tuple[slice, slice]
) -> Float64Array:
    """Return the mean transmission of each frame over a part, NaN where it is not valid."""
    trace = np.full(burst.shape[0], np.nan)
    for k, frame in _transmissions(burst, references, part):
        trace[k] = float(np.nanmean(frame))
    return trace


def _fields(
    pixel_map: PixelMap, hr_shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the field that both cameras see, in the frames of each."""
    lr_field = tuple(
        slice(begin, begin + side)
        for begin, side in zip(pixel_map.lr_origin, pixel_map.lr_shape, strict=True)
    )
    height, width = pixel_map.shape
    corners = [(r, c) for r in (0, height - 1) for c in (0, width - 1)]
    seen = pixel_map.hr_position(corners)
    low = np.clip(np.floor(seen.min(axis=0)).astype(int), 0, None)
    high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + 1, hr_shape)
    hr_field = (slice(low[0], high[0]), slice(low[1], high[1]))
    return (lr_field[0], lr_field[1]), hr_field


def _input(role: Literal["dark", "flat", "mesh"], bursts: Sequence[Burst]) -> CalibrationInput:
    files = tuple(camera.sha256 for each in bursts for camera in (each.shimadzu, each.phantom))
    return CalibrationInput(role=role, uid=bursts[0].raw_uid, sha256=files)
