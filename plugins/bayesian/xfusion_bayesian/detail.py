"""What the LR frame cannot show: the 15 contrasts of a block, estimated from both HR frames.

Block mean and contrasts are independent when the prior treats the pixels of a block alike, so
each has an estimate of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from xfusion_bayesian.candidate import Candidate
from xfusion_bayesian.evidence import smooth
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.operators import block_mean

__all__ = ["DetailError", "DetailGains", "detail_gains", "gains"]

Floats = npt.NDArray[np.floating]

_GROUPS = 24
_TOP_GROUPS = 4
_FEWEST_IN_GROUP = 4
_QUIET_PERCENTILE = 20
_QUIET_PX = 1.5
_WINDOW_PX = 2.0
_SLOPE = 4.0
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class DetailError:
    """Error variance of a candidate's detail, given the error variance of its block means.

    Parameters
    ----------
    levels : (m,) float64
        Error variances of block means, increasing; empty when nothing is known.
    errors : (m,) float64
        Mean squared differences of detail there, not decreasing.
    hr_noise : float
        Noise variance of one HR frame's detail, contained twice in `errors`.
    """

    levels: Float64Array
    errors: Float64Array
    hr_noise: float

    @classmethod
    def unknown(cls) -> DetailError:
        """Return the rule without examples: an error in proportion."""
        return cls(np.zeros(0), np.zeros(0), 0.0)

    @classmethod
    def learned(cls, examples: Sequence[tuple[Candidate, Float32Array, BoolArray]]) -> DetailError:
        """Learn it where the HR frame at the target is known.

        Parameters
        ----------
        examples : sequence of (Candidate, (H, W) float32, (h, w) bool)
            Candidate, true detail, and LR pixels where that was seen.
        """
        errors, squares, quiet = [], [], []
        for candidate, truth, seen in examples:
            square = block_mean(np.square(candidate.detail - truth))
            both = candidate.seen & seen
            errors.append(candidate.error[both])
            squares.append(square[both])
            quiet.append(smooth(square, _QUIET_PX)[both])
        error = np.concatenate(errors).astype(np.float64)
        square = np.concatenate(squares).astype(np.float64)
        count = min(_GROUPS, len(error) // _FEWEST_IN_GROUP)
        if not count:
            return cls.unknown()
        groups = np.array_split(np.argsort(error, kind="stable"), count)
        groups[-1:] = [part for part in np.array_split(groups[-1], _TOP_GROUPS) if len(part)]
        weights = np.array([len(group) for group in groups], dtype=np.float64)
        means = np.array([square[group].mean() for group in groups])
        return cls(
            levels=np.array([error[group].mean() for group in groups]),
            errors=np.asarray(isotonic_regression(means, weights=weights).x),
            hr_noise=0.5 * float(np.percentile(np.concatenate(quiet), _QUIET_PERCENTILE)),
        )

    def at(self, error: Float32Array) -> Float32Array:
        """Return the error variance of detail beyond the noise of both HR frames."""
        if not self.levels.size:
            return np.float32(_SLOPE) * error
        inside = np.interp(error, self.levels, self.errors) - 2 * self.hr_noise
        beyond = _SLOPE * np.maximum(error - self.levels[-1], 0)
        return np.asarray(np.maximum(inside, 0) + beyond, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class DetailGains:
    """Weight of each candidate's detail, and what remains unknown.

    Parameters
    ----------
    weights : list of (h, w) float32
        In [0, 1], at most 1 in sum; what is missing to 1 leaves the upsampled LR frame.
    variance : (h, w) float32
        Posterior variance of the detail of a pixel.
    """

    weights: list[Float32Array]
    variance: Float32Array


def detail_gains(given: Sequence[Candidate], law: DetailError, least: float) -> DetailGains:
    """Weigh details by Gaussian conditioning with the variances found around each LR pixel.

    Variance V of the detail and covariance C of the two candidates are local means; the covariance
    with the unknown frame follows from the error of each candidate, ``V - error / 2``, because the
    scene is as detailed at one time as at the other.

    Parameters
    ----------
    given : sequence of Candidate
        One or two.
    law : DetailError
        Error of detail, and noise of the HR frames.
    least : float
        Least variance of detail, > 0.
    """
    seen = [candidate.seen.astype(np.float32) for candidate in given]
    count = smooth(np.sum(seen, axis=0), _WINDOW_PX)
    power = np.zeros_like(count)
    for candidate, share in zip(given, seen, strict=True):
        power += share * block_mean(np.square(candidate.detail))
    found = smooth(power, _WINDOW_PX) / np.maximum(count, np.float32(1e-6)) - law.hr_noise
    floor = max(least, _LEAST_SHARE * float(found.mean()))
    variance = np.maximum(found, np.float32(floor))
    across = [
        share * np.maximum(variance - law.at(candidate.error) / 2, 0)
        for candidate, share in zip(given, seen, strict=True)
    ]
    if len(given) == 1:
        solved: list[Floats] = [across[0] / (variance + np.float32(law.hr_noise))]
    else:
        both = seen[0] * seen[1]
        shared = smooth(both * block_mean(given[0].detail * given[1].detail), _WINDOW_PX)
        shared /= np.maximum(smooth(both, _WINDOW_PX), np.float32(1e-6))
        solved = gains(variance, law.hr_noise, both * shared, across[0], across[1])
    weights = [np.asarray(weight, dtype=np.float32) for weight in solved]
    left = variance - np.sum([w * s for w, s in zip(weights, across, strict=True)], axis=0)
    return DetailGains(weights, np.maximum(left, np.float32(floor * _LEAST_SHARE)))


def gains(
    variance: Floats, hr_noise: float, shared: Floats, first: Floats, second: Floats
) -> list[Floats]:
    """Solve ``B [[V + q, C], [C, V + q]] = [S_0a, S_0b]`` and keep a convex combination.

    Parameters
    ----------
    variance : (h, w)
        V.
    hr_noise : float
        q.
    shared : (h, w)
        C; limited to [0, V].
    first, second : (h, w)
        S_0a, S_0b.

    Returns
    -------
    list of two (h, w) arrays
        Each in [0, 1], their sum at most 1.
    """
    own = variance + variance.dtype.type(hr_noise)
    # Equal, noise-free neighbours would make the system singular; either will do.
    common = np.clip(shared, 0, np.minimum(variance, own * variance.dtype.type(1 - 1e-4)))
    determinant = np.square(own) - np.square(common)
    pair = [
        np.clip((first * own - second * common) / determinant, 0, 1),
        np.clip((second * own - first * common) / determinant, 0, 1),
    ]
    excess = np.maximum(pair[0] + pair[1], 1)
    return [pair[0] / excess, pair[1] / excess]
