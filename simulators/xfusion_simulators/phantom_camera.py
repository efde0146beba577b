"""The Phantom TMX: large frames, slow, 12 bit, records around its trigger."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .memory import Burst, CameraMemory, FrameTable
from .scene import Beam, ReplayScene

PRE_TRIGGER_FRAMES = 8
OFFSET_COUNTS = 64.0
GAIN_COUNTS = 3600.0
FULL_COUNTS = 4095
CLOCK_QUANTUM_NS = 10.0


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
        What it looks at, pixel for pixel.
    memory : CameraMemory
        Where its bursts stay.
    clock_offset_ns : float
        What its clock adds to frame times.
    """

    def __init__(
        self, scene: ReplayScene, memory: CameraMemory, clock_offset_ns: float = 0.0
    ) -> None:
        self.scene = scene
        self.memory = memory
        self.clock_offset_ns = clock_offset_ns

    def record(
        self,
        trigger_ns: float,
        settings: PhantomSettings,
        beam: Beam,
        event_window_ns: tuple[float, float] | None = None,
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
        burst = Burst(
            table=FrameTable(
                number=number,
                time_ns=clock_reading(middle_ns, self.clock_offset_ns),
                event_flag=flag,
                true_time_ns=trigger_ns + middle_ns,
                scene_index=self.scene.index(trigger_ns + middle_ns),
            ),
            shape=(settings.region.rows, settings.region.columns),
            truth_scene=None,
            white_level=self.scene.white_level,
        )
        self.memory.store(burst, self._frames(burst.table.scene_index, settings.region, beam))
        return burst

    def _frames(
        self, scene_index: NDArray[np.int64], region: Region, beam: Beam
    ) -> Iterator[NDArray[np.uint16]]:
        shown: int | None = None
        counts = np.zeros(0, np.uint16)
        for index in scene_index.tolist():
            # The camera is noise free: equal scene, equal frame. Most frames of a long
            # burst lie beyond the ends of the scene.
            if index != shown:
                light = region.crop(self.scene.light(index, beam))
                counts = phantom_counts(light)
                shown = index
            yield counts


def phantom_counts(light: NDArray[np.float32]) -> NDArray[np.uint16]:
    """12-bit counts of light on the HR grid, (H, W) uint16."""
    counts = light * np.float32(GAIN_COUNTS)
    counts += np.float32(OFFSET_COUNTS)
    np.rint(counts, out=counts)
    np.clip(counts, 0, FULL_COUNTS, out=counts)
    return counts.astype(np.uint16)


def clock_reading(true_ns: NDArray[np.float64], offset_ns: float) -> NDArray[np.float64]:
    """Read times off a camera's clock: true times plus an offset, in steps of 10 ns."""
    reading: NDArray[np.float64] = (
        np.rint((true_ns + offset_ns) / CLOCK_QUANTUM_NS) * CLOCK_QUANTUM_NS
    )
    return reading
