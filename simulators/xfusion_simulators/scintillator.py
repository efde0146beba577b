"""Dust and scratches on the scintillator: the same for both cameras, and always there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

SPECK_WIDTH_PX = (3.0, 8.0)
SPECK_LIGHT = (0.6, 0.95)
SCRATCH_SIGMA_PX = (0.6, 1.0)
SCRATCH_LENGTH_PX = (20.0, 120.0)
SCRATCH_LIGHT = (0.9, 0.98)
SHARPNESS = 4
"""Power of the specks' fall-off: flat in the middle, soft over about a pixel."""


def scintillator_light(
    shape: tuple[int, int], specks: int, scratches: int, seed: int
) -> Float32Array:
    """Light that gets through what lies on the scintillator.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the grid.
    specks, scratches : int
        How many, anywhere on the grid.
    seed : int
        Where, and how dark.

    Returns
    -------
    (rows, columns) float32, 1 = clean
    """
    rng = np.random.default_rng([seed, 0xD057])
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    light = np.ones(shape)
    for _ in range(specks):
        at = rng.uniform((0, 0), shape)
        half = rng.uniform(*SPECK_WIDTH_PX, size=2) / 2
        along, across = _turned(rows - at[0], columns - at[1], rng.uniform(0, np.pi))
        radius = np.hypot(along / half[0], across / half[1])
        light *= 1 - (1 - rng.uniform(*SPECK_LIGHT)) * np.exp(-np.log(2) * radius**SHARPNESS)
    for _ in range(scratches):
        at = rng.uniform((0, 0), shape)
        along, across = _turned(rows - at[0], columns - at[1], rng.uniform(0, np.pi))
        half_length = rng.uniform(*SCRATCH_LENGTH_PX) / 2
        sigma = rng.uniform(*SCRATCH_SIGMA_PX)
        beyond = np.maximum(np.abs(along) - half_length, 0)
        shadow = np.exp(-(across**2 + beyond**2) / (2 * sigma**2))
        light *= 1 - (1 - rng.uniform(*SCRATCH_LIGHT)) * shadow
    return light.astype(np.float32)


def _turned(
    rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], angle: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * rows + sine * columns, cosine * columns - sine * rows
