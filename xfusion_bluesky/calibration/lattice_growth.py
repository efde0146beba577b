"""Follow a mesh from the middle of an image to its borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from xfusion_bluesky.calibration.lattice_nodes import NodeFits, fit_nodes
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["FEWEST_NODES", "GrownLattice", "SmoothLattice", "frequency", "grow_lattice"]

FEWEST_NODES = 12
_LEAST_COVERAGE = 0.55
_LARGEST_ERROR_CELLS = 0.12
_LARGEST_DEVIATION_CELLS = 0.12
_ROUNDS = ((0.35, 1), (0.7, 1), (1.0, 3), (1.0, 3))
"""How far from the middle to look, as a share of the frame, and the degree of the model then."""

_NODES_FOR_CUBIC = 40
_TRIMMING = 3


@dataclass(frozen=True, eq=False)
class SmoothLattice:
    """Position as a polynomial of the index: a mesh seen through a lens."""

    coefficients: Float64Array
    degree: int

    @classmethod
    def linear(cls, origin: Float64Array, basis: Float64Array) -> SmoothLattice:
        """Make a straight lattice of its first node, (2,), and its basis, (2, 2), as columns."""
        return cls(np.vstack([origin, basis.T]), 1)

    @classmethod
    def of(
        cls,
        index: npt.NDArray[np.int64],
        position: Float64Array,
        weight: Float64Array,
        degree: int,
    ) -> SmoothLattice:
        """Fit positions (n, 2) over indices (n, 2), by weighted least squares."""
        scale = np.sqrt(weight)[:, None]
        design = _monomials(index, degree)
        size = np.abs(design).max(axis=0)
        solution, *_ = linalg.lstsq(design / size * scale, position * scale)
        return cls(solution / size[:, None], degree)

    def at(self, index: npt.NDArray[np.int64] | Float64Array) -> Float64Array:
        """Return the positions (n, 2) of indices (n, 2)."""
        position: Float64Array = _monomials(index, self.degree) @ self.coefficients
        return position

    def slope(self) -> Float64Array:
        """Return the basis vectors at index (0, 0), as columns."""
        basis: Float64Array = self.coefficients[1:3].T
        return basis


def _monomials(index: npt.NDArray[np.int64] | Float64Array, degree: int) -> Float64Array:
    m, n = np.asarray(index, dtype=float).T
    powers = [(i, total - i) for total in range(degree + 1) for i in range(total, -1, -1)]
    return np.stack([m**i * n**j for i, j in powers], axis=1)


@dataclass(frozen=True, eq=False)
class GrownLattice:
    """Every node that was looked for.

    Parameters
    ----------
    index : (n, 2) int
        Integer coordinates.
    fits : NodeFits
        What was found around each.
    expected : (n,) bool
        Enough usable pixels around it.
    good : (n,) bool
        A node of the mesh.
    smooth : SmoothLattice
        Model of the good ones.
    """

    index: npt.NDArray[np.int64]
    fits: NodeFits
    expected: BoolArray
    good: BoolArray
    smooth: SmoothLattice


def grow_lattice(
    modulation: Float32Array, usable: BoolArray, vectors: Float64Array
) -> GrownLattice:
    """Fit the nodes around the middle, then further out, each led by a model of those before.

    Parameters
    ----------
    modulation : (h, w) float32
        Relative modulation.
    usable : (h, w) bool
        False = ignored.
    vectors : (2, 2) float64
        The two frequencies of the mesh, cycles a pixel, one a row.
    """
    basis: Float64Array = linalg.inv(vectors)
    start = fit_nodes(modulation, usable, vectors, _bright_middle(usable)[None])
    smooth = SmoothLattice.linear(start.position_px[0], basis)
    index = _indices(usable.shape, start.position_px[0], basis)
    remote = _remoteness(smooth.at(index), usable.shape, 1 / frequency(vectors))
    for part, degree in _ROUNDS:
        near = index[remote <= part]
        fits = fit_nodes(modulation, usable, vectors, smooth.at(near))
        expected = fits.coverage >= _LEAST_COVERAGE
        good = expected & _clear(fits, expected, 1 / frequency(vectors))
        if good.sum() >= FEWEST_NODES:
            smooth, good = _agreeing(near, fits, good, degree, 1 / frequency(vectors))
        if good.sum() < FEWEST_NODES:
            break
        vectors = linalg.inv(smooth.slope())
    return GrownLattice(near, fits, expected, good, smooth)


def frequency(vectors: Float64Array) -> float:
    """Cells a pixel, of two frequencies one a row: geometric mean of both directions."""
    return float(np.sqrt(abs(np.linalg.det(vectors))))


def _bright_middle(usable: BoolArray) -> Float64Array:
    """Usable pixel nearest to the middle of all usable ones."""
    where = np.argwhere(usable)
    away = np.square(where - where.mean(axis=0)).sum(axis=1)
    middle: Float64Array = where[int(np.argmin(away))].astype(float)
    return middle


def _indices(
    shape: tuple[int, ...], origin: Float64Array, basis: Float64Array
) -> npt.NDArray[np.int64]:
    """Integer coordinates of all nodes of a straight lattice in, or just outside, the frame."""
    corners = np.array([[r, c] for r in (0, shape[0]) for c in (0, shape[1])]) - origin
    fractional = corners @ np.linalg.inv(basis).T
    low, high = np.floor(fractional.min(axis=0)), np.ceil(fractional.max(axis=0))
    axes = [np.arange(a, b + 1) for a, b in zip(low.astype(int), high.astype(int), strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    position = origin + index @ basis.T
    inside = ((position > -1) & (position < np.array(shape))).all(axis=1)
    found: npt.NDArray[np.int64] = index[inside].astype(np.int64)
    return found


def _remoteness(position: Float64Array, shape: tuple[int, ...], pitch: float) -> Float64Array:
    """0 in the middle of the frame, 1 on its border; the cells around the middle are never far."""
    away = np.abs(position - (np.array(shape) - 1) / 2)
    border = (away / (np.array(shape) / 2)).max(axis=1)
    few_cells = np.hypot(*away.T) / (4.5 * pitch) * _ROUNDS[0][0]
    remote: Float64Array = np.minimum(border, few_cells)
    return remote


def _clear(fits: NodeFits, expected: BoolArray, pitch: float) -> BoolArray:
    """Nodes whose mesh is as strong as elsewhere, and that are known well enough."""
    if not expected.any():
        return expected
    typical = np.median(fits.modulation[expected])
    clear: BoolArray = fits.modulation > 0.4 * typical
    clear &= fits.sigma_px < _LARGEST_ERROR_CELLS * pitch
    return clear


def _agreeing(
    index: npt.NDArray[np.int64], fits: NodeFits, good: BoolArray, degree: int, pitch: float
) -> tuple[SmoothLattice, BoolArray]:
    """Fit the smooth model to the nodes, leaving out those far from it."""
    degree = degree if good.sum() >= _NODES_FOR_CUBIC else 1
    kept = good
    for _ in range(_TRIMMING):
        weight = 1 / (np.square(fits.sigma_px[kept]) + (0.01 * pitch) ** 2)
        smooth = SmoothLattice.of(index[kept], fits.position_px[kept], weight, degree)
        away = np.hypot(*(fits.position_px - smooth.at(index)).T)
        typical = 1.5 * float(np.median(away[kept]))
        kept = good & (away < min(_LARGEST_DEVIATION_CELLS * pitch, max(5 * typical, 0.02 * pitch)))
        if kept.sum() < FEWEST_NODES:
            break
    return smooth, kept
