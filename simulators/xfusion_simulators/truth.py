"""What a simulated burst truly shows: geometry, clocks, light, and the scene on the fused grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from .optics import CameraOptics, Shape, best_affine, pixel_grid, true_lr_to_hr
from .publishing import publish
from .scene import LR_PIXEL, ReplayScene

if TYPE_CHECKING:
    from .memory import Burst, FrameTable

Float64Array = npt.NDArray[np.float64]

GRID_STEPS = 16
"""Intervals of the table of the map, along the longer side of the LR frame."""


@dataclass(frozen=True)
class TrueGeometry:
    """Where both cameras looked when a burst was taken, and how wrong their clocks were."""

    lr: CameraOptics
    lr_shape: Shape
    hr: CameraOptics
    """Of the whole sensor."""
    hr_origin: tuple[int, int]
    """First row and column that are read."""
    hr_shape: Shape
    """Rows and columns that are read."""
    clock_offset_ns: tuple[float, float]
    """What the Shimadzu's and the Phantom's clock add to times."""
    clock_drift_ppm: tuple[float, float]
    """By how much the Shimadzu's and the Phantom's clock run fast."""

    def lr_to_hr(self, points: npt.ArrayLike) -> Float64Array:
        """Exact map from LR frames to HR frames as they are read, (..., 2) -> (..., 2)."""
        return true_lr_to_hr(self.lr, self.hr)(points) - self.hr_origin

    def write(self, group: h5py.Group) -> None:
        """Put the truth into the attributes of a group.

        ``lr_to_hr`` is the affine map that fits best, ``lr_to_hr_grid`` the exact one as rows of
        (LR row, LR column, HR row, HR column); both in pixels of the frames as they are read.
        """
        points = pixel_grid(self.lr_shape, max(self.lr_shape) / GRID_STEPS)
        group.attrs["lr_to_hr"] = best_affine(self.lr_to_hr, self.lr_shape)
        group.attrs["lr_to_hr_grid"] = np.column_stack([points, self.lr_to_hr(points)])
        group.attrs["clock_offset_ns"] = self.clock_offset_ns
        group.attrs["clock_drift_ppm"] = self.clock_drift_ppm


def write_truth(path: Path, table: FrameTable, burst: Burst) -> None:
    """Write what the frames of a burst truly show, with the scene itself where it is the truth.

    Parameters
    ----------
    path : Path
        The truth file.
    table : FrameTable
        The frames.
    burst : Burst
        Where they come from.
    """
    partial = path.with_name(f".{path.name}.partial")
    with h5py.File(partial, "w") as file:
        file["/truth/time_ns"] = table.true_time_ns
        file["/truth/scene_index"] = table.scene_index
        file["/truth/beam_gain"] = table.beam_gain
        if burst.geometry is not None:
            burst.geometry.write(file["/truth"])
        if burst.truth_scene is not None and burst.truth_scene.exists():
            # The scene of the burst, not of the beamline: after a restart they may differ.
            with ReplayScene(burst.truth_scene, white_level=burst.white_level) as scene:
                _write_frames(file, table, burst, scene)
    publish(partial, path)


def _write_frames(file: h5py.File, table: FrameTable, burst: Burst, scene: ReplayScene) -> None:
    rows, columns = burst.shape
    shape = (LR_PIXEL * rows, LR_PIXEL * columns)
    grid = CameraOptics() if burst.geometry is None else burst.geometry.lr.finer(LR_PIXEL)
    # What a camera without optics saw in a steady beam is the recording itself, to the bit.
    recorded = grid == CameraOptics(centre_px=grid.centre_px) and bool(np.all(table.beam_gain == 1))
    frames = file.create_dataset(
        "/truth/frames",
        (len(table), *shape),
        scene.dtype if recorded else np.float32,
        chunks=(1, *shape),
    )
    for k, index in enumerate(table.scene_index.tolist()):
        raw = scene.raw(index)
        if recorded:
            frames[k] = raw
        else:
            seen = grid.image(raw.astype(np.float32), shape)
            frames[k] = seen * np.float32(table.beam_gain[k])
    frames.attrs["scale"] = burst.white_level
