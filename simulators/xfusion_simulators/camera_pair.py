"""Both cameras of a beamline on one field, and the truth about where they look."""

from __future__ import annotations

from dataclasses import dataclass

from .configuration import SHIPPED_SCENE, BeamlineConfig, DetectorConfig, OpticsConfig
from .detector import Detector
from .field import CameraView, Field, margin_for
from .flicker import Flicker
from .memory import CameraMemory
from .mesh import Mesh
from .optics import CameraOptics, Shape
from .phantom_camera import GAIN_COUNTS as PHANTOM_BLANK_COUNTS
from .phantom_camera import PhantomCamera, Region
from .scene import LR_PIXEL, ReplayScene
from .shimadzu_camera import GAIN_COUNTS as SHIMADZU_BLANK_COUNTS
from .shimadzu_camera import ShimadzuCamera
from .truth import TrueGeometry

PHANTOM_PATTERN, SHIMADZU_PATTERN = 1, 2
"""Added to the seed, the patterns of two cameras are not alike."""


@dataclass(frozen=True)
class CameraPair:
    """Phantom and Shimadzu as a configuration describes them, without EPICS."""

    scene: ReplayScene
    phantom: PhantomCamera
    shimadzu: ShimadzuCamera

    @classmethod
    def of(cls, config: BeamlineConfig) -> CameraPair:
        """Open the scene and the cameras' memories; close the scene when done.

        Raises
        ------
        ValueError
            The scene or a memory cannot be used.
        """
        scene = ReplayScene(
            config.scene or SHIPPED_SCENE,
            frames=config.frames,
            interval_ns=config.scene_interval_ns,
            start_ns=config.scene_start_ns,
            white_level=config.white_level,
        )
        hr_shape = config.phantom_shape or scene.shape
        lr_shape = (scene.shape[0] // LR_PIXEL, scene.shape[1] // LR_PIXEL)
        hr = _optics(config.phantom_optics, hr_shape, scene.shape, 1)
        lr = _optics(config.shimadzu_optics, lr_shape, scene.shape, LR_PIXEL)
        field = Field(
            scene,
            margin_px=margin_for(scene.shape, ((hr, hr_shape), (lr, lr_shape))),
            pixel_um=config.scene_pixel_um,
            mesh=_mesh(config),
            specks=config.scintillator.specks,
            scratches=config.scintillator.scratches,
            seed=config.seed,
        )
        flicker = Flicker(config.flicker.rms, config.flicker.correlation_ns, config.seed)
        hr_counts = config.phantom_detector.blank_counts or PHANTOM_BLANK_COUNTS
        lr_counts = config.shimadzu_detector.blank_counts or SHIMADZU_BLANK_COUNTS
        phantom = PhantomCamera(
            scene,
            CameraMemory(config.memory_folder / "phantom.h5"),
            config.phantom_clock_offset_ns,
            config.phantom_clock_drift_ppm,
            view=CameraView(field, hr, hr_shape),
            detector=_detector(
                config.phantom_detector,
                config.phantom_blank_photons,
                hr_counts,
                config.seed + PHANTOM_PATTERN,
            ),
            flicker=flicker,
            blank_counts=hr_counts,
            seed=config.seed,
        )
        shimadzu = ShimadzuCamera(
            scene,
            CameraMemory(config.memory_folder / "shimadzu.h5"),
            config.blank_photons,
            config.seed,
            config.shimadzu_clock_offset_ns,
            config.shimadzu_clock_drift_ppm,
            view=CameraView(field, lr, lr_shape),
            detector=_detector(
                config.shimadzu_detector,
                config.blank_photons,
                lr_counts,
                config.seed + SHIMADZU_PATTERN,
            ),
            flicker=flicker,
            blank_counts=lr_counts,
        )
        return cls(scene, phantom, shimadzu)

    def geometry(self, region: Region) -> TrueGeometry:
        """Say where both cameras look while the Phantom reads a region of its sensor."""
        clocks = self.shimadzu.clock, self.phantom.clock
        return TrueGeometry(
            lr=self.shimadzu.view.optics,
            lr_shape=self.shimadzu.shape,
            hr=self.phantom.view.optics,
            hr_origin=(region.first_row, region.first_column),
            hr_shape=(region.rows, region.columns),
            clock_offset_ns=(clocks[0].offset_ns, clocks[1].offset_ns),
            clock_drift_ppm=(clocks[0].drift_ppm, clocks[1].drift_ppm),
        )


def _optics(
    config: OpticsConfig, shape: Shape, scene_shape: Shape, pixel_side: int
) -> CameraOptics:
    return CameraOptics.of(shape, scene_shape, pixel_side=pixel_side, **config.model_dump())


def _mesh(config: BeamlineConfig) -> Mesh:
    settings = config.mesh.model_dump(exclude={"position_error_um", "rotation_error_deg"})
    return Mesh(seed=config.seed, **settings)


def _detector(
    config: DetectorConfig, blank_photons: float | None, blank_counts: float, seed: int
) -> Detector:
    settings = config.model_dump(exclude={"blank_counts", "read_noise_counts"})
    read_noise = config.read_noise_counts / blank_counts
    return Detector(blank_photons, read_noise=read_noise, seed=seed, **settings)
