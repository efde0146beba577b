"""Noise variances measured in the data themselves, where something else may be going on as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from xfusion_bluesky.fusion.operators import block_mean
from xfusion_motion.interval import Image

__all__ = ["MEDIAN_OF_SQUARE", "HRNoise", "checkered", "lowest_tenth"]

_BINS = 8
_LEAST_IN_BIN = 64
MEDIAN_OF_SQUARE = 0.4549
"""Median of the square of a standard normal number."""
_DETAIL_FREEDOMS = 15
"""Contrasts of a 4 x 4 block."""


def lowest_tenth(energies: npt.NDArray[np.floating], freedoms: int) -> float:
    """Variance of the noise in blocks of which most hold more than noise.

    The mean over the quietest tenth of the blocks, divided by what it is for pure white noise
    of unit variance: with X = chi^2_k / k, ``E[X | X < q] = P(chi^2_(k+2) < k q) / 0.1``.

    Parameters
    ----------
    energies : array
        Mean square in each block.
    freedoms : int
        Independent numbers in a block, k.
    """
    n = max(1, energies.size // 10)
    quiet = np.partition(energies.ravel(), n - 1)[:n].mean(dtype=np.float64)
    edge = special.gammaincinv(freedoms / 2, 0.1)
    return float(quiet / (special.gammainc(freedoms / 2 + 1, edge) / 0.1))


def checkered(image: Image) -> Image:
    """Return the finest diagonal Haar band: noise keeps its variance, most edges vanish."""
    even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    band: Image = even[0::2, 0::2] - even[0::2, 1::2] - even[1::2, 0::2] + even[1::2, 1::2]
    return band * np.float32(0.5)


@dataclass(frozen=True)
class HRNoise:
    """Variance of the noise of an HR pixel, ``max(alpha level + beta, least)``.

    Parameters
    ----------
    alpha, beta : float
        The highest line with alpha, beta >= 0 that lies below the noise found at every level:
        texture only adds to what is found, so the truth is not above any of it.
    least : float
        Noise in the detail of the quietest blocks; more than the line where noise is correlated
        between pixels, which the diagonal band does not see.
    """

    alpha: float
    beta: float
    least: float

    def variance(self, level: Image) -> Image:
        """Variance at each pixel of an image of local means."""
        line = np.maximum(level, 0) * np.float32(self.alpha) + np.float32(self.beta)
        noise: Image = np.maximum(line, np.float32(self.least))
        return noise

    @classmethod
    def measure(cls, images: list[Image], details: list[Image]) -> HRNoise:
        """Estimate from HR frames, each pair of neighbours in the lists close in time.

        Noise is what is left both in space (finest band of a frame) and in time (half the square
        of the difference of two frames); texture fails one test where it rests, the other where
        it moves.

        Parameters
        ----------
        images : list of (H, W) float32
            HR frames.
        details : list of (H, W) float32
            What the LR grid does not carry of each, ``x - U3 H x``.
        """
        pairs = list(zip(range(len(images) - 1), range(1, len(images)), strict=True))
        levels = np.concatenate([checkered_level(image) for image in images])
        in_space = np.concatenate([np.square(checkered(image)).ravel() for image in images])
        in_time = [
            np.square(checkered(images[i] - images[j])).ravel() / np.float32(2) for i, j in pairs
        ]
        at, found = _by_level(levels, in_space, np.concatenate(in_time) if in_time else None)
        alpha, beta = _line_below(at, found)
        least = float(
            np.median([lowest_tenth(block_mean(d * d), _DETAIL_FREEDOMS) for d in details])
        )
        if pairs:
            differences = [block_mean(np.square(details[i] - details[j])) / 2 for i, j in pairs]
            found_in_time = [lowest_tenth(energy, _DETAIL_FREEDOMS) for energy in differences]
            least = min(least, float(np.median(found_in_time)))
        return cls(alpha, beta, least)


def checkered_level(image: Image) -> Image:
    """Mean of the block around every value of `checkered`, in its order, flat."""
    mean = block_mean(image)
    return np.repeat(np.repeat(mean, 2, axis=0), 2, axis=1).ravel()


def _by_level(
    levels: Image, in_space: Image, in_time: Image | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Median noise in bins of equal population: levels of the bins, and variances."""
    edges = np.quantile(levels, np.linspace(0, 1, _BINS + 1)[1:-1])
    bins = np.searchsorted(edges, levels, side="right")
    at, found = [], []
    for k in range(_BINS):
        chosen = bins == k
        if np.count_nonzero(chosen) < _LEAST_IN_BIN:
            continue
        variance = float(np.median(in_space[chosen]))
        # The last frame has no successor, so `in_time` is one frame shorter.
        if in_time is not None and np.count_nonzero(chosen[: in_time.size]) >= _LEAST_IN_BIN:
            variance = min(variance, float(np.median(in_time[chosen[: in_time.size]])))
        at.append(max(float(np.median(levels[chosen])), 0.0))
        found.append(variance / MEDIAN_OF_SQUARE)
    if not at:
        return np.zeros(1), np.zeros(1)
    return np.array(at), np.array(found)


def _line_below(at: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset, both >= 0, of the line nowhere above `found` with the largest sum."""
    tiny = 1e-12 * float(found.max()) + 1e-300
    lines = [(0.0, float(found.min())), (float(np.min(found / np.maximum(at, 1e-300))), 0.0)]
    for i in range(at.size):
        for j in range(i):
            if at[i] != at[j]:
                slope = float((found[i] - found[j]) / (at[i] - at[j]))
                lines.append((slope, float(found[i] - slope * at[i])))
    allowed = [
        (slope, offset)
        for slope, offset in lines
        if slope >= 0 and offset >= 0 and np.all(slope * at + offset <= found * (1 + 1e-9) + tiny)
    ]
    return max(allowed, key=lambda line: float(np.sum(line[0] * at + line[1])))
