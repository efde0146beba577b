"""The Shimadzu HPV-X2: few large pixels, very fast, 10 bit, a fixed number of frames."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .memory import Burst, CameraMemory, FrameTable
from .phantom_camera import clock_reading
from .scene import LR_PIXEL, Beam, ReplayScene

DARK_COUNTS = 40.0
GAIN_COUNTS = 900.0
FULL_COUNTS = 1023
BIT_SHIFT = 6
FULL_PIXEL_FRAMES = 128
HALF_PIXEL_FRAMES = 256


@dataclass(frozen=True)
class ShimadzuSettings:
    """How the Shimadzu records one burst."""

    frames: int = FULL_PIXEL_FRAMES
    interval_ns: float = 1000.0
    exposure_ns: float = 500.0
    trigger_delay_ns: float = 0.0
    frames_before_trigger: int = 0

    @property
    def start_ns(self) -> float:
        """Begin of the first frame, ns after the camera's trigger."""
        return self.trigger_delay_ns - self.frames_before_trigger * self.interval_ns

    def window_ns(self, trigger_ns: float) -> tuple[float, float]:
        """Begin and end of the recording, in the time of `trigger_ns`."""
        start_ns = trigger_ns + self.start_ns
        return start_ns, start_ns + self.frames * self.interval_ns


class ShimadzuCamera:
    """The Shimadzu without EPICS.

    Parameters
    ----------
    scene : ReplayScene
        What it looks at, 4 x 4 scene pixels to one of its own.
    memory : CameraMemory
        Where its bursts stay.
    blank_photons : float, optional
        Photons per pixel and exposure at transmission 1 (``b0``); None: no noise.
    seed : int
        Seed of the noise.
    clock_offset_ns : float
        What its clock adds to frame times.
    """

    def __init__(
        self,
        scene: ReplayScene,
        memory: CameraMemory,
        blank_photons: float | None = 1e4,
        seed: int = 0,
        clock_offset_ns: float = 0.0,
    ) -> None:
        self.scene = scene
        self.memory = memory
        self.blank_photons = blank_photons
        self.seed = seed
        self.clock_offset_ns = clock_offset_ns
        self.shape = (scene.shape[0] // LR_PIXEL, scene.shape[1] // LR_PIXEL)

    def record(
        self, trigger_ns: float, settings: ShimadzuSettings, beam: Beam, shot: int = 0
    ) -> Burst:
        """Record one burst into the memory.

        Parameters
        ----------
        trigger_ns : float
            The camera's trigger, true ns after T0.
        settings : ShimadzuSettings
        beam : Beam
            What stands in the beam.
        shot : int
            Number of the shot; with the seed it decides the noise.

        Returns
        -------
        Burst
            What is now in the memory.
        """
        number = np.arange(settings.frames, dtype=np.int64)
        begin_ns = settings.start_ns + number.astype(np.float64) * settings.interval_ns
        middle_ns = begin_ns + settings.exposure_ns / 2
        scene_index = self.scene.index(trigger_ns + middle_ns)
        burst = Burst(
            table=FrameTable(
                number=number,
                time_ns=clock_reading(middle_ns, self.clock_offset_ns),
                event_flag=np.ones(len(number), np.uint8),
                true_time_ns=trigger_ns + middle_ns,
                scene_index=scene_index,
            ),
            shape=self.shape,
            truth_scene=self.scene.path if beam.shows_scene else None,
            white_level=self.scene.white_level,
        )
        self.memory.store(burst, self._frames(scene_index, beam, shot))
        return burst

    def _frames(
        self, scene_index: NDArray[np.int64], beam: Beam, shot: int
    ) -> Iterator[NDArray[np.uint16]]:
        rng = np.random.default_rng([self.seed, shot])
        for index in scene_index.tolist():
            light = block_mean(self.scene.light(index, beam))
            yield shimadzu_counts(photon_noise(light, self.blank_photons, rng))


def block_mean(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of 4 x 4 pixels, (H, W) -> (H / 4, W / 4) float32."""
    rows, columns = light.shape[0] // LR_PIXEL, light.shape[1] // LR_PIXEL
    mean: NDArray[np.float32] = light.reshape(rows, LR_PIXEL, columns, LR_PIXEL).mean((1, 3))
    return mean


def photon_noise(
    light: NDArray[np.float32], blank_photons: float | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Count photons: ``Poisson(b0 y) / b0``, the noise model of the fusion papers."""
    if blank_photons is None:
        return light.astype(np.float64)
    return rng.poisson(light * blank_photons) / blank_photons


def shimadzu_counts(light: NDArray[np.float64]) -> NDArray[np.uint16]:
    """10-bit counts in the upper bits of uint16, as the camera stores them."""
    counts = np.clip(np.rint(DARK_COUNTS + GAIN_COUNTS * light), 0, FULL_COUNTS)
    return np.left_shift(counts.astype(np.uint16), np.uint16(BIT_SHIFT))
