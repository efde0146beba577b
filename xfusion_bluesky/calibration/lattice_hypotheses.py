"""All ways in which the mesh in one camera can be the mesh in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.lattice import Lattice
from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["SYMMETRIES", "SYMMETRY_NAMES", "Evidence", "Hypotheses", "Method", "centred_map"]

Method = Literal["features", "slits", "rotation", "mesh-defects", "assumed-centre"]
Shape = tuple[int, int]

SYMMETRIES: tuple[npt.NDArray[np.int64], ...] = tuple(
    np.array(matrix)
    for matrix in (
        [[1, 0], [0, 1]],
        [[0, -1], [1, 0]],
        [[-1, 0], [0, -1]],
        [[0, 1], [-1, 0]],
        [[1, 0], [0, -1]],
        [[-1, 0], [0, 1]],
        [[0, 1], [1, 0]],
        [[0, -1], [-1, 0]],
    )
)
"""Index of the HR lattice over index of the LR lattice: what leaves a square mesh as it is."""

SYMMETRY_NAMES = (
    "upright",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored",
    "mirrored and turned by 180 degrees",
    "mirrored and turned by 90 degrees",
    "mirrored and turned by 270 degrees",
)
"""In words, of `SYMMETRIES`, as they appear in the indices of nodes."""

_LEAST_OVERLAP = 0.3
"""Of the smaller field: nobody sets up cameras that share less."""

_FARTHEST_CELLS = 12


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """Candidate maps from LR to HR pixels; exactly one is true.

    Parameters
    ----------
    symmetry : (n,) int
        Which of `SYMMETRIES`.
    shift : (n, 2) int
        Cells, in the indices of the HR lattice, from the shift that centres the cameras on one
        another.
    affine : (n, 2, 3) float64
        LR (row, column) to HR (row, column).
    """

    symmetry: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    affine: Float64Array

    @classmethod
    def of(cls, lr: Lattice, hr: Lattice, lr_shape: Shape, hr_shape: Shape) -> Hypotheses:
        """All symmetries and shifts of a pair of lattices under which the fields overlap."""
        symmetries, shifts, affines = [], [], []
        reach = np.arange(-_FARTHEST_CELLS, _FARTHEST_CELLS + 1)
        steps = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
        for number, symmetry in enumerate(SYMMETRIES):
            matrix = hr.basis_px @ symmetry @ np.linalg.inv(lr.basis_px)
            nominal = centred_map(matrix, lr_shape, hr_shape)
            off = nominal[:, :2] @ lr.origin_px + nominal[:, 2] - hr.origin_px
            first = np.round(np.linalg.solve(hr.basis_px, off)).astype(int)
            origin = hr.origin_px + (first + steps) @ hr.basis_px.T
            offset = origin - matrix @ lr.origin_px
            near = _overlap(matrix, offset, lr_shape, hr_shape) >= _LEAST_OVERLAP
            symmetries.append(np.full(near.sum(), number))
            shifts.append(steps[near])
            square = np.broadcast_to(matrix, (near.sum(), 2, 2))
            affines.append(np.concatenate([square, offset[near][:, :, None]], axis=2))
        return cls(np.concatenate(symmetries), np.concatenate(shifts), np.concatenate(affines))

    def __len__(self) -> int:
        return len(self.symmetry)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one kind of observation says about all hypotheses.

    Parameters
    ----------
    method : str
        Kind of observation.
    score : (n,) float64
        The higher the better; NaN where it says nothing.
    penalty : (n,) float64
        0 for the best; 1 for what is just clearly enough worse to be ruled out.
    """

    method: Method
    score: Float64Array
    penalty: Float64Array

    @property
    def margin(self) -> float:
        """Penalty of the second best."""
        return float(np.partition(self.penalty, 1)[1]) if len(self.penalty) > 1 else np.inf


def centred_map(matrix: Float64Array, lr_shape: Shape, hr_shape: Shape) -> Float64Array:
    """Map with a given linear part that puts the middle of one frame on that of the other.

    Parameters
    ----------
    matrix : (2, 2) float64
        HR pixels along (row, column) for each LR pixel along (row, column).
    lr_shape, hr_shape : (int, int)
        Rows and columns of the frames.

    Returns
    -------
    (2, 3) float64
    """
    lr_middle, hr_middle = ((np.array(shape) - 1) / 2 for shape in (lr_shape, hr_shape))
    return np.column_stack([matrix, hr_middle - matrix @ lr_middle])


def _overlap(
    matrix: Float64Array, offset: Float64Array, lr_shape: Shape, hr_shape: Shape
) -> Float64Array:
    """Share of the smaller field that both cameras see, for each of (n, 2) offsets."""
    axes = [(np.arange(12) + 0.5) / 12 * side - 0.5 for side in lr_shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2) @ matrix.T
    mapped = points[None] + offset[:, None]
    inside = ((mapped >= 0) & (mapped <= np.array(hr_shape) - 1)).all(axis=2).mean(axis=1)
    lr_area = abs(np.linalg.det(matrix)) * lr_shape[0] * lr_shape[1]
    share: Float64Array = inside * lr_area / min(lr_area, hr_shape[0] * hr_shape[1])
    return share
