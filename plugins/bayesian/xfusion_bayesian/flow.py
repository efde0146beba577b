"""Motion from one image to another, and images carried along it."""

from __future__ import annotations

import cv2
import numpy as np

from xfusion_bayesian.evidence import smooth
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.operators import SCALE, upsample_cubic

__all__ = ["motion", "warped", "warped_mask"]

_GREY_LEVELS = 255
_PERCENTILES = (0.1, 99.9)
_SMOOTHING_PX = 1.0
_LEAST_SIDE_PX = 48
"""OpenCV's search reads outside smaller images: its pyramid follows from the width alone."""


def motion(here: Float32Array, there: Float32Array) -> Float32Array:
    """Find where each fused pixel of one LR image is in another (dense inverse search).

    Parameters
    ----------
    here, there : (h, w) float32
        LR images of two times.

    Returns
    -------
    (4 h, 4 w, 2) float32
        Columns and rows to add to a position in `here`, fused pixels.

    References
    ----------
    T. Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016; the preset "medium"
    of OpenCV.
    """
    low, high = np.percentile(np.stack([here, there]), _PERCENTILES)
    scale = _GREY_LEVELS / max(float(high - low), 1e-30)
    grey = [_grey(image, float(low), scale) for image in (here, there)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), dtype=np.float32))
    height, width = SCALE * here.shape[0], SCALE * here.shape[1]
    return np.asarray(flow[:height, :width], dtype=np.float32)


def warped(image: Float32Array, flow: Float32Array) -> Float32Array:
    """Sample an image where the flow points to, by cubic interpolation.

    Parameters
    ----------
    image : (H, W) float32
        Any; its border is replicated.
    flow : (H, W, 2) float32
        From `motion`.
    """
    return _sampled(image, flow, cv2.INTER_CUBIC)


def warped_mask(mask: BoolArray, flow: Float32Array) -> BoolArray:
    """Return where the flow points to usable pixels only."""
    return _sampled(mask.astype(np.float32), flow, cv2.INTER_LINEAR) > 1 - 1e-3


def _grey(
    image: Float32Array, low: float, scale: float
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    levels = smooth(upsample_cubic((image - np.float32(low)) * np.float32(scale)), _SMOOTHING_PX)
    grey = np.clip(np.rint(levels), 0, _GREY_LEVELS).astype(np.uint8)
    missing = [max(0, _LEAST_SIDE_PX - side) for side in grey.shape]
    return np.pad(grey, ((0, missing[0]), (0, missing[1])), mode="edge")


def _sampled(image: Float32Array, flow: Float32Array, how: int) -> Float32Array:
    height, width = image.shape
    columns = flow[..., 0] + np.arange(width, dtype=np.float32)
    rows = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    sampled = cv2.remap(image, columns, rows, how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=np.float32)
