"""Clusters of LR pixels that change alike, and the statistics of each (K-means)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import vq

from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["Moments", "cluster", "cluster_count", "moments", "shrunk"]

Labels = npt.NDArray[np.int64]

_SEED_SAMPLE = 4096
_FEWEST_MEMBERS = 4


@dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of each cluster.

    Parameters
    ----------
    count : (K,) float64
        Members.
    mean : (K, T) float64
        Mean series.
    covariance : (K, T, T) float64
        Of the series, divided by ``count - 1``; zero for a single member.
    """

    count: Float64Array
    mean: Float64Array
    covariance: Float64Array


def cluster_count(lr_shape: tuple[int, int]) -> int:
    """Return the paper's number of clusters, 5 % of ``sqrt(h w)``, at least 1."""
    return max(1, round(0.05 * float(np.sqrt(lr_shape[0] * lr_shape[1]))))


def cluster(series: Float64Array, k: int, iterations: int, seed: int) -> Labels:
    """Assign each series to one of `k` clusters by K-means in the Euclidean distance.

    k-means++ on at most 4096 series, evenly taken, then Lloyd's iterations on all of them until
    nothing changes.

    Parameters
    ----------
    series : (n, T) float64
        One row a pixel.
    k : int
        Clusters; some stay empty when there are fewer different series.
    iterations : int
        At most.
    seed : int
        Of k-means++.

    Returns
    -------
    (n,) int64
        0..k-1.

    References
    ----------
    D. Arthur, S. Vassilvitskii, k-means++, SODA 2007; S. P. Lloyd, IEEE Trans. IT 28 (1982) 129.
    """
    if k == 1:
        return np.zeros(len(series), dtype=np.int64)
    centres = _seeds(series[:: -(-len(series) // _SEED_SAMPLE)], k, np.random.default_rng(seed))
    labels = _nearest(series, centres)
    for _ in range(iterations):
        count = np.bincount(labels, minlength=k)
        filled = count > 0
        for axis in range(series.shape[1]):
            total = np.bincount(labels, series[:, axis], k)
            centres[filled, axis] = total[filled] / count[filled]
        before, labels = labels, _nearest(series, centres)
        if np.array_equal(before, labels):
            break
    return labels


def moments(series: Float64Array, labels: Labels, k: int) -> Moments:
    """Return count, mean and covariance of each cluster.

    Parameters
    ----------
    series : (n, T) float64
        One row a pixel.
    labels : (n,) int64
        Cluster of each.
    k : int
        Clusters.
    """
    count = np.bincount(labels, minlength=k).astype(np.float64)
    members = np.maximum(count, 1)
    length = series.shape[1]
    mean = np.empty((k, length))
    for t in range(length):
        mean[:, t] = np.bincount(labels, series[:, t], k) / members
    centred = series - mean[labels]
    covariance = np.empty((k, length, length))
    for s in range(length):
        for t in range(s, length):
            total = np.bincount(labels, centred[:, s] * centred[:, t], k)
            covariance[:, s, t] = covariance[:, t, s] = total / np.maximum(count - 1, 1)
    return Moments(count, mean, covariance)


def shrunk(of: Moments, weight: float) -> Float64Array:
    """Draw the covariance of small clusters towards the pooled one.

    ``(n_c S_c + weight S_pool) / (n_c + weight)``; a cluster of fewer than 4 takes S_pool.

    Parameters
    ----------
    of : Moments
        Of the clusters.
    weight : float
        Members that the pooled covariance counts for, >= 0.

    Returns
    -------
    (K, T, T) float64
    """
    freedom = np.maximum(of.count - 1, 0)
    pooled = np.tensordot(freedom, of.covariance, axes=1) / max(float(freedom.sum()), 1.0)
    count = of.count[:, None, None]
    blend = (count * of.covariance + weight * pooled) / np.maximum(count + weight, 1)
    chosen: Float64Array = np.where(count < _FEWEST_MEMBERS, pooled, blend)
    return chosen


def _seeds(sample: Float64Array, k: int, rng: np.random.Generator) -> Float64Array:
    centres = np.empty((k, sample.shape[1]))
    centres[0] = sample[rng.integers(len(sample))]
    nearest2 = np.full(len(sample), np.inf)
    for c in range(1, k):
        np.minimum(nearest2, np.square(sample - centres[c - 1]).sum(axis=1), out=nearest2)
        cumulative = np.cumsum(nearest2)
        # All series equal: any one will do, the cluster stays empty.
        place = int(np.searchsorted(cumulative, rng.random() * cumulative[-1]))
        centres[c] = sample[min(place, len(sample) - 1)]
    return centres


def _nearest(series: Float64Array, centres: Float64Array) -> Labels:
    labels: Labels = vq(series, centres, check_finite=False)[0].astype(np.int64)
    return labels
