"""Flicker of the beam: one function of true time that both cameras see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

WAVES = 256


@dataclass(frozen=True)
class Flicker:
    """Relative intensity ``1 + rms g(t)`` of the beam, t in true ns after T0.

    g has mean 0, variance 1 and the autocorrelation ``exp(-(dt / correlation_ns)^2 / 2)``; it is
    a sum of waves of random frequency and phase, and therefore known between all samples.
    """

    rms: float = 0.0
    correlation_ns: float = 2000.0
    seed: int = 0

    def gain(self, middle_ns: npt.ArrayLike, exposure_ns: float, shot: int) -> Float64Array:
        """Mean intensity over exposures.

        Parameters
        ----------
        middle_ns : (n,)
            True mid-exposures after T0.
        exposure_ns : float
            Length of the exposures.
        shot : int
            Number of the shot; with the seed it decides g.

        Returns
        -------
        (n,) float64; 1 without flicker
        """
        middle = np.asarray(middle_ns, dtype=np.float64)
        if self.rms == 0:
            return np.ones(middle.shape)
        rng = np.random.default_rng([self.seed, shot, 0xF11C])
        frequency = rng.standard_normal(WAVES) / (2 * np.pi * self.correlation_ns)
        phase = rng.uniform(0, 2 * np.pi, WAVES)
        # The mean of a wave over a window is the wave, weaker: np.sinc(x) = sin(pi x) / (pi x).
        weight = np.sqrt(2 / WAVES) * np.sinc(frequency * exposure_ns)
        waves = np.cos(2 * np.pi * frequency * middle[..., None] + phase)
        gain: Float64Array = 1 + self.rms * (waves @ weight)
        return gain


STEADY = Flicker()
"""A beam without flicker."""


def lit(light: npt.NDArray[np.float32], gain: float) -> npt.NDArray[np.float32]:
    """Light in a beam of another intensity; in a steady one the same array."""
    return light if gain == 1 else light * np.float32(gain)
