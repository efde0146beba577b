"""One HR frame carried to the time of an LR frame, and how far it may be off there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from xfusion_bayesian.anchors import Anchor
from xfusion_bayesian.evidence import excess_power, wiener
from xfusion_bayesian.flow import motion, warped, warped_mask
from xfusion_bayesian.observation import whole_blocks
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.operators import SCALE, block_mean, upsample_cubic

__all__ = ["Candidate", "Evidence", "candidates", "on_grid", "weighted_mean"]

_PATCH_NOISE = 0.1
"""Share of the LR noise that is left in the mean of about ten LR pixels."""

_UNSEEN = 5e4
"""Error of what the HR camera did not see, in least errors: the whole range of intensities."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the LR frame of a time says, in the units of the HR frames.

    Parameters
    ----------
    y : (h, w) float32
        The frame.
    noise : (h, w) float32
        Its variance.
    mask : (h, w) bool
        Usable pixels.
    least : float
        Error variance below which no image is trusted.
    """

    y: Float32Array
    noise: Float32Array
    mask: BoolArray
    least: float

    def error(self, binned: Float32Array, prior: Float32Array) -> Float32Array:
        """Return the error variance of block means, given what is expected of it."""
        return excess_power(self.y - binned, self.noise, prior, self.mask)

    def change(self, binned: Float32Array) -> Float32Array:
        """Return the part of the residual that is not noise; 0 far from usable pixels."""
        residual = np.where(self.mask, self.y - binned, np.float32(0))
        return wiener(residual, self.noise)

    def corrected(self, binned: Float32Array, error: Float32Array) -> Float32Array:
        """Return block means with the part of the residual added that is not noise.

        Parameters
        ----------
        binned : (h, w) float32
            Predicted block means.
        error : (h, w) float32
            Their error variance. Where it is far below the noise that is left in a patch of the LR
            frame, nothing is added.
        """
        share = error / (error + np.float32(_PATCH_NOISE) * self.noise)
        return np.asarray(binned + share * self.change(binned), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image that may show the scene at the time of the LR frame.

    Parameters
    ----------
    binned : (h, w) float32
        Its block mean.
    detail : (H, W) float32
        The image without what cubic upsampling of its block mean gives.
    error : (h, w) float32
        Error variance of `binned`.
    seen : (h, w) bool
        True where the HR camera saw the whole block.
    """

    binned: Float32Array
    detail: Float32Array
    error: Float32Array
    seen: BoolArray


def candidates(
    anchors: Sequence[Anchor], evidence: Evidence, priors: Sequence[Float32Array]
) -> list[Candidate]:
    """Carry HR frames to the time of an LR frame: at rest or along the motion, as it fits.

    The motion is found between the LR frame, denoised by help of the frames at rest, and the block
    mean of each HR frame, which has no LR noise.

    Parameters
    ----------
    anchors : sequence of Anchor
        HR frames.
    evidence : Evidence
        LR frame.
    priors : sequence of (h, w) float32
        Expected error variance of the block means of each at rest.
    """
    at_rest = [
        evidence.error(anchor.binned, prior) for anchor, prior in zip(anchors, priors, strict=True)
    ]
    still = weighted_mean([anchor.binned for anchor in anchors], at_rest, evidence.least)
    here = still + evidence.change(still)
    return [
        _candidate(anchor, motion(here, anchor.binned), error, evidence, prior)
        for anchor, error, prior in zip(anchors, at_rest, priors, strict=True)
    ]


def weighted_mean(
    images: Sequence[Float32Array], errors: Sequence[Float32Array], least: float
) -> Float32Array:
    """Average block means by the inverse of their error variances plus `least`."""
    weights = [1 / (error + np.float32(least)) for error in errors]
    total = np.zeros_like(images[0])
    for weight, image in zip(weights, images, strict=True):
        total += weight * image
    total /= np.sum(weights, axis=0)
    return total


def on_grid(lr: Float32Array) -> Float32Array:
    """Upsample a smooth LR map linearly to the fused grid."""
    size = (SCALE * lr.shape[1], SCALE * lr.shape[0])
    return np.asarray(cv2.resize(lr, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _candidate(
    anchor: Anchor,
    flow: Float32Array,
    error_at_rest: Float32Array,
    evidence: Evidence,
    prior: Float32Array,
) -> Candidate:
    moved = warped(anchor.image, flow)
    error_moved = evidence.error(block_mean(moved), prior)
    least = np.float32(evidence.least)
    rest2, moved2 = np.square(error_at_rest + least), np.square(error_moved + least)
    image = anchor.image + on_grid(rest2 / (rest2 + moved2)) * (moved - anchor.image)
    binned = block_mean(image)
    error = evidence.error(binned, prior)
    seen = np.ones(binned.shape, dtype=np.bool_)
    if not anchor.mask.all():
        seen = whole_blocks(anchor.mask & warped_mask(anchor.mask, flow))
        error = np.where(seen, error, np.float32(_UNSEEN * evidence.least))
    return Candidate(binned, image - upsample_cubic(binned), error, seen)
