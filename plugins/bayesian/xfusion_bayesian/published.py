"""The published estimate of one frame: cluster, learn, predict, update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bayesian.anchors import Anchor, intensity_unit
from xfusion_bayesian.clusters import Moments, cluster, cluster_count, moments, shrunk
from xfusion_bayesian.gaussian import update_blocks
from xfusion_bayesian.observation import Observation, calibrate, pairs
from xfusion_bayesian.prior import predict, variance_ratio
from xfusion_bluesky.fusion.arrays import Float32Array, Float64Array
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Estimate", "Settings", "estimate"]

_LEAST_NOISE = 1e-10
_LEAST_RIDGE = 1e-6
_LEAST_VARIANCE = 1e-9


@dataclass(frozen=True)
class Settings:
    """Parameters of the published method; `BayesianPaper` explains them."""

    clusters: int | None
    iterations: int
    shrinkage: float
    hr_noise: float
    seed: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """Posterior of one frame.

    Parameters
    ----------
    image, variance : (H, W) float32
        Mean, and diagonal of the covariance.
    shares : tuple of float
        Mean weight of each HR frame in the prediction.
    model : Observation
        Of the LR camera.
    """

    image: Float32Array
    variance: Float32Array
    shares: tuple[float, ...]
    model: Observation


def estimate(
    sequence: DualSequence,
    target: int,
    anchors: Sequence[Anchor],
    paired: Sequence[Anchor],
    settings: Settings,
) -> Estimate:
    """Estimate the HR frame at an LR frame from the HR frames around it.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    target : int
        LR frame with at least one usable pixel.
    anchors : sequence of Anchor
        HR frames around it: one, or two in the order of time.
    paired : sequence of Anchor
        HR frames that the LR camera is calibrated on.
    settings : Settings
        Of the method.
    """
    unit2 = intensity_unit(anchors) ** 2
    hr_noise = settings.hr_noise * unit2
    model = calibrate(*pairs(sequence, paired))
    if model is None:
        variance = sequence.noise.variance(sequence.lr(target)).mean(dtype=np.float64)
        model = Observation(1.0, 0.0, float(variance), 0)
    y = model.in_hr_units(sequence.lr(target))

    series = np.stack([y, *(_at_same_time(sequence, a, model) for a in anchors)], axis=-1)
    series = series.reshape(y.size, -1)
    k = cluster_count(y.shape) if settings.clusters is None else settings.clusters
    labels = cluster(series, k, settings.iterations, settings.seed)
    learned = moments(series, labels, k)
    ridge = max(hr_noise, _LEAST_RIDGE * unit2) * np.eye(series.shape[1])
    learned = Moments(learned.count, learned.mean, shrunk(learned, settings.shrinkage) + ridge)

    ratio = variance_ratio(anchors, labels, learned)
    prior = predict(anchors, y, labels, learned, hr_noise, ratio, _LEAST_VARIANCE * unit2)
    r = max(model.variance / model.gain**2, _LEAST_NOISE * unit2)
    # A masked LR pixel says nothing: the prediction stands there uncorrected.
    noise = np.where(sequence.lr_mask(target), r, np.inf)
    image, variance = update_blocks(prior.mean, prior.variance, y, noise)
    return Estimate(image, variance, prior.shares, model)


def _at_same_time(sequence: DualSequence, anchor: Anchor, model: Observation) -> Float64Array:
    """LR frame taken together with an HR frame, or what it would have shown."""
    if anchor.lr_index is None:
        return anchor.binned.astype(np.float64)
    return model.in_hr_units(sequence.lr(anchor.lr_index))
