"""Noise of the LR camera, as an estimator needs it, and photon noise for simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["NoiseModel", "photons_for_psnr", "poisson"]


@dataclass(frozen=True)
class NoiseModel:
    """Variance of an LR pixel as a function of its value: ``alpha max(y, 0) + beta``.

    Units are those of the LR frames (transmission, or counts). The default is noise-free.

    Parameters
    ----------
    alpha : float
        Photon noise: variance for each unit of signal, >= 0.
    beta : float
        Read noise: variance without signal, >= 0.

    Raises
    ------
    ValueError
        If a coefficient is negative or not finite.
    """

    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"NoiseModel.{name} must be finite and >= 0, got {value!r}")

    @classmethod
    def from_blank_photons(cls, blank_photons: float) -> NoiseModel:
        """Noise of transmission when an open-beam LR pixel counts `blank_photons` photons (b0).

        Parameters
        ----------
        blank_photons : float
            Photons of one LR pixel and frame without a sample, > 0.
        """
        _check_photons(blank_photons)
        return cls(alpha=1.0 / blank_photons)

    @classmethod
    def from_frames(
        cls, dark_var: npt.ArrayLike, flat_var: npt.ArrayLike, flat_level: float = 1.0
    ) -> NoiseModel:
        """Noise of transmission from the variances over repeated dark and flat frames.

        Parameters
        ----------
        dark_var, flat_var : array or float
            Variance over repeated frames, for each pixel or as a mean, in counts^2. Pixels that
            are not finite are left out.
        flat_level : float
            Mean of the flat above the dark in counts, > 0; 1 when the frames are transmission
            already.

        Returns
        -------
        NoiseModel
            Photon-transfer line through signal 0 (dark) and 1 (flat). A flat quieter than the
            dark gives alpha = 0.

        Raises
        ------
        ValueError
            If no pixel is finite, or `flat_level` is not positive.
        """
        if not flat_level > 0:
            raise ValueError(f"flat_level must be above zero, got {flat_level!r}")
        dark, flat = _mean_of_finite(dark_var, "dark"), _mean_of_finite(flat_var, "flat")
        return cls(alpha=max(flat - dark, 0.0) / flat_level**2, beta=dark / flat_level**2)

    @property
    def is_noise_free(self) -> bool:
        """True when every variance is zero."""
        return self.alpha == 0 and self.beta == 0

    def variance(self, y: npt.ArrayLike) -> Float32Array:
        """Noise variance of each LR pixel, in squared units of `y`.

        Parameters
        ----------
        y : array
            LR frame; negative values count as zero signal, NaN stays NaN.

        Returns
        -------
        float32 array of the shape of `y`
        """
        signal = np.maximum(np.asarray(y, dtype=np.float32), np.float32(0))
        return signal * np.float32(self.alpha) + np.float32(self.beta)


def poisson(y: npt.ArrayLike, blank_photons: float, rng: np.random.Generator) -> Float32Array:
    """Add photon noise to transmission: ``Poisson(b0 y) / b0``.

    Parameters
    ----------
    y : array
        Transmission; negative values count as zero, what is not finite becomes NaN.
    blank_photons : float
        Mean photons of a pixel at transmission 1 (b0), > 0.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    float32 array of the shape of `y`
        Not clipped: a clip would bias bright pixels.
    """
    _check_photons(blank_photons)
    clean = np.asarray(y, dtype=np.float32)
    known = np.isfinite(clean)
    mean = np.where(known, np.maximum(clean, 0), 0) * np.float32(blank_photons)
    noisy = np.asarray(rng.poisson(mean), dtype=np.float32)
    noisy /= np.float32(blank_photons)
    noisy[~known] = np.nan
    return noisy


def photons_for_psnr(psnr_db: float, mean_transmission: float) -> float:
    """Photons of an open-beam pixel (b0) at which photon noise leaves a wanted PSNR.

    The noise variance of ``Poisson(b0 y) / b0`` is ``y / b0``, hence ``MSE = mean(y) / b0`` and,
    with the range 1, ``b0 = mean(y) 10^(PSNR / 10)``.

    Parameters
    ----------
    psnr_db : float
        PSNR of noisy against clean frames, dB.
    mean_transmission : float
        Mean of the clean frames, > 0.

    Raises
    ------
    ValueError
        If a number is not finite or the mean is not positive.
    """
    if not (math.isfinite(psnr_db) and math.isfinite(mean_transmission) and mean_transmission > 0):
        raise ValueError(
            f"a PSNR of {psnr_db!r} dB at a mean transmission of {mean_transmission!r} cannot be "
            f"reached by photon noise: both must be finite, the mean above zero"
        )
    return mean_transmission * 10 ** (psnr_db / 10)


def _check_photons(blank_photons: float) -> None:
    if not (math.isfinite(blank_photons) and blank_photons > 0):
        raise ValueError(f"blank_photons must be finite and above zero, got {blank_photons!r}")


def _mean_of_finite(variance: npt.ArrayLike, name: str) -> float:
    values = np.asarray(variance, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError(f"no finite pixel in the variance of the {name} frames")
    return float(finite.mean())
