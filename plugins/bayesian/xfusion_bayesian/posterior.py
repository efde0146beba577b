"""One frame from motion-compensated HR frames and the LR frame of its time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bayesian.candidate import candidates, on_grid, weighted_mean
from xfusion_bayesian.detail import detail_gains
from xfusion_bayesian.stretch import Stretch
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.operators import SCALE, block_mean, upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Posterior", "posterior"]

_CONTRASTS = np.float32(1 - 1 / SCALE**2)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Estimate of one frame.

    Parameters
    ----------
    image, variance : (H, W) float32
        Mean and variance of each pixel.
    shares : tuple of float
        Mean weight of the detail of each HR frame.
    lr_noise : float
        Mean noise variance of the LR frame, in squared HR units.
    """

    image: Float32Array
    variance: Float32Array
    shares: tuple[float, ...]
    lr_noise: float


def posterior(
    sequence: DualSequence, stretch: Stretch, target: int, consistency_passes: int
) -> Posterior:
    """Estimate the frame at an LR frame.

    Block means: HR frames weighted by their agreement with the LR frame, then corrected by what
    exceeds its noise. Detail: `detail_gains`. The variance is the sum of both and of
    the noise of one HR frame: it is that of the difference to a frame the HR camera would take.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    stretch : Stretch
        That the target lies in.
    target : int
        LR frame with at least one usable pixel.
    consistency_passes : int
        Times that the image is brought closer to the block means.
    """
    evidence = stretch.evidence(sequence, target)
    given = candidates(
        stretch.anchors, evidence, stretch.priors(float(sequence.lr_time_ns[target]))
    )
    errors = [candidate.error for candidate in given]
    prediction = weighted_mean([each.binned for each in given], errors, evidence.least)
    error = evidence.error(prediction, np.minimum.reduce(errors))
    mean = evidence.corrected(prediction, error)
    gains = detail_gains(given, stretch.law, evidence.least)

    image = upsample_cubic(mean)
    for candidate, weight in zip(given, gains.weights, strict=True):
        image += on_grid(weight) * candidate.detail
    for _ in range(consistency_passes):
        # Cubic upsampling does not keep block means exactly.
        image += upsample_cubic(mean - block_mean(image))

    noise = np.where(evidence.mask, evidence.noise, np.float32(np.inf))
    of_mean = error / (1 + error / noise)
    return Posterior(
        image=image,
        variance=on_grid(of_mean + _CONTRASTS * gains.variance + np.float32(stretch.law.hr_noise)),
        shares=tuple(float(weight.mean(dtype=np.float64)) for weight in gains.weights),
        lr_noise=float(evidence.noise.mean(dtype=np.float64)),
    )
