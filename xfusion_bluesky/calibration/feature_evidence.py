"""Which lattice shift lays the irregular features of both cameras on one another."""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from xfusion_bluesky.calibration.irregular_features import FeaturePair
from xfusion_bluesky.calibration.lattice_hypotheses import (
    SYMMETRIES,
    Evidence,
    Hypotheses,
    Method,
)
from xfusion_bluesky.fusion.arrays import Float32Array, Float64Array

__all__ = ["feature_evidence"]

_LEAST_SIGNIFICANCE = 6.0
"""In standard deviations of the wrong hypotheses; below, there are no common features."""

_LEAST_GAP = 4.0
"""To the second best, same unit. Of 5000 wrong ones the best two differ by 0.3 on average."""

_LEAST_SHARE = 0.25
"""Of the best score by which it must lead."""

_CHALLENGERS = 8
_SPOTS_LEFT_OUT = 2


def feature_evidence(
    method: Method, pairs: list[FeaturePair], hypotheses: Hypotheses
) -> Evidence | None:
    """Correlate features of both cameras under every hypothesis.

    Scores are sums of products over the overlap, in standard deviations of all hypotheses. The
    best one must lead with and without the two spots that speak most for it: spots that fall on
    each other by chance decide nothing.

    Parameters
    ----------
    method : str
        Name of the evidence.
    pairs : list of FeaturePair
        Seen through the same cameras; their scores are added.
    hypotheses : Hypotheses
        To judge.

    Returns
    -------
    Evidence or None
        None when no hypothesis shows common features.
    """
    total = np.zeros(len(hypotheses))
    for pair in pairs:
        total += _sums(pair, hypotheses)
    centre = np.median(total)
    spread = 1.4826 * float(np.median(np.abs(total - centre)))
    if spread <= 0:
        return None
    score = (total - centre) / spread
    order = np.argsort(score)[::-1]
    best = order[0]
    if score[best] < _LEAST_SIGNIFICANCE:
        return None
    margin = _least_margin(pairs, hypotheses.affine[order[:_CHALLENGERS]], spread)
    lead = score[best] - score
    return Evidence(method, score, margin * lead / max(lead[order[1]], 1e-9))


def _sums(pair: FeaturePair, hypotheses: Hypotheses) -> Float64Array:
    found = np.zeros(len(hypotheses))
    for number in range(len(SYMMETRIES)):
        chosen = np.flatnonzero(hypotheses.symmetry == number)
        if not chosen.size:
            continue
        affine = hypotheses.affine[chosen]
        corner, canvas = _on_lr_scale(pair.hr, affine[0])
        # Under a hypothesis LR pixel q is at canvas pixel q + lag.
        inverse = np.linalg.inv(affine[0, :, :2])
        lag = (affine[:, :, 2] - affine[0, :, 2]) @ inverse.T - corner
        found[chosen] = _products(pair.lr, canvas, lag)
    return found


def _on_lr_scale(hr: Float32Array, affine: Float64Array) -> tuple[Float64Array, Float32Array]:
    """Resample a whole HR image on LR pixels; the first array is the LR position of its corner."""
    inverse = np.linalg.inv(affine[:, :2])
    ends = np.array([[r, c] for r in (0, hr.shape[0] - 1) for c in (0, hr.shape[1] - 1)])
    mapped = (ends - affine[:, 2]) @ inverse.T
    corner, last = np.floor(mapped.min(axis=0)), np.ceil(mapped.max(axis=0))
    shape = tuple((last - corner + 1).astype(int))
    offset = affine[:, :2] @ corner + affine[:, 2]
    return corner, _resampled(hr, affine[:, :2], offset, shape)


def _resampled(
    image: Float32Array, matrix: Float64Array, offset: Float64Array, shape: tuple[int, ...]
) -> Float32Array:
    usable = np.isfinite(image)
    filled = np.where(usable, image, 0)
    out = {"output_shape": shape, "order": 1, "mode": "constant", "output": np.float32}
    values = ndimage.affine_transform(filled, matrix, offset, **out)
    weight = ndimage.affine_transform(usable.astype(np.float32), matrix, offset, **out)
    resampled: Float32Array = np.where(weight > 0.99, values, np.nan).astype(np.float32)
    return resampled


def _products(lr: Float32Array, canvas: Float32Array, lag: Float64Array) -> Float64Array:
    """Sum of products over the overlap at fractional lags.

    A correlation coefficient would be high where nothing but one spot of each camera remains.
    """
    sides = [
        fft.next_fast_len(a + b, real=True) for a, b in zip(lr.shape, canvas.shape, strict=True)
    ]
    first, second = (fft.rfft2(np.nan_to_num(each), sides) for each in (lr, canvas))
    plane = fft.irfft2(np.conj(first) * second, sides)
    position = lag.T % np.array(sides)[:, None]
    products: Float64Array = ndimage.map_coordinates(
        plane, position, output=np.float64, order=1, mode="grid-wrap"
    )
    return products


def _least_margin(pairs: list[FeaturePair], affine: Float64Array, spread: float) -> float:
    """Lead of the first hypothesis, with its best spots and without; 1 is just enough."""
    scores = np.zeros(len(affine))
    spots: list[tuple[float, int, Float64Array]] = []
    products = [[_product(pair, each) for each in affine] for pair in pairs]
    for k, of_pair in enumerate(products):
        scores += [float(each.sum()) for each in of_pair]
        spots += [(value, k, at) for value, at in _spots(of_pair[0], pairs[k].grain_px)]
    margin = _margin(scores, spread)
    for _, k, at in sorted(spots, key=lambda spot: -spot[0])[:_SPOTS_LEFT_OUT]:
        rows, columns = np.ogrid[tuple(slice(side) for side in pairs[k].lr.shape)]
        near = np.hypot(rows - at[0], columns - at[1]) <= 3 * pairs[k].grain_px
        scores -= [float(each[near].sum()) for each in products[k]]
        margin = min(margin, _margin(scores, spread))
    return margin


def _margin(scores: Float64Array, spread: float) -> float:
    lead = float(scores[0] - scores[1:].max(initial=0.0))
    share = lead / max(float(scores[0]), 1e-9)
    return max(min(lead / spread / _LEAST_GAP, share / _LEAST_SHARE), 0.0)


def _product(pair: FeaturePair, affine: Float64Array) -> Float64Array:
    hr = _resampled(pair.hr, affine[:, :2], affine[:, 2], pair.lr.shape)
    product: Float64Array = np.nan_to_num(pair.lr * hr).astype(np.float64)
    return product


def _spots(product: Float64Array, grain_px: float) -> list[tuple[float, Float64Array]]:
    """Find what speaks most for a hypothesis: sums around the best pixels, one after another."""
    summed = ndimage.gaussian_filter(product, grain_px, mode="constant")
    rows, columns = np.ogrid[tuple(slice(side) for side in product.shape)]
    found = []
    for _ in range(_SPOTS_LEFT_OUT):
        at = np.array(np.unravel_index(int(np.argmax(summed)), summed.shape), dtype=np.float64)
        found.append((float(summed.max()) * grain_px**2, at))
        summed[np.hypot(rows - at[0], columns - at[1]) <= 3 * grain_px] = 0
    return found
