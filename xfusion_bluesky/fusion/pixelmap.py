"""Where a pixel of the fused grid lies in the frames of the two cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array, fill_masked
from xfusion_bluesky.fusion.operators import SCALE

__all__ = ["PixelMap"]

Scalar = TypeVar("Scalar", bound=np.generic)

_INTEGER_TOLERANCE_PX = 1e-6


@dataclass(frozen=True, eq=False)
class PixelMap:
    """Map from the fused grid to both cameras, in (row, column) of pixel centres.

    Parameters
    ----------
    affine : (2, 3) float64
        Fused (row, column) to HR camera (row, column), px:
        ``hr = affine[:, :2] @ fused + affine[:, 2]``.
    lr_origin : (int, int)
        LR camera pixel at which the field begins.
    lr_shape : (int, int)
        Height and width of the field in LR pixels; the fused grid has 4 times as many.
    covariance : (6, 6) or (7, 7) float64, optional
        Of the six affine parameters in row-major order, and of the radial one; None = unknown.
    radial_per_px2 : float
        Distortion of the HR camera against the LR camera: what the affine map sends to ``a`` lies
        at ``c + (a - c) (1 + radial_per_px2 |a - c|^2)`` with c = `radial_centre_px`.
    radial_centre_px : (float, float)
        In HR camera (row, column).

    Raises
    ------
    ValueError
        If a shape is wrong, a number is not finite, or the affine map is singular.
    """

    affine: Float64Array
    lr_origin: tuple[int, int]
    lr_shape: tuple[int, int]
    covariance: Float64Array | None = None
    radial_per_px2: float = 0.0
    radial_centre_px: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        affine = _frozen(self.affine, (2, 3), "affine")
        if abs(float(np.linalg.det(affine[:, :2]))) < 1e-12:
            raise ValueError(f"PixelMap.affine is singular: {affine.tolist()}")
        object.__setattr__(self, "affine", affine)
        if self.covariance is not None:
            side = 7 if np.shape(self.covariance) == (7, 7) else 6
            covariance = _frozen(self.covariance, (side, side), "covariance")
            object.__setattr__(self, "covariance", covariance)
        if not np.isfinite([self.radial_per_px2, *self.radial_centre_px]).all():
            raise ValueError(f"the distortion of a PixelMap is not finite: {self.radial_per_px2}")
        if min(self.lr_origin) < 0 or min(self.lr_shape) < 1:
            raise ValueError(
                f"the field of a PixelMap must begin at pixels >= 0 and hold at least one, "
                f"got lr_origin={self.lr_origin}, lr_shape={self.lr_shape}"
            )

    @classmethod
    def nominal(cls, lr_frame_shape: tuple[int, int], hr_frame_shape: tuple[int, int]) -> PixelMap:
        """Both cameras centred on one field with exactly 4 HR pixels an LR pixel.

        The field is cropped to what both see and keeps whole LR pixels. An HR frame with an odd
        side is centred half an HR pixel off, so that warping stays an exact slice.

        Parameters
        ----------
        lr_frame_shape, hr_frame_shape : (int, int)
            Height and width of the cameras' frames.

        Raises
        ------
        ValueError
            If the HR frame is smaller than one LR pixel.
        """
        lr_origin, lr_shape, hr_origin = [], [], []
        for lr_side, hr_side in zip(lr_frame_shape, hr_frame_shape, strict=True):
            side = min(lr_side, hr_side // SCALE)
            if side < lr_side:
                side -= (lr_side - side) % 2  # an odd rest could not be split evenly
            if side < 1:
                raise ValueError(
                    f"LR frames {lr_frame_shape} and HR frames {hr_frame_shape} (height, width) "
                    f"share no field at {SCALE} HR pixels an LR pixel"
                )
            lr_shape.append(side)
            lr_origin.append((lr_side - side) // 2)
            hr_origin.append((hr_side - SCALE * side) // 2)
        return cls(
            affine=np.array([[1.0, 0.0, hr_origin[0]], [0.0, 1.0, hr_origin[1]]]),
            lr_origin=(lr_origin[0], lr_origin[1]),
            lr_shape=(lr_shape[0], lr_shape[1]),
        )

    @classmethod
    def from_lr_to_hr(
        cls,
        lr_to_hr: npt.ArrayLike,
        lr_frame_shape: tuple[int, int],
        hr_frame_shape: tuple[int, int],
        *,
        radial_per_px2: float = 0.0,
        covariance: Float64Array | None = None,
    ) -> PixelMap:
        """Map of a calibration, over the largest field of whole LR pixels that both cameras see.

        Parameters
        ----------
        lr_to_hr : (2, 3)
            LR camera (row, column) to HR camera (row, column), px.
        lr_frame_shape, hr_frame_shape : (int, int)
            Height and width of the cameras' frames.
        radial_per_px2 : float
            As for the class, about the middle of the HR frame.
        covariance : (6, 6) or (7, 7), optional
            Of `lr_to_hr`, row by row, and of `radial_per_px2`.

        Raises
        ------
        ValueError
            If the cameras share no field.
        """
        matrix = _frozen(lr_to_hr, (2, 3), "lr_to_hr")
        centre = ((hr_frame_shape[0] - 1) / 2, (hr_frame_shape[1] - 1) / 2)
        moved: Float64Array | None = None
        whole = cls(
            _onto_fused(matrix, (0, 0))[0],
            (0, 0),
            lr_frame_shape,
            radial_per_px2=radial_per_px2,
            radial_centre_px=centre,
        )
        seen = whole.valid_mask(np.ones(hr_frame_shape, dtype=np.bool_))
        h, w = lr_frame_shape
        blocks: BoolArray = np.all(seen.reshape(h, SCALE, w, SCALE), axis=(1, 3))
        origin, shape = _largest_rectangle(blocks)
        if min(shape) < 1:
            raise ValueError(
                f"LR frames {lr_frame_shape} and HR frames {hr_frame_shape} (height, width) share "
                f"no field under the map {matrix.round(4).tolist()}"
            )
        affine, jacobian = _onto_fused(matrix, origin)
        if covariance is not None:
            whole_jacobian = np.eye(len(covariance))
            whole_jacobian[:6, :6] = jacobian
            moved = whole_jacobian @ covariance @ whole_jacobian.T
        return cls(affine, origin, shape, moved, radial_per_px2, centre)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the fused grid."""
        return SCALE * self.lr_shape[0], SCALE * self.lr_shape[1]

    def hr_position(self, fused_px: npt.ArrayLike) -> Float64Array:
        """Return where points of the fused grid lie in the HR frame.

        Parameters
        ----------
        fused_px : (..., 2)
            (row, column) on the fused grid.

        Returns
        -------
        (..., 2) float64
            (row, column) in the HR frame.
        """
        points = np.asarray(fused_px, dtype=np.float64)
        straight = points @ self.affine[:, :2].T + self.affine[:, 2]
        if self.radial_per_px2 == 0:
            return straight
        centre = np.array(self.radial_centre_px)
        away = straight - centre
        bent: Float64Array = centre + away * (
            1 + self.radial_per_px2 * np.square(away).sum(axis=-1, keepdims=True)
        )
        return bent

    def crop_lr(self, lr_frame: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """View of the field in a frame, or mask, of the LR camera.

        Parameters
        ----------
        lr_frame : (height, width) array
            As the camera gives it.

        Raises
        ------
        ValueError
            If the field does not fit into the frame.
        """
        (row, column), (h, w) = self.lr_origin, self.lr_shape
        field = lr_frame[row : row + h, column : column + w]
        if field.shape != (h, w):
            raise ValueError(
                f"the field {self.lr_shape} at {self.lr_origin} does not fit into an LR frame of "
                f"shape {lr_frame.shape}; is this calibration of another readout region?"
            )
        return field

    def warp(self, hr_frame: npt.ArrayLike) -> Float32Array:
        """Bring an HR frame onto the fused grid.

        An integer shift is an exact slice; anything else is sampled with a cubic spline. Pixels
        that are not finite, or lie outside the frame, take the value of a nearest one: look at
        `valid_mask`.

        Parameters
        ----------
        hr_frame : (height, width)
            As the camera gives it.

        Returns
        -------
        (H, W) float32
        """
        frame = np.asarray(hr_frame, dtype=np.float32)
        frame = fill_masked(frame, np.isfinite(frame))
        shift = self._integer_shift()
        if shift is not None:
            return _shifted(frame, shift, self.shape)
        return self._sampled(frame, order=3, mode="nearest")

    def valid_mask(self, hr_mask: BoolArray) -> BoolArray:
        """Which pixels of the fused grid an HR frame covers with usable pixels.

        Parameters
        ----------
        hr_mask : (height, width) bool
            True = usable pixel of the HR camera; all True asks for the field of view alone.

        Returns
        -------
        (H, W) bool
            False as soon as one of the four nearest HR pixels is not usable.
        """
        shift = self._integer_shift()
        if shift is not None:
            inside = np.zeros(self.shape, dtype=np.bool_)
            rows, columns = (
                slice(max(0, -s), max(0, n - s)) for s, n in zip(shift, hr_mask.shape, strict=True)
            )
            part = inside[rows, columns]
            top, left = max(0, shift[0]), max(0, shift[1])
            part[...] = hr_mask[top : top + part.shape[0], left : left + part.shape[1]]
            return inside
        usable = self._sampled(hr_mask.astype(np.float32), order=1, mode="constant")
        mask: BoolArray = usable > 1 - 1e-4
        return mask

    def _sampled(self, frame: Float32Array, order: int, mode: str) -> Float32Array:
        sampled: Float32Array
        if self.radial_per_px2 == 0:
            sampled = ndimage.affine_transform(
                frame,
                self.affine[:, :2],
                self.affine[:, 2],
                output_shape=self.shape,
                output=np.float32,
                order=order,
                mode=mode,
            )
        else:
            grid = np.moveaxis(np.indices(self.shape, dtype=np.float64), 0, -1)
            positions = np.moveaxis(self.hr_position(grid), -1, 0)
            sampled = ndimage.map_coordinates(
                frame, positions, output=np.float32, order=order, mode=mode
            )
        return sampled

    def _integer_shift(self) -> tuple[int, int] | None:
        nearest = np.round(self.affine)
        if self.radial_per_px2 != 0 or not np.array_equal(nearest[:, :2], np.eye(2)):
            return None
        if np.abs(self.affine - nearest).max() > _INTEGER_TOLERANCE_PX:
            return None
        return int(nearest[0, 2]), int(nearest[1, 2])


def _shifted(frame: Float32Array, shift: tuple[int, int], shape: tuple[int, int]) -> Float32Array:
    (row, column), (h, w) = shift, shape
    if row >= 0 and column >= 0 and row + h <= frame.shape[0] and column + w <= frame.shape[1]:
        return frame[row : row + h, column : column + w].copy()
    rows = np.clip(np.arange(row, row + h), 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(column, column + w), 0, frame.shape[1] - 1)
    return frame[np.ix_(rows, columns)]


def _onto_fused(
    lr_to_hr: Float64Array, origin: tuple[int, int]
) -> tuple[Float64Array, Float64Array]:
    """Express a map from LR pixels on the fused grid that begins at LR pixel `origin`.

    LR pixel i has its centre at fused 4 (i - origin) + 1.5. The second array holds the derivatives
    of the new six parameters with respect to the old ones.
    """
    to_lr = np.eye(3)
    for axis in (0, 1):
        to_lr[axis, axis] = 1 / SCALE
        to_lr[axis, 2] = origin[axis] - (SCALE - 1) / (2 * SCALE)
    jacobian: Float64Array = np.kron(np.eye(2), to_lr.T).astype(np.float64)
    return lr_to_hr @ to_lr, jacobian


def _largest_rectangle(mask: BoolArray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return origin and shape of the largest rectangle of True; shape (0, 0) without any."""
    best: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    heights = np.zeros(mask.shape[1] + 1, dtype=int)  # the last column closes open rectangles
    for row in range(mask.shape[0]):
        heights[:-1] = np.where(mask[row], heights[:-1] + 1, 0)
        open_at: list[tuple[int, int]] = []
        for column, height in enumerate(heights.tolist()):
            start = column
            while open_at and open_at[-1][1] >= height:
                start, tall = open_at.pop()
                if tall * (column - start) > best[1][0] * best[1][1]:
                    best = ((row - tall + 1, start), (tall, column - start))
            open_at.append((start, height))
    return best


def _frozen(values: npt.ArrayLike, shape: tuple[int, int], name: str) -> Float64Array:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"PixelMap.{name} must be a finite {shape} array, got {array!r}")
    array.setflags(write=False)
    return array
