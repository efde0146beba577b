"""The clock of a camera: an offset, a drift, and steps of 10 ns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLOCK_QUANTUM_NS = 10.0


@dataclass(frozen=True)
class CameraClock:
    """A clock that starts at its camera's trigger."""

    offset_ns: float = 0.0
    """What it adds to times."""
    drift_ppm: float = 0.0
    """By how much it runs fast."""

    def reading(self, true_ns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Read times off the clock; `true_ns` counts from the camera's trigger."""
        running = true_ns * (1 + 1e-6 * self.drift_ppm) + self.offset_ns
        reading: NDArray[np.float64] = np.rint(running / CLOCK_QUANTUM_NS) * CLOCK_QUANTUM_NS
        return reading
