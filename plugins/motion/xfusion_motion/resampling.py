"""Resizing, smoothing and warping with OpenCV; flows are (rows, columns, 2) with x before y."""

from __future__ import annotations

import cv2
import numpy as np

from xfusion_bluesky.fusion.operators import SCALE
from xfusion_motion.interval import Image

__all__ = [
    "enlarge_flow",
    "halve",
    "reduce_flow",
    "smooth",
    "upsample_cubic",
    "upsample_linear",
    "warp",
]


def upsample_cubic(image: Image, factor: int = SCALE) -> Image:
    """Upsample with Keys' cubic kernel; for factor 4 the operator U3 to float32 rounding."""
    return _resized(image, factor, cv2.INTER_CUBIC)


def upsample_linear(image: Image, factor: int = SCALE) -> Image:
    """Upsample linearly with half-pixel centres; never leaves the range of the image."""
    return _resized(image, factor, cv2.INTER_LINEAR)


def halve(image: Image) -> Image:
    """Bin 2 x 2 pixels."""
    height, width = image.shape[:2]
    half: Image = cv2.resize(
        np.ascontiguousarray(image), (width // 2, height // 2), interpolation=cv2.INTER_AREA
    )
    return half


def smooth(image: Image, sigma_px: float) -> Image:
    """Filter with a Gaussian; the border is reflected."""
    blurred: Image = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return blurred


def warp(image: Image, flow: Image, cubic: bool = True) -> Image:
    """Sample `image` at ``p + flow(p)``; what lies outside is the nearest border pixel.

    Parameters
    ----------
    image : (n, m) or (n, m, 2) float32
        Image, or flow to be composed with another.
    flow : (n, m, 2) float32
        Displacement (x, y) in pixels of `image`.
    cubic : bool
        Cubic kernel, which keeps HR detail; linear otherwise.
    """
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    moved: Image = cv2.remap(
        np.ascontiguousarray(image),
        columns + flow[..., 0],
        rows + flow[..., 1],
        cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved


def enlarge_flow(flow: Image, factor: int = 2) -> Image:
    """Bring a flow onto a grid `factor` times finer; displacements grow with it."""
    return _resized(flow, factor, cv2.INTER_LINEAR) * np.float32(factor)


def reduce_flow(flow: Image) -> Image:
    """Bring a flow onto a grid of half the size; displacements shrink with it."""
    return halve(flow) * np.float32(0.5)


def _resized(image: Image, factor: int, interpolation: int) -> Image:
    height, width = image.shape[:2]
    larger: Image = cv2.resize(
        np.ascontiguousarray(image, dtype=np.float32),
        (width * factor, height * factor),
        interpolation=interpolation,
    )
    return larger
