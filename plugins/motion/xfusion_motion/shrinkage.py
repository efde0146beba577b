"""Noise removal from a residual video: empirical Bayes on overlapping cosine transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from xfusion_motion.block_transform import Blocks
from xfusion_motion.interval import Image
from xfusion_motion.noise_floor import lowest_tenth
from xfusion_motion.resampling import smooth

__all__ = ["BLOCK_FRAMES", "Shrunk", "shrink"]

BLOCK_FRAMES = 8
"""Most frames that are shrunk together."""

_VIDEO_BLOCK_PX = 8
_FRAME_BLOCKS_PX = (4, 2)
_BANDS = 10
_NOISE_RADIUS = 0.875
_NOISE_TIME = 0.5
"""What changes so fast, in space and time taken together and in time alone, is mostly noise."""

_ITERATIONS = 4
_LEAST_SIGNAL = 1.0
_DISBELIEF = 1.5
"""Noise above the model's by less than this factor is put down to the estimate."""

_LOCAL_PX = 0.7
_CAUTION = 6.0


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What is left of a residual video.

    Parameters
    ----------
    estimate : (n, h, w) float32
        Posterior mean of the change.
    variance : (n, h, w) float32
        Variance of its error, in units of the noise variance.
    """

    estimate: Image
    variance: Image


def shrink(residual: Image, expected: Image | None = None, scene_variance: float = 0.0) -> Shrunk:
    """Estimate the change in a residual of unit noise: nothing where nothing significant is.

    Change that lasts is found in blocks of all n frames x 8 x 8 pixels; what is left, in blocks
    of 4 x 4 and then 2 x 2 pixels of each frame (see `_posterior`). Last, where change was found
    or is expected, the rest gets a local Wiener gain: ``max(<e^2> - T, 0) / <e^2>`` with
    ``T = 1 + 6 / (1 + <change^2> + expected)^2``, which is the usual gain inside change, and asks
    for seven times the noise outside.

    Parameters
    ----------
    residual : (n, h, w) float32
        Frames minus a prediction, divided by the noise standard deviation; n up to
        `BLOCK_FRAMES`.
    expected : (n, h, w) float32, optional
        Mean square of the change that would be no surprise; default: none.
    scene_variance : float
        White variance beyond the noise model, in its units, that is no reason to disbelieve the
        model. If the quietest blocks show much more, the noise is taken to be that strong.

    Returns
    -------
    Shrunk
    """
    together = Blocks.cut(residual, _VIDEO_BLOCK_PX, frames_together=True)
    noise = _noise(together, scene_variance)
    estimate, variance = _posterior_mean(together, noise)
    for side_px in _FRAME_BLOCKS_PX:
        left = Blocks.cut(residual - estimate, side_px, frames_together=False)
        more, its_variance = _posterior_mean(left, noise)
        estimate += more
        np.maximum(variance, its_variance, out=variance)
    likely = np.zeros_like(residual) if expected is None else expected
    frames = zip(estimate, variance, residual, likely, strict=True)
    for change, of_frame, measured, no_surprise in frames:
        rest = measured - change
        power = smooth(np.square(rest), _LOCAL_PX) / noise
        found = (smooth(np.square(change), _LOCAL_PX) + no_surprise) / noise
        needed = 1 + np.float32(_CAUTION) / np.square(1 + found)
        gain = np.maximum(power - needed, 0) / np.maximum(power, needed)
        change += gain * rest
        of_frame += gain * (noise - of_frame)
    return Shrunk(estimate, variance)


def _noise(blocks: Blocks, scene_variance: float) -> np.float32:
    """Noise variance in units of the model's: 1, or more when the quietest blocks say so."""
    high = (blocks.radii() >= _NOISE_RADIUS) & (blocks.times() >= _NOISE_TIME)
    if not high.any():
        return np.float32(1)
    energies = np.square(blocks.flat[:, high]).mean(axis=1)
    beyond = lowest_tenth(energies, int(np.count_nonzero(high))) - scene_variance
    return np.float32(beyond if beyond > _DISBELIEF else 1)


def _posterior_mean(blocks: Blocks, noise: np.float32) -> tuple[Image, Image]:
    """Posterior mean and variance (n, h, w) of what the blocks hold beside noise."""
    bands = np.minimum((8 * blocks.radii()).astype(np.intp), _BANDS - 1)
    power = np.square(blocks.flat)
    power /= noise
    gain, variance = _posterior(power, bands)
    return blocks.mean_of_blocks(blocks.flat * gain), blocks.mean_of_values(variance * noise)


def _posterior(power: Image, bands: npt.NDArray[np.intp]) -> tuple[Image, Image]:
    """Gain of every coefficient (blocks, m), and mean posterior variance of every block.

    A block is at rest, or holds change; in one with change, a coefficient of radial band b is
    noise N(0, 1) with probability 1 - p_b, and change plus noise N(0, 1 + s_b) with p_b. The
    share of blocks with change, p_b and s_b are learned from the blocks by expectation
    maximisation; the gain makes each coefficient its posterior mean. Where nothing moves it is
    zero to high accuracy even in strong noise; where something moves it is close to a Wiener
    filter.

    Parameters
    ----------
    power : (blocks, m) float32
        Squares of the coefficients, in units of the noise variance.
    bands : (m,) int
        Band of each coefficient.

    References
    ----------
    I. M. Johnstone and B. W. Silverman, Ann. Statist. 33 (2005) 1700, for the mixture prior.
    """
    members = np.bincount(bands, minlength=_BANDS)
    share, signal = np.full(_BANDS, 0.1), np.full(_BANDS, 10.0)
    rate = 0.3
    for _ in range(_ITERATIONS):
        s = signal[bands].astype(np.float32)
        p = share[bands].astype(np.float32)
        wiener = s / (1 + s)
        # Densities relative to pure noise; the exponent is bounded against overflow.
        change = np.exp(np.minimum(power * (wiener / 2), np.float32(60))) * (p / np.sqrt(1 + s))
        either = change + (1 - p)
        evidence = np.log(either).sum(axis=1, dtype=np.float64)
        active = special.expit(evidence + special.logit(rate))
        change /= either
        change *= active[:, None].astype(np.float32)
        count = np.bincount(bands, change.sum(axis=0), _BANDS)
        energy = np.bincount(bands, np.einsum("ij,ij->j", change, power), _BANDS)
        share = np.clip(count / np.maximum(active.sum() * members, 1e-9), 1e-4, 0.999)
        signal = np.clip(energy / np.maximum(count, 1e-9) - 1, _LEAST_SIGNAL, 1e6)
        rate = float(np.clip(active.mean(), 1e-3, 0.999))
    s = signal[bands].astype(np.float32)
    wiener = s / (1 + s)
    gain: Image = change * wiener
    # Of a mixture: its mean of variances, and the variance of its means.
    variance = gain + change * (1 - change) * power * np.square(wiener)
    return gain, variance.mean(axis=1)
