"""Counts of a simulated sensor, without a beamline around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xfusion_simulators.detector import Detector
from xfusion_simulators.scene import beam_profile

Frames = list[npt.NDArray[np.uint16]]


@dataclass(frozen=True)
class SyntheticCamera:
    """A sensor behind the simulator's beam; `detector` signals are shares of the blank beam."""

    detector: Detector
    shape: tuple[int, int] = (60, 100)
    frames: int = 128
    dark_counts: float = 40.0
    blank_counts: float = 900.0
    full_counts: int = 1023
    flicker: float = 0.0

    def burst(self, light: float | npt.NDArray[np.float32], seed: int) -> Frames:
        """Frames of one burst behind something that lets `light` through; 0 is a dark."""
        rng = np.random.default_rng(seed)
        lit = np.asarray(light * beam_profile(self.shape), dtype=np.float32)
        return [
            self._counts(lit * (1 + self.flicker * g), k, rng)
            for k, g in enumerate(rng.standard_normal(self.frames))
        ]

    def bursts(self, light: float, count: int, seed: int = 0) -> list[Frames]:
        return [self.burst(light, 100 * seed + b + 1) for b in range(count)]

    def _counts(self, lit: npt.NDArray[np.float32], k: int, rng: np.random.Generator):
        signal = self.detector.signal(lit.astype(np.float32), k, rng)
        counts = np.rint(self.dark_counts + self.blank_counts * signal)
        return np.clip(counts, 0, self.full_counts).astype(np.uint16)
