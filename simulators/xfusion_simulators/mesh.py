"""The calibration mesh: square holes between copper bars, as the scintillator sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, pi, radians, sin, sqrt

import numpy as np
import numpy.typing as npt
from scipy import fft, special

from .fresnel import COPPER, KEV_UM, Material, intensity
from .optics import block_mean

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Shape = tuple[int, int]

CELLS = 256
"""The defects of the mesh repeat after so many cells, far beyond any field of view."""
THIN_BAR = 1.1
"""What is left of the bars of a broken cell on its side, in units of the edges' blur."""


@dataclass(frozen=True)
class MeshPose:
    """Where the mesh stands, seen from the middle of the scene."""

    row_um: float = 0.0
    column_um: float = 0.0
    rotation_deg: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """An electroformed mesh; by default G400 with the pitch of 62 um.

    Its origin is the middle of a hole; (row, column) in um on the mesh and on the scintillator.
    """

    pitch_um: float = 62.0
    hole_um: float = 37.0
    thickness_um: float = 20.0
    corner_um: float = 5.0
    """Radius of the holes' corners."""
    edge_um: float = 3.0
    """Standard deviation of the slope of the bars' sides."""
    broken_share: float = 0.01
    """Of the cells: those whose half of the bars is gone."""
    filled_share: float = 0.005
    """Of the cells: those without a hole."""
    irregularity: float = 0.0
    """Standard deviation of the holes' sides, as a share."""
    seed: int = 0
    """Which cells are broken or filled."""
    material: Material = COPPER
    distance_m: float = 0.4
    """From the mesh to the scintillator."""
    bandwidth: float = 0.07
    """Of the beam, full width at half maximum."""

    def light(
        self,
        shape: Shape,
        pixel_um: float,
        position_um: tuple[float, float] = (0.0, 0.0),
        rotation_deg: float = 0.0,
        supersample: int = 2,
    ) -> Float32Array:
        """Light behind the mesh on the grid of the scene, 1 = beam without mesh.

        The images last made are kept, read-only.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.
        pixel_um : float
            Side of a pixel.
        position_um : (float, float)
            Where the mesh's origin stands, (row, column) from the middle of the grid. The mesh
            turns about its origin.
        rotation_deg : float
            Angle of ``[[cos, -sin], [sin, cos]]``, from the mesh to the grid.
        supersample : int
            Samples along a pixel's side, at least; more are taken where the waves need them.

        Returns
        -------
        (rows, columns) float32
        """
        return _light(self, shape, pixel_um, position_um, rotation_deg, supersample)

    def thickness(self, row_um: npt.ArrayLike, column_um: npt.ArrayLike) -> Float32Array:
        """Projected thickness of copper at positions on the mesh, um; (...) float32."""
        row, column = np.asarray(row_um, np.float32), np.asarray(column_um, np.float32)
        pitch = np.float32(self.pitch_um)
        cell = [np.rint(each / pitch) for each in (row, column)]
        half = self._half_holes()[
            cell[0].astype(np.int32) % CELLS, cell[1].astype(np.int32) % CELLS
        ]
        # Signed distance to a square with round corners: negative inside the hole.
        corner = np.minimum(np.float32(self.corner_um), np.maximum(half, 0))
        beyond = [
            np.abs(each - pitch * middle) - half + corner
            for each, middle in zip((row, column), cell, strict=True)
        ]
        distance = np.hypot(np.maximum(beyond[0], 0), np.maximum(beyond[1], 0)) - corner
        distance += np.minimum(np.maximum(beyond[0], beyond[1]), 0)
        distance /= np.float32(self.edge_um)
        copper: Float32Array = np.float32(self.thickness_um) * special.ndtr(distance)
        return copper

    def sample_limit_um(self) -> float:
        """Largest sample at which the phase behind the edges changes by less than pi / 2."""
        steepest = self.thickness_um * self.material.phase_per_um() / (self.edge_um * sqrt(2 * pi))
        return pi / 2 / steepest

    def _half_holes(self) -> Float32Array:
        rng = np.random.default_rng([self.seed, 400])
        half = self.hole_um / 2 * (1 + self.irregularity * rng.standard_normal((CELLS, CELLS)))
        chance = rng.random((CELLS, CELLS))
        half[chance < self.broken_share] = self.pitch_um / 2 - THIN_BAR * self.edge_um
        half[chance > 1 - self.filled_share] = -self.pitch_um
        return half.astype(np.float32)


G400_62_UM = Mesh()
G400_63_5_UM = Mesh(pitch_um=63.5, hole_um=38.5)


@lru_cache(maxsize=2)
def _light(
    mesh: Mesh,
    shape: Shape,
    pixel_um: float,
    position_um: tuple[float, float],
    rotation_deg: float,
    supersample: int,
) -> Float32Array:
    fine = max(supersample, ceil(pixel_um / mesh.sample_limit_um()))
    sample_um = pixel_um / fine
    wavelength_um = KEV_UM / mesh.material.energy_kev
    # The grid is joined at its edges; keep twice the farthest flight away from them.
    margin = ceil(wavelength_um * mesh.distance_m * 1e6 / sample_um**2) + 4
    sides = [fft.next_fast_len(fine * n + 2 * margin) for n in shape]
    axes = [
        ((np.arange(side) - margin + 0.5) / fine - n / 2) * pixel_um - at_um
        for side, n, at_um in zip(sides, shape, position_um, strict=True)
    ]
    turn = radians(rotation_deg)
    row = (cos(turn) * axes[0])[:, None] + (sin(turn) * axes[1])[None, :]
    column = (-sin(turn) * axes[0])[:, None] + (cos(turn) * axes[1])[None, :]
    seen = intensity(
        mesh.thickness(row, column), sample_um, mesh.material, mesh.distance_m, mesh.bandwidth
    )
    rows, columns = (slice(margin, margin + fine * n) for n in shape)
    light = block_mean(seen[rows, columns], fine)
    light.setflags(write=False)
    return light
