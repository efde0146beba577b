"""Small synthetic bursts whose truth is known at every time, for trying out backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import SCALE, block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["LR_INTERVAL_NS", "Scene", "blob", "constant", "moving_blobs", "uneven", "with_photons"]

LR_INTERVAL_NS = 1000.0
"""Time between the LR frames of every scene here."""

_BACKGROUND = 0.8
_SEED = 20260511


@dataclass(frozen=True, eq=False)
class Scene:
    """A burst, and what its fused frames should look like.

    Parameters
    ----------
    truth : (n_lr, H, W) float32
        The scene at the time of each LR frame, in transmission.
    lr : (n_lr, h, w) float32
        What the fast camera saw.
    hr : (n_hr, H, W) float32
        What the sharp camera saw.
    hr_at : (n_hr,) float
        Its times in LR frames; they need not be whole numbers.
    noise : NoiseModel
        Of `lr`.
    """

    truth: Float32Array
    lr: Float32Array
    hr: Float32Array
    hr_at: tuple[float, ...]
    noise: NoiseModel

    @classmethod
    def of(
        cls,
        image: Callable[[float], npt.ArrayLike],
        n_lr: int = 12,
        hr_at: Sequence[float] = (2.3, 6.3, 10.3),
    ) -> Scene:
        """Let both cameras look, without noise.

        Parameters
        ----------
        image : callable
            Gives the (H, W) scene at a time in LR frames.
        n_lr : int
            LR frames, at times 0, 1, ...
        hr_at : sequence of float
            Times of the HR frames in LR frames. The default leaves LR frames before the first
            HR frame and after the last one.
        """
        truth = np.asarray([image(float(t)) for t in range(n_lr)], dtype=np.float32)
        empty = np.zeros((0, *truth.shape[1:]), dtype=np.float32)
        hr = np.asarray([image(float(t)) for t in hr_at], dtype=np.float32) if hr_at else empty
        return cls(truth, block_mean(truth), hr, tuple(hr_at), NoiseModel())

    def sequence(self, **options: Any) -> DualSequence:
        """Return the burst as a backend gets it.

        Parameters
        ----------
        **options
            For `DualSequence.from_arrays`, for instance ``lr_valid``; ``lr`` and ``hr`` replace
            the frames.
        """
        given: Mapping[str, Any] = {"lr": self.lr, "hr": self.hr, "noise": self.noise, **options}
        return DualSequence.from_arrays(
            lr_time_ns=LR_INTERVAL_NS * np.arange(len(self.lr)),
            hr_time_ns=LR_INTERVAL_NS * np.asarray(self.hr_at, dtype=np.float64),
            **given,
        )


def with_photons(scene: Scene, blank_photons: float) -> Scene:
    """Return the scene with photon noise on its LR frames, always the same.

    Parameters
    ----------
    scene : Scene
        Without noise.
    blank_photons : float
        Photons of an LR pixel at transmission 1.
    """
    noisy = poisson(scene.lr, blank_photons, np.random.default_rng(_SEED))
    noise = NoiseModel.from_blank_photons(blank_photons)
    return Scene(scene.truth, noisy, scene.hr, scene.hr_at, noise)


def constant(level: float, lr_shape: tuple[int, int] = (8, 10)) -> Scene:
    """Return a scene in which nothing is and nothing happens."""
    image = np.full(_fused(lr_shape), level, dtype=np.float32)
    return Scene.of(lambda t: image)


def blob(
    lr_shape: tuple[int, int] = (16, 20), shift_px: tuple[int, int] = (0, 0), **options: Any
) -> Scene:
    """Return one dark blob that moves to the right over an even background.

    Parameters
    ----------
    lr_shape : (int, int)
        Height and width in LR pixels.
    shift_px : (int, int)
        Moves the whole scene by (rows, columns) on the fused grid.
    **options
        For `Scene.of`.
    """
    rows, columns = np.indices(_fused(lr_shape), dtype=np.float64)
    height, width = _fused(lr_shape)
    middle = (height // 2 - 6 + shift_px[0], width // 2 - 12 + shift_px[1])

    def image(t: float) -> npt.ArrayLike:
        return _BACKGROUND - 0.5 * _gauss(rows - middle[0], columns - middle[1] - t, 3.0)

    return Scene.of(image, **options)


def uneven(lr_shape: tuple[int, int] = (8, 10), **options: Any) -> Scene:
    """Return a blob that moves over a fine, resting texture; parameters as for `blob`."""
    texture = 0.1 * np.random.default_rng(_SEED).random(_fused(lr_shape))
    rows, columns = np.indices(_fused(lr_shape), dtype=np.float64)
    height, width = _fused(lr_shape)

    def image(t: float) -> npt.ArrayLike:
        dark = _gauss(rows - height / 2, columns - width / 4 - width / 24 * t, 3.0)
        return _BACKGROUND - texture - 0.4 * dark

    return Scene.of(image, **options)


def moving_blobs() -> Scene:
    """Return the scene backends are compared on: 25 frames of 128 x 160 px, HR every sixth.

    Eight blobs of 1.5 to 4 px radius drift up to 2 px a frame along each axis in front of a
    resting texture; LR pixels count 10 000 photons at transmission 1. All of it follows from one
    seed.
    """
    rng = np.random.default_rng(_SEED)
    height, width = shape = _fused((32, 40))
    rows, columns = np.indices(shape, dtype=np.float64)
    texture: npt.NDArray[np.float64] = 0.2 * ndimage.gaussian_filter(rng.random(shape), 1.5)
    places = rng.uniform((0.1 * height, 0.1 * width), (0.9 * height, 0.9 * width), (8, 2))
    speeds = rng.uniform(-2, 2, (8, 2))
    radii = rng.uniform(1.5, 4, 8)

    def image(t: float) -> npt.ArrayLike:
        dark = np.zeros(shape)
        for place, speed, radius in zip(places, speeds, radii, strict=True):
            row, column = place + t * speed
            dark += 0.4 * _gauss(rows - row, columns - column, float(radius))
        return _BACKGROUND - texture - np.minimum(dark, 0.5)

    return with_photons(Scene.of(image, n_lr=25, hr_at=(0, 6, 12, 18, 24)), 1e4)


def _fused(lr_shape: tuple[int, int]) -> tuple[int, int]:
    return SCALE * lr_shape[0], SCALE * lr_shape[1]


def _gauss(
    rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], radius_px: float
) -> npt.NDArray[np.float64]:
    square: npt.NDArray[np.float64] = rows**2 + columns**2
    return np.exp(-square / (2 * radius_px**2))
