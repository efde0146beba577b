"""Nodes of the mesh that both cameras saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg, spatial

from xfusion_bluesky.calibration.lattice import Lattice
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["NodePairs", "pair_nodes"]

_WITHIN_CELLS = 0.3
_ROUNDS = 3
_FEWEST_PAIRS = 8


@dataclass(frozen=True, eq=False)
class NodePairs:
    """Nodes of the mesh that both cameras saw.

    Parameters
    ----------
    lr_px, hr_px : (n, 2) float64
        (row, column) in the frames.
    sigma_px : (n,) float64
        Standard error of ``hr - map(lr)`` along one axis, of both nodes together, HR px.
    view : (n,) int
        In which view.
    pitch_px : float
        HR pixels between nodes; errors of nodes of a view closer than two cells are correlated.
    """

    lr_px: Float64Array
    hr_px: Float64Array
    sigma_px: Float64Array
    view: npt.NDArray[np.int64]
    pitch_px: float

    def __len__(self) -> int:
        return len(self.lr_px)

    def only(self, chosen: BoolArray) -> NodePairs:
        """Pairs for which `chosen` is True."""
        return NodePairs(
            self.lr_px[chosen],
            self.hr_px[chosen],
            self.sigma_px[chosen],
            self.view[chosen],
            self.pitch_px,
        )


def pair_nodes(views: Sequence[tuple[Lattice, Lattice]], affine: Float64Array) -> NodePairs:
    """Pair the nodes that a map brings near one another, and adapt the map to them.

    Parameters
    ----------
    views : sequence of (Lattice, Lattice)
        LR and HR lattice of each view.
    affine : (2, 3) float64
        LR (row, column) to HR (row, column), right to within 0.3 cells in the middle.
    """
    trees = [spatial.cKDTree(hr.position_px) for _, hr in views]
    pitch = float(np.mean([hr.pitch_px for _, hr in views]))
    for _ in range(_ROUNDS):
        scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
        lr_px, hr_px, sigma, number = [], [], [], []
        for k, ((lr, hr), tree) in enumerate(zip(views, trees, strict=True)):
            mapped = lr.position_px @ affine[:, :2].T + affine[:, 2]
            distance, nearest = tree.query(mapped)
            near = distance < _WITHIN_CELLS * pitch
            lr_px.append(lr.position_px[near])
            hr_px.append(hr.position_px[nearest[near]])
            sigma.append(np.hypot(scale * lr.sigma_px[near], hr.sigma_px[nearest[near]]))
            number.append(np.full(near.sum(), k, dtype=np.int64))
        pairs = NodePairs(
            lr_px=np.concatenate(lr_px),
            hr_px=np.concatenate(hr_px),
            sigma_px=np.concatenate(sigma),
            view=np.concatenate(number),
            pitch_px=pitch,
        )
        if len(pairs) < _FEWEST_PAIRS:
            break
        design = np.column_stack([pairs.lr_px, np.ones(len(pairs))])
        affine = linalg.lstsq(design, pairs.hr_px)[0].T
    return pairs
