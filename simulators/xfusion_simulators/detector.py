"""What a camera's sensor makes of light: photons, its pixels' own patterns, read noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Shape = tuple[int, int]

STUCK = 10.0
"""Signal of a hot pixel: beyond full scale, whatever the light."""


@dataclass(frozen=True)
class Detector:
    """Imperfections of one sensor; by default it has none.

    Signals are shares of the blank beam's (1 = centre of the beam without sample).
    """

    blank_photons: float | None = None
    """Photons per pixel and exposure at signal 1; None: no photon noise."""
    read_noise: float = 0.0
    """Standard deviation of the noise that is there in the dark."""
    gain_pattern: float = 0.0
    """Rms of the pixels' gains, the same in all frames."""
    offset_pattern: float = 0.0
    """Rms of the pixels' offsets, the same in all frames."""
    cell_gain_pattern: float = 0.0
    """Rms of the gains of a pixel's storage cells; frame k of a burst uses cell k."""
    cell_offset_pattern: float = 0.0
    """Rms of the offsets of a pixel's storage cells."""
    hot_pixels: int = 0
    """Pixels at full scale, whatever the light."""
    dead_pixels: int = 0
    """Pixels that see nothing."""
    first_frame_excess: float = 0.0
    """By how much the first frame of a burst is too bright, as a share."""
    seed: int = 0
    """Of the patterns; different cameras have different ones."""

    @property
    def is_ideal(self) -> bool:
        """Whether the signal is the light itself."""
        return self.is_noise_free and not (
            self.gain_pattern or self.offset_pattern or self.hot_pixels or self.dead_pixels
        )

    @property
    def is_noise_free(self) -> bool:
        """Whether equal light gives equal signals in every frame."""
        cells = self.cell_gain_pattern or self.cell_offset_pattern
        return self.blank_photons is None and not (
            self.read_noise or cells or self.first_frame_excess
        )

    def signal(
        self, light: Float32Array, frame: int, rng: np.random.Generator
    ) -> npt.NDArray[np.floating]:
        """Expose one frame.

        Parameters
        ----------
        light : (rows, columns) float32
            On the sensor.
        frame : int
            Number of the frame in the burst, from 0.
        rng : numpy Generator
            Of the noise.

        Returns
        -------
        (rows, columns) float32 or float64
        """
        if self.is_ideal:
            return light
        if frame == 0 and self.first_frame_excess:
            light = light * np.float32(1 + self.first_frame_excess)
        signal: npt.NDArray[np.floating] = photon_noise(light, self.blank_photons, rng)
        if self.gain_pattern or self.offset_pattern:
            gain, offset = self._pattern(light.shape)
            signal = signal * gain + offset
        if self.cell_gain_pattern or self.cell_offset_pattern:
            own = np.random.default_rng([self.seed, 0xCE11, frame + 1])
            signal = signal * (1 + self.cell_gain_pattern * _normal(own, light.shape))
            signal += self.cell_offset_pattern * _normal(own, light.shape)
        if self.read_noise:
            signal = signal + self.read_noise * _normal(rng, light.shape)
        if self.hot_pixels or self.dead_pixels:
            stuck = self.stuck_pixels(light.shape)
            np.copyto(signal, STUCK, where=stuck > 0)
            np.copyto(signal, 0, where=stuck < 0)
        return signal

    def stuck_pixels(self, shape: Shape) -> npt.NDArray[np.int8]:
        """Say which pixels are hot (1) and dead (-1), (rows, columns) int8."""
        rng = np.random.default_rng([self.seed, 0xBAD])
        chosen = rng.choice(
            shape[0] * shape[1], min(self.hot_pixels + self.dead_pixels, shape[0] * shape[1]), False
        )
        stuck = np.zeros(shape[0] * shape[1], np.int8)
        stuck[chosen[: self.hot_pixels]] = 1
        stuck[chosen[self.hot_pixels :]] = -1
        return stuck.reshape(shape)

    def _pattern(self, shape: Shape) -> tuple[Float32Array, Float32Array]:
        return _fixed_pattern(self.seed, shape, self.gain_pattern, self.offset_pattern)


def photon_noise(
    light: Float32Array, blank_photons: float | None, rng: np.random.Generator
) -> Float64Array:
    """Count photons: ``Poisson(b0 y) / b0``, the noise model of the fusion papers."""
    if blank_photons is None:
        return light.astype(np.float64)
    return rng.poisson(light * blank_photons) / blank_photons


@lru_cache(maxsize=4)
def _fixed_pattern(
    seed: int, shape: Shape, gain: float, offset: float
) -> tuple[Float32Array, Float32Array]:
    rng = np.random.default_rng([seed, 0xF1CED])
    return 1 + np.float32(gain) * _normal(rng, shape), np.float32(offset) * _normal(rng, shape)


def _normal(rng: np.random.Generator, shape: Shape) -> Float32Array:
    return rng.standard_normal(shape, dtype=np.float32)
