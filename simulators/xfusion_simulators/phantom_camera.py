"""The Phantom TMX: large frames, slow, 12 bit, records around its trigger."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clock import CameraClock
from .detector import Detector
from .field import CameraView, Field
from .flicker import STEADY, Flicker, lit
from .memory import Burst, CameraMemory, FrameTable
from .optics import CameraOptics
from .scene import Beam, ReplayScene
from .truth import TrueGeometry

PRE_TRIGGER_FRAMES = 8
OFFSET_COUNTS = 64.0
GAIN_COUNTS = 3600.0
FULL_COUNTS = 4095
NOISE = 0x7510
"""Keeps the noise apart from the Shimadzu's."""


@dataclass(frozen=True)
class Region:
    """The part of the sensor that is read, in pixels."""

    first_row: int
    first_column: int
    rows: int
    columns: int

    def crop(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut the region out of an (H, W) frame."""
        return frame[
            self.first_row : self.first_row + self.rows,
            self.first_column : self.first_column + self.columns,
        ]


@dataclass(frozen=True)
class PhantomSettings:
    """How the Phantom records one burst."""

    region: Region
    period_ns: float = 20_000.0
    exposure_ns: float = 500.0
    post_trigger_frames: int = 64


class PhantomCamera:
    """The Phantom without EPICS.

    Parameters
    ----------
    scene : ReplayScene
        What it looks at.
    memory : CameraMemory
        Where its bursts stay.
    clock_offset_ns, clock_drift_ppm : float
        What is wrong with its clock.
    view : CameraView, optional
        How it looks at the scene; default: pixel for pixel.
    detector : Detector, optional
        Its sensor; default: an ideal one.
    flicker : Flicker
        Of the beam.
    blank_counts : float
        Counts of a pixel at transmission 1.
    seed : int
        Seed of the noise.
    """

    def __init__(
        self,
        scene: ReplayScene,
        memory: CameraMemory,
        clock_offset_ns: float = 0.0,
        clock_drift_ppm: float = 0.0,
        *,
        view: CameraView | None = None,
        detector: Detector | None = None,
        flicker: Flicker = STEADY,
        blank_counts: float = GAIN_COUNTS,
        seed: int = 0,
    ) -> None:
        self.scene = scene
        self.memory = memory
        self.clock = CameraClock(clock_offset_ns, clock_drift_ppm)
        self.view = view or CameraView(Field(scene), CameraOptics(), scene.shape)
        self.detector = detector or Detector()
        self.flicker = flicker
        self.blank_counts = blank_counts
        self.seed = seed
        self.shape = self.view.shape

    def record(
        self,
        trigger_ns: float,
        settings: PhantomSettings,
        beam: Beam,
        event_window_ns: tuple[float, float] | None = None,
        shot: int = 0,
        geometry: TrueGeometry | None = None,
    ) -> Burst:
        """Record one burst into the memory.

        Parameters
        ----------
        trigger_ns : float
            The camera's trigger, true ns after T0. Frame 0 begins there; 8 frames precede it.
        settings : PhantomSettings
        beam : Beam
            What stands in the beam.
        event_window_ns : (start, end), optional
            True times after T0 between which the EVENT pin is high; None: never.
        shot : int
            Number of the shot; with the seed it decides noise and flicker.
        geometry : TrueGeometry, optional
            Where both cameras look, to be kept with the burst.

        Returns
        -------
        Burst
            What is now in the memory.
        """
        number = np.arange(-PRE_TRIGGER_FRAMES, settings.post_trigger_frames, dtype=np.int64)
        begin_ns = number.astype(np.float64) * settings.period_ns
        middle_ns = begin_ns + settings.exposure_ns / 2
        flag = np.zeros(len(number), np.uint8)
        if event_window_ns is not None:
            start_ns, end_ns = (edge - trigger_ns for edge in event_window_ns)
            flag[(begin_ns < end_ns) & (begin_ns + settings.exposure_ns > start_ns)] = 1
        true_ns = trigger_ns + middle_ns
        table = FrameTable(
            number=number,
            time_ns=self.clock.reading(middle_ns),
            event_flag=flag,
            true_time_ns=true_ns,
            scene_index=self.scene.index(true_ns),
            beam_gain=self.flicker.gain(true_ns, settings.exposure_ns, shot),
        )
        burst = Burst(
            table=table,
            shape=(settings.region.rows, settings.region.columns),
            truth_scene=None,
            white_level=self.scene.white_level,
            geometry=geometry,
        )
        self.memory.store(burst, self._frames(table, settings.region, beam, shot))
        return burst

    def _frames(
        self, table: FrameTable, region: Region, beam: Beam, shot: int
    ) -> Iterator[NDArray[np.uint16]]:
        rng = np.random.default_rng([self.seed, shot, NOISE])
        shown: tuple[NDArray[np.float32], float] | None = None
        counts = np.zeros(0, np.uint16)
        for k, image in enumerate(self.view.images(table.scene_index, beam)):
            gain = float(table.beam_gain[k])
            # Without noise, equal light gives equal frames. Most frames of a long burst lie
            # beyond the ends of the scene.
            same = shown is not None and shown[0] is image and shown[1] == gain
            if not (same and self.detector.is_noise_free):
                signal = self.detector.signal(lit(image, gain), k, rng)
                counts = phantom_counts(
                    region.crop(signal.astype(np.float32, copy=False)), self.blank_counts
                )
            shown = (image, gain)
            yield counts


def phantom_counts(
    light: NDArray[np.float32], blank_counts: float = GAIN_COUNTS
) -> NDArray[np.uint16]:
    """12-bit counts of light on the sensor, (H, W) uint16."""
    counts = light * np.float32(blank_counts)
    counts += np.float32(OFFSET_COUNTS)
    np.rint(counts, out=counts)
    np.clip(counts, 0, FULL_COUNTS, out=counts)
    return counts.astype(np.uint16)
