"""Views of the simulated mesh through the optics of two cameras, with the true map between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xfusion_simulators.mesh import Mesh
from xfusion_simulators.optics import CameraOptics, best_affine, true_lr_to_hr
from xfusion_simulators.scintillator import scintillator_light
from xfusion_simulators.slits import SlitOpening

from xfusion_bluesky.calibration.spatial import MeshView

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Shape = tuple[int, int]

LR_SCALE = 4
PATTERN = 0.005
"""Rms of the gains of pixels that averaging does not take off a flat."""


@dataclass(frozen=True, eq=False)
class TwoCameras:
    """A pair of cameras before one scintillator; noise is white, as a share of the open beam."""

    lr: CameraOptics
    hr: CameraOptics
    lr_shape: Shape
    hr_shape: Shape
    scene_shape: Shape
    pixel_um: float
    noise: float
    mesh: Mesh
    dust: Float32Array
    rng: np.random.Generator

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        lr_shape: Shape = (30, 100),
        hr_shape: Shape = (160, 448),
        pixel_um: float = 2.5,
        noise: float = 0.02,
        specks: int = 40,
        mirrored: bool | None = None,
        radial_per_px2: float = 0.0,
        lr_psf_px: float = 1.0,
        mesh: Mesh | None = None,
    ) -> TwoCameras:
        """Turn by up to 5 degrees, 1 % anisotropy, shear, 3 % scale, mirrors, and a shift."""
        rng = np.random.default_rng([seed, 400])
        covered = np.maximum(hr_shape, LR_SCALE * np.array(lr_shape))
        rows, columns = (covered * 1.06 + 0.1 * covered[::-1] + 24).astype(int).tolist()
        scene_shape = (rows, columns)

        def optics(
            shape: Shape, side: int, psf_px: float, radial: float, flip: bool
        ) -> CameraOptics:
            return CameraOptics.of(
                shape,
                scene_shape,
                pixel_side=side,
                rotation_deg=rng.uniform(-2.5, 2.5),
                scale=rng.uniform(0.98, 1.02),
                anisotropy=rng.uniform(-0.01, 0.01),
                shear=rng.uniform(-0.005, 0.005),
                shift_px=(rng.uniform(-12, 12), rng.uniform(-12, 12)),
                mirrored=flip,
                radial_per_px2=radial,
                psf_sigma_px=psf_px,
            )

        flip = bool(rng.random() < 0.5) if mirrored is None else mirrored
        return cls(
            lr=optics(lr_shape, LR_SCALE, lr_psf_px, 0.0, False),
            hr=optics(hr_shape, 1, 0.6, radial_per_px2, flip),
            lr_shape=lr_shape,
            hr_shape=hr_shape,
            scene_shape=scene_shape,
            pixel_um=pixel_um,
            noise=noise,
            mesh=Mesh(seed=seed) if mesh is None else mesh,
            dust=scintillator_light(scene_shape, specks, 3 if specks else 0, seed),
            rng=rng,
        )

    def view(
        self, rotation_deg: float = 10.0, position_um: tuple[float, float] | None = None
    ) -> MeshView:
        """Take the mesh at an angle and, by default, a random position."""
        if position_um is None:
            position_um = (self.rng.uniform(-31, 31), self.rng.uniform(-31, 31))
        light = self.mesh.light(self.scene_shape, self.pixel_um, position_um, rotation_deg)
        return MeshView(*self.images(light), rotation_deg=rotation_deg)

    def slits(self, rows_um: float, columns_um: float) -> MeshView:
        """Close the slits to a rectangle, not quite in the middle."""
        opening = SlitOpening(rows_um, columns_um, 11.0, -17.0)
        return MeshView(*self.images(opening.light(self.scene_shape, self.pixel_um)))

    def images(self, light: Float32Array) -> tuple[Float32Array, Float32Array]:
        """LR and HR image of light on the scintillator, with noise."""
        lr, hr = (
            optics.image(light, shape) + self.noise * self.rng.standard_normal(shape)
            for optics, shape in ((self.lr, self.lr_shape), (self.hr, self.hr_shape))
        )
        return lr.astype(np.float32), hr.astype(np.float32)

    def flats(self) -> tuple[Float32Array, Float32Array]:
        """Counts of the open beam above the dark: dust under a vignetted profile."""
        rows, columns = (np.linspace(-1, 1, side) for side in self.scene_shape)
        profile = np.exp(-0.5 * (rows[:, None] ** 2 + columns[None, :] ** 2))
        light = (self.dust * profile).astype(np.float32)
        lr, hr = (
            1000 * optics.image(light, shape) * (1 + PATTERN * self.rng.standard_normal(shape))
            for optics, shape in ((self.lr, self.lr_shape), (self.hr, self.hr_shape))
        )
        return lr.astype(np.float32), hr.astype(np.float32)

    def true_hr(self, lr_px: npt.ArrayLike) -> Float64Array:
        """Where LR positions are in the HR camera, exactly."""
        return true_lr_to_hr(self.lr, self.hr)(lr_px)

    @property
    def true_affine(self) -> Float64Array:
        """Best affine map, (2, 3)."""
        return best_affine(true_lr_to_hr(self.lr, self.hr), self.lr_shape)

    def common_field(self) -> Float64Array:
        """LR positions, (n, 2), that both cameras see."""
        rows, columns = (np.linspace(0, side - 1, 24) for side in self.lr_shape)
        points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        mapped = self.true_hr(points)
        inside = ((mapped >= 0) & (mapped <= np.array(self.hr_shape) - 1)).all(axis=1)
        return points[inside]
