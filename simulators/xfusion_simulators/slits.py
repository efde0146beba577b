"""Beam-defining slits: a rectangle of light with soft edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Float32Array = npt.NDArray[np.float32]

EDGE_UM = 2.0


@dataclass(frozen=True)
class SlitOpening:
    """Opening of the slits on the scintillator, um; centres count from the middle of the scene."""

    rows_um: float
    columns_um: float
    row_um: float = 0.0
    column_um: float = 0.0

    def light(self, shape: tuple[int, int], pixel_um: float) -> Float32Array:
        """Share of the beam that passes, 0 .. 1, (rows, columns) float32."""
        row, column = (
            _passing(n, pixel_um, centre, size)
            for n, centre, size in (
                (shape[0], self.row_um, self.rows_um),
                (shape[1], self.column_um, self.columns_um),
            )
        )
        return row[:, None] * column[None, :]


def _passing(n: int, pixel_um: float, centre_um: float, size_um: float) -> Float32Array:
    position = (np.arange(n) - (n - 1) / 2) * pixel_um - centre_um
    edges = [special.ndtr((size_um / 2 + sign * position) / EDGE_UM) for sign in (1, -1)]
    # Both edges of closed slits would let half of the beam through between them.
    passing: Float32Array = np.maximum(edges[0] + edges[1] - 1, 0).astype(np.float32)
    return passing
