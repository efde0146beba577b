"""The Shimadzu HPV-X2: few large pixels, very fast, 10 bit, a fixed number of frames."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clock import CameraClock
from .detector import Detector
from .detector import photon_noise as photon_noise
from .field import CameraView, Field
from .flicker import STEADY, Flicker, lit
from .memory import Burst, CameraMemory, FrameTable
from .optics import CameraOptics
from .optics import block_mean as block_mean
from .scene import LR_PIXEL, Beam, ReplayScene
from .truth import TrueGeometry

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
        What it looks at.
    memory : CameraMemory
        Where its bursts stay.
    blank_photons : float, optional
        Photons per pixel and exposure at transmission 1 (``b0``); None: no noise. Only without
        `detector`, which says it otherwise.
    seed : int
        Seed of the noise.
    clock_offset_ns, clock_drift_ppm : float
        What is wrong with its clock.
    view : CameraView, optional
        How it looks at the scene; default: 4 x 4 scene pixels to one of its own.
    detector : Detector, optional
        Its sensor; default: photon noise alone.
    flicker : Flicker
        Of the beam.
    blank_counts : float
        Counts of a pixel at transmission 1.
    """

    def __init__(
        self,
        scene: ReplayScene,
        memory: CameraMemory,
        blank_photons: float | None = 1e4,
        seed: int = 0,
        clock_offset_ns: float = 0.0,
        clock_drift_ppm: float = 0.0,
        *,
        view: CameraView | None = None,
        detector: Detector | None = None,
        flicker: Flicker = STEADY,
        blank_counts: float = GAIN_COUNTS,
    ) -> None:
        self.scene = scene
        self.memory = memory
        self.seed = seed
        self.clock = CameraClock(clock_offset_ns, clock_drift_ppm)
        self.view = view or lr_view(Field(scene))
        self.detector = detector or Detector(blank_photons)
        self.flicker = flicker
        self.blank_counts = blank_counts
        self.shape = self.view.shape

    def record(
        self,
        trigger_ns: float,
        settings: ShimadzuSettings,
        beam: Beam,
        shot: int = 0,
        geometry: TrueGeometry | None = None,
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
            Number of the shot; with the seed it decides noise and flicker.
        geometry : TrueGeometry, optional
            Where both cameras look, to be kept with the burst.

        Returns
        -------
        Burst
            What is now in the memory.
        """
        number = np.arange(settings.frames, dtype=np.int64)
        begin_ns = settings.start_ns + number.astype(np.float64) * settings.interval_ns
        middle_ns = begin_ns + settings.exposure_ns / 2
        true_ns = trigger_ns + middle_ns
        table = FrameTable(
            number=number,
            time_ns=self.clock.reading(middle_ns),
            event_flag=np.ones(len(number), np.uint8),
            true_time_ns=true_ns,
            scene_index=self.scene.index(true_ns),
            beam_gain=self.flicker.gain(true_ns, settings.exposure_ns, shot),
        )
        burst = Burst(
            table=table,
            shape=self.shape,
            truth_scene=self.scene.path if beam.shows_scene else None,
            white_level=self.scene.white_level,
            geometry=geometry,
        )
        self.memory.store(burst, self._frames(table, beam, shot))
        return burst

    def _frames(self, table: FrameTable, beam: Beam, shot: int) -> Iterator[NDArray[np.uint16]]:
        rng = np.random.default_rng([self.seed, shot])
        for k, image in enumerate(self.view.images(table.scene_index, beam)):
            light = lit(image, table.beam_gain[k])
            signal = self.detector.signal(light, k, rng).astype(np.float64)
            yield shimadzu_counts(signal, self.blank_counts)


def lr_view(field: Field) -> CameraView:
    """Look at a scene without optics, 4 x 4 of its pixels to one of the camera's."""
    shape = (field.scene.shape[0] // LR_PIXEL, field.scene.shape[1] // LR_PIXEL)
    return CameraView(field, CameraOptics.of(shape, field.scene.shape, pixel_side=LR_PIXEL), shape)


def shimadzu_counts(
    light: NDArray[np.float64], blank_counts: float = GAIN_COUNTS
) -> NDArray[np.uint16]:
    """10-bit counts in the upper bits of uint16, as the camera stores them."""
    counts = np.clip(np.rint(DARK_COUNTS + blank_counts * light), 0, FULL_COUNTS)
    return np.left_shift(counts.astype(np.uint16), np.uint16(BIT_SHIFT))
