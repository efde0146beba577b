"""How true a variance is: some HR frames are estimated as if they were missing, and compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xfusion_bayesian.anchors import Anchor, Anchors
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.sequence import DualSequence, Neighbours

__all__ = ["variance_factor"]

_MOST = 4


def variance_factor(
    sequence: DualSequence,
    anchors: Anchors,
    estimate: Callable[[int, Neighbours], tuple[Float32Array, Float32Array]],
) -> float:
    """Return the factor that makes the variances of a method explain its errors.

    At most four HR frames, evenly spread over those that lie between two others and have an LR
    frame of their time, are estimated without themselves. The factor is the median over them of
    mean squared error over mean variance: of means, because a mean of ratios would be that of the
    few pixels with the least variance.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    anchors : Anchors
        Of the sequence.
    estimate : callable
        Called with an LR frame and two HR frames; returns image and variance, (H, W) float32.

    Returns
    -------
    float
        1 when there is no such HR frame.
    """
    usable = [int(j) for j in np.flatnonzero(sequence.hr_valid)]
    triples = list(zip(usable, usable[1:], usable[2:], strict=False))
    picked = np.unique(np.linspace(0, len(triples) - 1, _MOST).round().astype(int))
    ratios = []
    for before, j, after in (triples[k] for k in picked if triples):
        held = anchors.get(j)
        if held.lr_index is not None:
            found = estimate(held.lr_index, Neighbours(before, after))
            ratios.append(_ratio(held, *found))
    return float(np.median(ratios)) if ratios else 1.0


def _ratio(held: Anchor, image: Float32Array, variance: Float32Array) -> float:
    error = np.square(held.image - image).mean(where=held.mask, dtype=np.float64)
    return float(error / variance.mean(where=held.mask, dtype=np.float64))
