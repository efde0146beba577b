"""Light on the scintillator: beam, slits, mesh, sample and dust, on the grid of the scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil
from threading import Lock

import numpy as np
import numpy.typing as npt

from .mesh import Mesh
from .optics import CameraOptics, Shape, pixel_grid
from .scene import Beam, ReplayScene, beam_profile
from .scintillator import scintillator_light

Float32Array = npt.NDArray[np.float32]

SPARE_PX = 4


class Field:
    """The scene with a margin, so that cameras may look beyond its recorded edges.

    There the sample goes on as at the edge; beam, mesh, slits and dust are what they are.

    Parameters
    ----------
    scene : ReplayScene
    margin_px : (int, int)
        Rows and columns on every side.
    pixel_um : float
        Side of a scene pixel.
    mesh : Mesh, optional
        What the mesh stage carries.
    specks, scratches, seed : int
        What lies on the scintillator, see `scintillator_light`.
    """

    def __init__(
        self,
        scene: ReplayScene,
        *,
        margin_px: Shape = (0, 0),
        pixel_um: float = 2.5,
        mesh: Mesh | None = None,
        specks: int = 0,
        scratches: int = 0,
        seed: int = 0,
    ) -> None:
        self.scene = scene
        self.margin_px = margin_px
        self.pixel_um = pixel_um
        self.mesh = mesh or Mesh()
        self.shape: Shape = (
            scene.shape[0] + 2 * margin_px[0],
            scene.shape[1] + 2 * margin_px[1],
        )
        light = beam_profile(scene.shape, margin_px)
        if specks or scratches:
            light *= scintillator_light(self.shape, specks, scratches, seed)
        self.bare = light
        """Light without sample, mesh and slits."""
        self._still = (Beam(), light)
        # Both cameras expose at once; what the first one computes serves the other.
        self._lock = Lock()

    def light(self, index: int, beam: Beam) -> Float32Array:
        """Light of one frame of the scene, `shape`, float32; 1 = centre of the bare beam.

        Parameters
        ----------
        index : int
            Frame of the scene.
        beam : Beam
            What stands in the beam.
        """
        if not beam.shutter_open:
            return np.zeros(self.shape, np.float32)
        still = self._without_sample(beam)
        if not beam.sample_in:
            return still
        rows, columns = self.margin_px
        sample = self.scene.transmission(index)
        if rows or columns:
            sample = np.pad(sample, ((rows, rows), (columns, columns)), mode="edge")
        return still * sample

    def _without_sample(self, beam: Beam) -> Float32Array:
        with self._lock:
            known, light = self._still
            if (known.mesh, known.slits) != (beam.mesh, beam.slits):
                light = self.bare
                if beam.slits is not None:
                    light = light * beam.slits.light(self.shape, self.pixel_um)
                if beam.mesh is not None:
                    pose = beam.mesh
                    light = light * self.mesh.light(
                        self.shape, self.pixel_um, (pose.row_um, pose.column_um), pose.rotation_deg
                    )
                self._still = (beam, light)
            return light


class CameraView:
    """What one camera sees of a field.

    Parameters
    ----------
    field : Field
    optics : CameraOptics
        On the grid of the scene, without the field's margin.
    shape : (int, int)
        Rows and columns of the sensor.
    """

    def __init__(self, field: Field, optics: CameraOptics, shape: Shape) -> None:
        self.field = field
        self.optics = optics
        self.shape = shape
        rows, columns = field.margin_px
        self._on_field = optics.moved((rows, columns))

    def image(self, index: int, beam: Beam) -> Float32Array:
        """Light on the sensor, `shape`, float32."""
        return self._on_field.image(self.field.light(index, beam), self.shape)

    def images(self, scene_index: npt.NDArray[np.int64], beam: Beam) -> Iterator[Float32Array]:
        """Light of one frame after the other; the same array while the scene stands still."""
        image, shown = None, -1
        moves = beam.sample_in and beam.shutter_open
        for index in scene_index.tolist() if moves else [0] * len(scene_index):
            if image is None or index != shown:
                image, shown = self.image(index, beam), index
            yield image


def margin_for(scene_shape: Shape, views: Iterable[tuple[CameraOptics, Shape]]) -> Shape:
    """Rows and columns that a field needs around the scene, so that cameras do not see its end.

    Parameters
    ----------
    scene_shape : (int, int)
    views : iterable of (CameraOptics, (rows, columns) of the sensor)
    """
    margin = [0, 0]
    for optics, shape in views:
        # The outline of the sensor, half a pixel beyond the outer pixels' centres.
        outline = pixel_grid((shape[0] + 1, shape[1] + 1), max(*shape, 1) / 8) - 0.5
        seen = optics.scene_position(outline)
        for axis in (0, 1):
            beyond = max(-0.5 - seen[:, axis].min(), seen[:, axis].max() - scene_shape[axis] + 0.5)
            if beyond > 0:
                margin[axis] = max(margin[axis], ceil(beyond + 4 * optics.psf_sigma_px) + SPARE_PX)
    return margin[0], margin[1]
