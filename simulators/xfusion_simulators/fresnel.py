"""X-rays behind a thin object: absorption, refraction, and free flight to the scintillator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Float32Array = npt.NDArray[np.float32]

KEV_UM = 1.239842e-3
"""Wavelength times energy, um keV."""
BANDWIDTH_NODES = (-0.05, -0.025, 0.0, 0.025, 0.05)
"""Energies that stand for the beam's spectrum, relative to its middle."""
FWHM_TO_SIGMA = 1 / 2.3548


@dataclass(frozen=True)
class Material:
    """How a material attenuates and refracts at one energy."""

    mu_per_cm: float
    delta: float
    energy_kev: float = 24.5

    def phase_per_um(self) -> float:
        """Phase shift in rad for each um of thickness."""
        return 2 * np.pi * self.delta * self.energy_kev / KEV_UM


COPPER = Material(mu_per_cm=173.0, delta=2.86e-6)


def intensity(
    thickness_um: Float32Array,
    sample_um: float,
    material: Material = COPPER,
    distance_m: float = 0.4,
    bandwidth: float = 0.07,
) -> Float32Array:
    """Intensity behind an object, 1 = without it.

    The edges of the grid are joined; keep what matters ``wavelength * distance / (2 sample_um)``
    away from them. Phase may change by less than pi / 2 between samples.

    Parameters
    ----------
    thickness_um : (H, W) float32
        Projected thickness.
    sample_um : float
        Side of a sample.
    material : Material
    distance_m : float
        From the object to the scintillator; 0: contact image.
    bandwidth : float
        Full width at half maximum of the spectrum, relative.
    """
    if bandwidth:
        nodes = np.array(BANDWIDTH_NODES)
        weights = np.exp(-((nodes / (bandwidth * FWHM_TO_SIGMA)) ** 2) / 2)
    else:
        nodes, weights = np.zeros(1), np.ones(1)
    total = np.zeros(thickness_um.shape, np.float32)
    for node, weight in zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True):
        total += np.float32(weight) * _at_energy(
            thickness_um, sample_um, material, distance_m, 1 + node
        )
    return total


def _at_energy(
    thickness_um: Float32Array,
    sample_um: float,
    material: Material,
    distance_m: float,
    energy_ratio: float,
) -> Float32Array:
    # Far from absorption edges attenuation goes with energy^-3 and delta with energy^-2.
    mu_per_um = material.mu_per_cm * 1e-4 * energy_ratio**-3
    if distance_m == 0:
        absorbed: Float32Array = np.exp(np.float32(-mu_per_um) * thickness_um)
        return absorbed
    wavelength_um = KEV_UM / (material.energy_kev * energy_ratio)
    phase_per_um = material.phase_per_um() / energy_ratio
    wave = np.exp(np.complex64(-mu_per_um / 2 - 1j * phase_per_um) * thickness_um)
    square = [fft.fftfreq(n, sample_um) ** 2 for n in thickness_um.shape]
    flight = [np.exp(-1j * np.pi * wavelength_um * distance_m * 1e6 * f) for f in square]
    spectrum = fft.fft2(wave, overwrite_x=True)
    spectrum *= flight[0].astype(np.complex64)[:, None]
    spectrum *= flight[1].astype(np.complex64)[None, :]
    wave = fft.ifft2(spectrum, overwrite_x=True)
    result: Float32Array = np.square(wave.real) + np.square(wave.imag)
    return result
