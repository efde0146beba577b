"""What the HR neighbours say about the frame at the target, by the statistics of the LR pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from xfusion_bayesian.anchors import Anchor
from xfusion_bayesian.clusters import Labels, Moments
from xfusion_bayesian.gaussian import Prediction, condition
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.operators import SCALE, block_mean, upsample_cubic, upsample_nearest

__all__ = ["Prior", "predict", "variance_ratio"]


@dataclass(frozen=True, eq=False)
class Prior:
    """Prediction of one frame, independent from pixel to pixel.

    Parameters
    ----------
    mean, variance : (H, W) float32
        Of each pixel.
    shares : tuple of float
        Mean weight of each neighbour in the prediction; what is missing to 1 is neither's.
    """

    mean: Float32Array
    variance: Float32Array
    shares: tuple[float, ...]


def predict(
    anchors: Sequence[Anchor],
    y: Float64Array,
    labels: Labels,
    statistics: Moments,
    hr_noise: float,
    scale: Float64Array,
    floor: float,
) -> Prior:
    """Condition every pixel on the HR neighbours that the camera saw there.

    Parameters
    ----------
    anchors : sequence of Anchor
        HR neighbours, in the order of the series after the target.
    y : (h, w) float64
        LR frame in the units of the HR frames; stands in where no neighbour was seen.
    labels : (h w,) int64
        Cluster of each LR pixel.
    statistics : Moments
        Mean and covariance of the series (target, neighbours...) of each cluster.
    hr_noise, floor : float
        Noise variance of the HR frames, least variance of the prediction.
    scale : (K,) float64
        Factor on the variance of each cluster.
    """
    everywhere = all(anchor.mask.all() for anchor in anchors)
    cases = [(True,) * len(anchors)] if everywhere else product((True, False), repeat=len(anchors))
    mean = np.empty(anchors[0].image.shape, dtype=np.float32)
    variance = np.empty_like(mean)
    shares = np.zeros(len(anchors))
    for case in cases:
        given = tuple(1 + k for k, seen in enumerate(case) if seen)
        found = condition(statistics.mean, statistics.covariance, 0, given, hr_noise, floor)
        where = _seen_by(anchors, case)
        if not where.any():
            continue
        used = [anchor.image for anchor, seen in zip(anchors, case, strict=True) if seen]
        image = _regressed(used, y, labels, found)
        spread = _on_grid((found.variance * scale)[labels], y.shape)
        np.copyto(mean, image, where=where)
        np.copyto(variance, spread, where=where)
        weights = np.abs(found.slopes)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
        part = float(where.mean()) * (statistics.count @ weights) / statistics.count.sum()
        shares[[k - 1 for k in given]] += part
    return Prior(mean, variance, tuple(shares.tolist()))


def variance_ratio(anchors: Sequence[Anchor], labels: Labels, statistics: Moments) -> Float64Array:
    """HR variance over LR variance of each cluster, mean over the neighbours, within [1, 16].

    The statistics are those of block means; single HR pixels vary more.

    Parameters
    ----------
    anchors, labels, statistics
        As for `predict`.
    """
    k = len(statistics.count)
    members = np.maximum(statistics.count, 1)
    ratios = np.zeros((len(anchors), k))
    for place, anchor in enumerate(anchors):
        level = np.bincount(labels, anchor.binned.ravel(), k) / members
        centred = anchor.image - _on_grid(level[labels], anchor.binned.shape)
        power = np.bincount(labels, block_mean(np.square(centred)).ravel(), k) / members
        ratios[place] = power / statistics.covariance[:, 1 + place, 1 + place]
    limited: Float64Array = np.clip(ratios.mean(axis=0), 1, SCALE**2)
    return limited


def _regressed(
    used: Sequence[Float32Array], y: Float64Array, labels: Labels, found: Prediction
) -> Float32Array:
    if not used:
        return upsample_cubic(y)
    image = _on_grid(found.offset[labels], y.shape)
    for slope, frame in zip(found.slopes.T, used, strict=True):
        image += _on_grid(slope[labels], y.shape) * frame
    return image


def _seen_by(anchors: Sequence[Anchor], case: tuple[bool, ...]) -> BoolArray:
    where = np.ones(anchors[0].mask.shape, dtype=np.bool_)
    for anchor, seen in zip(anchors, case, strict=True):
        where &= anchor.mask if seen else ~anchor.mask
    return where


def _on_grid(values: Float64Array, lr_shape: tuple[int, ...]) -> Float32Array:
    return upsample_nearest(values.reshape(lr_shape))
