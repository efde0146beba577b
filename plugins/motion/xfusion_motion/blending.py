"""How much each candidate is believed at each LR pixel, and what they give together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.operators import block_mean
from xfusion_motion.candidates import Candidate
from xfusion_motion.interval import Image
from xfusion_motion.lr_video import EVIDENCE_PX, Estimate
from xfusion_motion.resampling import smooth, upsample_linear

__all__ = ["Blend", "blend"]

_DETAIL_PX = 1.0
_SHARPNESS = 1.5
_NOISE_IN_DETAIL = 0.9
"""Share of white noise that is detail, about 15/16, less for noise with a correlation."""


@dataclass(frozen=True, eq=False)
class Blend:
    """What is known of a target.

    Parameters
    ----------
    image : (h, w) float32
        Estimate of its LR image.
    detail : (H, W) float32
        Weighted mean of the candidates' details, reduced where it is doubtful.
    variance : (h, w) float32
        Of its error.
    attention : (float, float, float)
        Mean weight of HR frames before and after, and what was reduced.
    """

    image: Image
    detail: Image
    variance: Image
    attention: tuple[float, float, float]


def blend(candidates: Iterable[Candidate], y: Estimate, hr_noise: Image, tiny: np.float32) -> Blend:
    """Weigh the candidates against each other, and their mean against no detail at all.

    1. The detail of candidate k is expected to be wrong by ``v_k = m_k + q_k``: by its misfit
       ``m_k = <(H c_k - y)^2>``, as much as its LR image is, and by its HR noise. Weights w_k are
       ``v_k^-1.5``, normalised; -1 would be right for errors that are independent, more is right
       for some that are not.
    2. The mean detail ``d = sum_k w_k d_k`` of energy ``S = <d^2>`` is multiplied by the gain with
       the least mean square error. If the true detail has the energy S - q and differs from d by
       ``m + q`` in the mean square, its covariance with d is ``S - q - m/2``, hence the gain
       ``max(S - q - m/2, 0) / S``, with ``m = sum w_k m_k`` (misfits of one scene are not
       independent) and ``q = sum w_k^2 q_k`` (noise is). For noise alone this is a Wiener filter;
       detail of something else, which has ``m = 2 S``, goes altogether.

    Parameters
    ----------
    candidates : iterable of Candidate
        At least one.
    y : Estimate
        LR frame without its noise.
    hr_noise : (h, w) float32
        Variance of an HR pixel.
    tiny : float32
        Smallest variance.

    Returns
    -------
    Blend
    """
    offered = list(candidates)
    misfits = np.stack([smooth(np.square(c.binned - y.image), EVIDENCE_PX) for c in offered])
    noises = np.stack([np.float32(c.noise_share) * hr_noise for c in offered])
    weights = _weights(misfits + noises + tiny, offered)
    detail = np.zeros_like(offered[0].detail)
    power = np.zeros_like(detail)
    for candidate, weight in zip(offered, weights, strict=True):
        part = upsample_linear(weight)
        part *= candidate.detail
        detail += part
        part *= candidate.detail
        power += part
    energy = block_mean(np.square(detail))
    spread = smooth(np.maximum(block_mean(power) - energy, 0), EVIDENCE_PX)
    energy = smooth(energy, _DETAIL_PX)
    misfit = (weights * misfits).sum(axis=0)
    noise = np.float32(_NOISE_IN_DETAIL) * (np.square(weights) * noises).sum(axis=0)
    gain = np.maximum(energy - noise - misfit / 2, 0) / np.maximum(energy, tiny)
    detail *= upsample_linear(gain)
    lost = np.maximum(energy * (1 - np.square(gain)) - noise, 0)
    return Blend(
        image=_corrected(y, offered, weights, tiny),
        detail=detail,
        variance=np.maximum(lost, np.square(gain) * spread) + noise + y.variance,
        attention=_attention(offered, weights * gain),
    )


def _weights(errors: Image, offered: Sequence[Candidate]) -> Image:
    """Weights (k, h, w) that sum to one, or to zero where no candidate is usable."""
    usable = np.stack(
        [np.ones(errors.shape[1:], bool) if c.usable is None else c.usable for c in offered]
    )
    # Relative to the best one, or the power would leave the range of float32.
    best = np.min(errors, axis=0, where=usable, initial=np.float32(np.inf))
    best = np.where(np.isfinite(best), best, np.float32(1))
    weights: Image = np.where(usable, (errors / best) ** np.float32(-_SHARPNESS), np.float32(0))
    weights /= np.maximum(weights.sum(axis=0), np.float32(1e-6))
    return weights


def _attention(offered: Sequence[Candidate], weights: Image) -> tuple[float, float, float]:
    means = [float(weight.mean(dtype=np.float64)) for weight in weights]
    before = sum(mean * c.shares[0] for mean, c in zip(means, offered, strict=True))
    after = sum(mean * c.shares[1] for mean, c in zip(means, offered, strict=True))
    return before, after, max(1 - before - after, 0.0)


def _corrected(
    y: Estimate, offered: Sequence[Candidate], weights: Image, tiny: np.float32
) -> Image:
    """Estimate of the LR image once the candidates are known: they carry none of its noise.

    Where the mean of the candidates differs from the estimate by no more than the error of the
    estimate, it replaces it: a local Wiener gain, as in `linear_bp`. Where no candidate is
    usable, nothing changes, nor where the estimate has no error.
    """
    mean = sum(w * candidate.binned for w, candidate in zip(weights, offered, strict=True))
    away = np.where(weights.any(axis=0), y.image - mean, np.float32(0))
    power = smooth(np.square(away), EVIDENCE_PX)
    gain = np.maximum(power - y.variance, 0) / np.maximum(power, tiny)
    corrected: Image = y.image - (1 - gain) * away
    return corrected
