"""Where the nodes of a mesh are: a fit of its first harmonics around every node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["WINDOW_CELLS", "NodeFits", "fit_nodes"]

WINDOW_CELLS = 0.7
"""Sigma of the Gaussian window around a node, in pitches."""

_REACH = 2.5
"""Of the window, in sigmas."""

_HARMONICS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2))
_FASTEST = 0.45
"""Cycles a pixel; what is faster cannot be told from what is slower."""

_CHUNK = 256


@dataclass(frozen=True, eq=False)
class NodeFits:
    """What was found around each of n guesses.

    Parameters
    ----------
    position_px : (n, 2) float64
        Node, (row, column).
    sigma_px : (n,) float64
        Standard error along one axis, from what the fit leaves over; inf without enough pixels.
    modulation : (n,) float64
        Amplitude of the weaker fundamental, relative to the background.
    coverage : (n,) float64
        Share of the window on usable pixels.
    """

    position_px: Float64Array
    sigma_px: Float64Array
    modulation: Float64Array
    coverage: Float64Array


def fit_nodes(
    modulation: Float32Array,
    usable: BoolArray,
    vectors: Float64Array,
    guess_px: Float64Array,
) -> NodeFits:
    """Fit background and harmonics of the mesh in a window around each guess.

    All pixels of a cell say where its node is, and neither an edge of the frame, nor a masked
    pixel, nor a slope of the background shifts it, because harmonics and background are fitted
    together under the mask.

    Parameters
    ----------
    modulation : (h, w) float32
        Relative modulation.
    usable : (h, w) bool
        False = ignored.
    vectors : (2, 2) float64
        The two frequencies, cycles a pixel, one a row.
    guess_px : (n, 2) float64
        To within about 0.4 pitches.
    """
    parts = [
        _fit_chunk(modulation, usable, vectors, guess_px[k : k + _CHUNK])
        for k in range(0, len(guess_px), _CHUNK)
    ]
    return NodeFits(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _fit_chunk(
    modulation: Float32Array, usable: BoolArray, vectors: Float64Array, guess_px: Float64Array
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    pitch = float(1 / np.sqrt(abs(np.linalg.det(vectors))))
    sigma = WINDOW_CELLS * pitch
    reach = int(np.ceil(_REACH * sigma))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), axis=-1)
    offsets = offsets.reshape(-1, 2)
    offsets = offsets[np.square(offsets).sum(axis=1) <= reach**2]
    window = np.exp(-np.square(offsets).sum(axis=1) / (2 * sigma**2))
    basis = _basis(offsets, vectors)

    centre = np.round(guess_px).astype(int)
    rows, columns = (centre[:, None, :] + offsets).transpose(2, 0, 1)
    inside = (rows >= 0) & (rows < usable.shape[0]) & (columns >= 0) & (columns < usable.shape[1])
    rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
    weight = window * (inside & usable[rows, columns])
    values = modulation[rows, columns].astype(float)

    terms = basis.shape[1]
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    normal = (weight @ products).reshape(-1, terms, terms)
    spread = (np.square(weight) @ products).reshape(-1, terms, terms)
    coverage = weight.sum(axis=1) / window.sum()
    normal += 1e-9 * window.sum() * np.eye(terms)  # fits without pixels are thrown away later
    inverse = np.linalg.inv(normal)
    solution = np.einsum("nij,nj->ni", inverse, (weight * values) @ basis)
    left = values - solution @ basis.T
    covariance = inverse @ spread @ inverse
    # Degrees of freedom that the fit used up, so that small windows are not called precise.
    used = np.einsum("nij,nji->n", inverse, spread)
    variance = (weight * left**2).sum(axis=1) / np.maximum(weight.sum(axis=1) - used, 1e-9)

    moved, node_variance, amplitude = _node(solution, covariance, vectors)
    enough = coverage > 0.2
    error = np.where(enough, np.sqrt(np.maximum(variance * node_variance, 0)), np.inf)
    return centre + moved, error, amplitude, coverage


def _basis(offsets: Float64Array, vectors: Float64Array) -> Float64Array:
    scale = max(1.0, float(np.abs(offsets).max()))
    columns = [np.ones(len(offsets)), offsets[:, 0] / scale, offsets[:, 1] / scale]
    for order in _HARMONICS:
        frequency = np.array(order) @ vectors
        if np.hypot(*frequency) > _FASTEST and sum(map(abs, order)) > 1:
            continue
        phase = 2 * np.pi * (offsets @ frequency)
        columns += [np.cos(phase), np.sin(phase)]
    return np.stack(columns, axis=1)


def _node(
    solution: Float64Array, covariance: Float64Array, vectors: Float64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Node relative to the centre, its variance for unit noise, and the amplitude there."""
    phases, variances, amplitudes = [], [], []
    for k in (3, 5):  # cosine of the first and of the second fundamental
        a, b = solution[:, k], solution[:, k + 1]
        power = np.maximum(a**2 + b**2, 1e-30)
        phases.append(np.arctan2(b, a) / (2 * np.pi))
        variances.append(
            (
                b**2 * covariance[:, k, k]
                + a**2 * covariance[:, k + 1, k + 1]
                - 2 * a * b * covariance[:, k, k + 1]
            )
            / power**2
            / (2 * np.pi) ** 2
        )
        amplitudes.append(np.sqrt(power))
    inverse = np.linalg.inv(vectors)
    moved = np.stack(phases, axis=1) @ inverse.T
    variance = (np.stack(variances, axis=1) @ np.square(inverse).T).mean(axis=1)
    return moved, variance, np.minimum(*amplitudes)
