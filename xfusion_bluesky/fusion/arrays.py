"""Array types of the science floor, and how pixels without a value are filled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["BoolArray", "Float32Array", "Float64Array", "fill_masked"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def fill_masked(image: Float32Array, mask: BoolArray) -> Float32Array:
    """Give every masked pixel the value of its nearest usable pixel.

    Filters and splines would otherwise spread one NaN over its whole neighbourhood.

    Parameters
    ----------
    image : (h, w) float32
        Any intensities; values under the mask are ignored and may be NaN.
    mask : (h, w) bool
        True = usable.

    Returns
    -------
    (h, w) float32
        `image` itself when every pixel is usable; all NaN when none is.
    """
    if mask.all():
        return image
    if not mask.any():
        return np.full(image.shape, np.nan, dtype=np.float32)
    rows, columns = ndimage.distance_transform_edt(
        ~mask, return_distances=False, return_indices=True
    )
    filled: Float32Array = image[rows, columns]
    return filled
