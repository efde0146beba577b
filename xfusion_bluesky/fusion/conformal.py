"""Error bars that hold, for any backend: conformal calibration on held-out HR frames."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.holdout import HeldOut
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic, upsample_nearest
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["ConformalInterval", "changed_region", "spread"]

_SPREAD_SIGMA_PX = 2.0
_FEWEST_PIXELS = 64
_SIGNIFICANT = 3.0
_SMALLEST_SIGMA = 1e-6
_SAMPLED_PIXELS = 50_000


@dataclass(frozen=True)
class ConformalInterval:
    """Turns a standard deviation into an interval which covers the truth.

    A new frame has, with probability ``1 - alpha``, at most a share ``delta`` of its pixels
    outside ``image +- factor sqrt(sigma^2 + floor)``, resting and moving pixels apart. The promise
    holds for frames like the held-out ones, in the middle of twice the usual gap, and if all of
    them are alike; a scene that changes its character breaks it. Between usual HR frames it is
    approximate.

    Parameters
    ----------
    alpha, delta : float
        As above.
    resting, moving : float
        Factors of the two classes of pixels.
    floor : float
        Variance that every pixel has at least, in squared units of the frames: the error where
        nothing moves, most of it noise of the HR camera, which a backend cannot foresee.
    held_out : int
        Number of frames behind them.

    References
    ----------
    A. Angelopoulos, S. Bates, "A gentle introduction to conformal prediction and
    distribution-free uncertainty quantification" (2021), section 1: the quantile
    ``ceil((n + 1)(1 - alpha)) / n``.
    """

    alpha: float
    delta: float
    resting: float
    moving: float
    floor: float
    held_out: int

    @classmethod
    def fit(
        cls,
        held_out: Iterable[HeldOut],
        noise: NoiseModel,
        alpha: float = 0.1,
        delta: float = 0.05,
    ) -> ConformalInterval:
        """Calibrate on held-out frames.

        Parameters
        ----------
        held_out : iterable of HeldOut
            From `leave_one_out`; looked at one by one.
        noise : NoiseModel
            Of the LR frames, as `Screening.noise`: it separates moving from resting pixels.
        alpha, delta : float
            As above, between 0 and 1.

        Raises
        ------
        ValueError
            If there are fewer than ``1 / alpha - 1`` frames: no finite factor would hold then.
        """
        if not (0 < alpha < 1 and 0 < delta < 1):
            raise ValueError(f"alpha and delta must lie between 0 and 1, got {alpha} and {delta}")
        samples = [sample for held in held_out if (sample := _Sample.of(held, noise)) is not None]
        typical = [sample.typical_error for sample in samples]
        floor = float(np.median(typical)) ** 2 if typical else 0.0
        factors = [
            _quantile(
                [q for each in samples if (q := each.score(which, floor, delta)) is not None], alpha
            )
            for which in ("all", "resting", "moving")
        ]
        if not math.isfinite(factors[0]):
            raise ValueError(
                f"{len(samples)} held-out HR frames cannot give an interval at alpha={alpha}: at "
                f"least {math.ceil(1 / alpha - 1 - 1e-9)} are needed; with these, alpha must be "
                f"{1 / (len(samples) + 1):.2f} or more"
            )
        # A class that too few frames have takes the factor of all pixels.
        resting, moving = (each if math.isfinite(each) else factors[0] for each in factors[1:])
        return cls(alpha, delta, resting, moving, floor, len(samples))

    def half_width(
        self,
        sequence: DualSequence,
        target: int,
        image: Float32Array,
        noise: NoiseModel,
        variance: Float32Array | None = None,
    ) -> Float32Array:
        """Half width of the interval of each pixel, (H, W), in the units of the frames.

        Parameters
        ----------
        sequence, target, image, variance
            The burst, the LR frame, and what the backend made of it.
        noise : NoiseModel
            As for `fit`.
        """
        factor = np.where(
            changed_region(sequence, target, noise),
            np.float32(self.moving),
            np.float32(self.resting),
        )
        square = np.square(spread(sequence, target, image, variance))
        width: Float32Array = factor * np.sqrt(square + np.float32(self.floor))
        return width


@dataclass(frozen=True, eq=False)
class _Sample:
    """Pixels of one held-out frame, enough of them for its quantiles."""

    error: Float32Array
    square: Float32Array
    moving: BoolArray

    @classmethod
    def of(cls, held: HeldOut, noise: NoiseModel) -> _Sample | None:
        known = held.mask & np.isfinite(held.image)
        if not known.any():
            return None
        sigma = spread(held.sequence, held.target, held.image, held.variance)
        moving = changed_region(held.sequence, held.target, noise)
        every = max(1, int(known.sum()) // _SAMPLED_PIXELS) | 1  # odd: no column is preferred
        return cls(
            np.abs(held.truth - held.image)[known][::every],
            np.square(sigma)[known][::every],
            moving[known][::every],
        )

    @property
    def typical_error(self) -> float:
        """Robust standard deviation of the error, of the resting pixels if there are enough."""
        resting = self.error[~self.moving]
        return 1.4826 * float(np.median(resting if resting.size >= _FEWEST_PIXELS else self.error))

    def score(self, which: str, floor: float, delta: float) -> float | None:
        """Return the factor that leaves a share `delta` outside; None for too few pixels."""
        everywhere = np.ones_like(self.moving)
        chosen = {"all": everywhere, "resting": ~self.moving, "moving": self.moving}[which]
        error, square = self.error[chosen], self.square[chosen]
        if error.size < (1 if which == "all" else _FEWEST_PIXELS):
            return None
        scale = np.sqrt(square + np.float32(max(floor, _SMALLEST_SIGMA**2)))
        return float(np.quantile(error / scale, 1 - delta))


def spread(
    sequence: DualSequence,
    target: int,
    image: Float32Array,
    variance: Float32Array | None = None,
) -> Float32Array:
    """Return the deviation to calibrate: the backend's own, or how far simple answers differ.

    Without a variance it is the root mean square distance of the image from the HR frames before
    and after and from the upsampled LR frame, smoothed (Gaussian, 2 px): large where they
    disagree, which is where any backend has to guess.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    target : int
        LR frame.
    image : (H, W) float32
        Its reconstruction.
    variance : (H, W) float32, optional
        Of the image, from the backend.

    Returns
    -------
    (H, W) float32
        Above zero; pixels of the image that are not finite count as equal to the candidates.
    """
    if variance is None:
        near = sequence.neighbours(target)
        candidates = [sequence.hr(j) for j in (near.before, near.after) if j is not None]
        if sequence.lr_mask(target).any():
            candidates.append(upsample_cubic(sequence.lr(target)))
        if not candidates:
            raise ValueError(f"LR frame {target} has neither a usable pixel nor an HR neighbour")
        square = np.zeros(sequence.shape, dtype=np.float32)
        for candidate in candidates:
            square += np.nan_to_num(np.square(candidate - image), copy=False)
        variance = ndimage.gaussian_filter(square / np.float32(len(candidates)), _SPREAD_SIGMA_PX)
    sigma: Float32Array = np.sqrt(np.maximum(variance, np.float32(_SMALLEST_SIGMA**2)))
    return sigma


def changed_region(sequence: DualSequence, target: int, noise: NoiseModel) -> BoolArray:
    """Where the LR frame says that the scene differs from an HR frame before or after it.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    target : int
        LR frame.
    noise : NoiseModel
        Differences of more than 3 standard deviations count, widened by one LR pixel.

    Returns
    -------
    (H, W) bool
        All False when the LR frame is not usable or there is no HR frame.
    """
    mask = sequence.lr_mask(target)
    changed = np.zeros(mask.shape, dtype=np.bool_)
    y = sequence.lr(target)
    near = sequence.neighbours(target)
    for j in (near.before, near.after):
        if j is not None and mask.any():
            square = np.square(y - block_mean(sequence.hr(j)))
            changed |= mask & (square > _SIGNIFICANT**2 * noise.variance(y))
    widened = ndimage.maximum_filter(changed, size=3)
    region: BoolArray = upsample_nearest(widened) > 0.5
    return region


def _quantile(values: list[float], alpha: float) -> float:
    rank = math.ceil((len(values) + 1) * (1 - alpha) - 1e-9)
    return sorted(values)[rank - 1] if 0 < rank <= len(values) else math.inf
