"""Optics of one camera: where on the scene its pixels look, how large they are, how blurred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, cos, radians, sin
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Shape = tuple[int, int]
Row = tuple[float, float, float]
PointMap = Callable[[npt.ArrayLike], Float64Array]

IDENTITY: tuple[Row, Row] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
BLUR_REACH = 4
"""Standard deviations after which a blur is forgotten."""
SPLINE_REACH_PX = 4
NEWTON_STEPS = 6


@dataclass(frozen=True)
class CameraOptics:
    """Map from the pixels of a camera to the scene, both (row, column) of pixel centres.

    The scene is sampled in pixels about as large as those of the HR camera. Without distortion a
    camera pixel p looks at ``to_scene[:, :2] @ p + to_scene[:, 2]``. With it, what would have
    fallen on pixel a falls on ``c + (a - c) (1 + radial_per_px2 |a - c|^2)``.
    """

    to_scene: tuple[Row, Row] = IDENTITY
    pixel_side: int = 1
    """Scene pixels along one side of a camera pixel; light is averaged over as many samples."""
    radial_per_px2: float = 0.0
    """Distortion, in the camera's pixels."""
    centre_px: tuple[float, float] = (0.0, 0.0)
    """c: middle of the sensor."""
    psf_sigma_px: float = 0.0
    """Gaussian blur of lens and scintillator, in scene pixels."""

    @classmethod
    def of(
        cls,
        shape: Shape,
        scene_shape: Shape,
        *,
        pixel_side: int = 1,
        rotation_deg: float = 0.0,
        scale: float = 1.0,
        anisotropy: float = 0.0,
        shear: float = 0.0,
        shift_px: tuple[float, float] = (0.0, 0.0),
        mirrored: bool = False,
        radial_per_px2: float = 0.0,
        psf_sigma_px: float = 0.0,
    ) -> CameraOptics:
        """Aim a camera at the middle of a scene.

        Parameters
        ----------
        shape, scene_shape : (int, int)
            Rows and columns of the sensor and of the scene.
        pixel_side : int
            As for the class.
        rotation_deg : float
            Angle of ``[[cos, -sin], [sin, cos]]``, from camera to scene (row, column).
        scale : float
            Side of a camera pixel in units of `pixel_side`; 1.01 sees 1 % more of the scene.
        anisotropy : float
            Share by which pixels are larger along a column than along a row.
        shear : float
            Scene rows for each scene column, before the rotation.
        shift_px : (float, float)
            Scene (row, column) at which the middle of the sensor looks, from the scene's middle.
        mirrored : bool
            Whether left and right are exchanged.
        radial_per_px2, psf_sigma_px : float
            As for the class.

        Raises
        ------
        ValueError
            The distortion is so strong that corners of the sensor see nothing.
        """
        corner = (shape[0] ** 2 + shape[1] ** 2) / 4
        if 1 + 3 * radial_per_px2 * corner <= 0:
            raise ValueError(
                f"A distortion of {radial_per_px2:g} per px^2 folds the image of a sensor of "
                f"{shape[0]} x {shape[1]} pixels. Nothing was started; take a weaker one."
            )
        turn = radians(rotation_deg)
        matrix = (
            np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]])
            @ np.array([[1.0, shear], [0.0, 1.0]])
            @ np.diag([1 + anisotropy / 2, (1 - anisotropy / 2) * (-1 if mirrored else 1)])
            * (pixel_side * scale)
        )
        centre = (np.array(shape) - 1) / 2
        aim = (np.array(scene_shape) - 1) / 2 + np.array(shift_px)
        return cls(
            to_scene=_rows(np.column_stack([matrix, aim - matrix @ centre])),
            pixel_side=pixel_side,
            radial_per_px2=radial_per_px2,
            centre_px=(float(centre[0]), float(centre[1])),
            psf_sigma_px=psf_sigma_px,
        )

    @property
    def matrix(self) -> Float64Array:
        """`to_scene` as a (2, 3) float64 array."""
        return np.array(self.to_scene, dtype=np.float64)

    @property
    def reach_px(self) -> int:
        """Scene pixels beyond the light's edges from which on only the edge itself is seen."""
        return ceil(BLUR_REACH * self.psf_sigma_px) + SPLINE_REACH_PX

    @property
    def edge_px(self) -> int:
        """Scene pixels by which light is continued beyond its edges."""
        return self.reach_px + SPLINE_REACH_PX

    def moved(self, by_px: tuple[float, float]) -> CameraOptics:
        """Count scene pixels from elsewhere: every scene position gets `by_px` added."""
        matrix = self.matrix
        matrix[:, 2] += by_px
        return replace(self, to_scene=_rows(matrix))

    def finer(self, times: int) -> CameraOptics:
        """Optics of a camera with `times` x `times` smaller pixels in place of each, unblurred.

        Its pixel i lies at ``(i - (times - 1) / 2) / times`` of this camera.
        """
        matrix, start = self.matrix, (times - 1) / 2
        matrix[:, :2] /= times
        matrix[:, 2] -= matrix[:, :2].sum(axis=1) * start
        row, column = (times * each + start for each in self.centre_px)
        return CameraOptics(
            _rows(matrix),
            pixel_side=max(self.pixel_side // times, 1),
            radial_per_px2=self.radial_per_px2 / times**2,
            centre_px=(row, column),
        )

    def scene_position(self, pixel: npt.ArrayLike) -> Float64Array:
        """Scene (row, column) at which camera positions look; (..., 2) -> (..., 2) float64."""
        points = np.asarray(pixel, dtype=np.float64)
        if self.radial_per_px2:
            points = self._straightened(points)
        scene: Float64Array = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return scene

    def pixel_position(self, scene: npt.ArrayLike) -> Float64Array:
        """Camera (row, column) that sees scene positions; (..., 2) -> (..., 2) float64."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        points: Float64Array = (np.asarray(scene, np.float64) - self.matrix[:, 2]) @ inverse.T
        if self.radial_per_px2:
            away = points - self.centre_px
            square = np.square(away).sum(axis=-1, keepdims=True)
            points = self.centre_px + away * (1 + self.radial_per_px2 * square)
        return points

    def image(self, light: Float32Array, shape: Shape) -> Float32Array:
        """Show what the camera sees of light on the scene.

        Parameters
        ----------
        light : (H, W) float32
            On the grid of the scene; beyond its edges it goes on as at the edge.
        shape : (int, int)
            Rows and columns of the sensor.

        Returns
        -------
        (rows, columns) float32
            Undistorted, unblurred, unturned optics on whole scene pixels: the exact block means.
        """
        corner = self.whole_pixel_corner()
        if corner is not None:
            (row, column), side = corner, self.pixel_side
            part = light[row : row + side * shape[0], column : column + side * shape[1]]
            if min(corner) >= 0 and part.shape == (side * shape[0], side * shape[1]):
                return part if side == 1 else block_mean(part, side)
        padded = np.pad(light, self.edge_px, mode="edge")
        if self.psf_sigma_px:
            padded = ndimage.gaussian_filter(padded, self.psf_sigma_px, mode="nearest")
        coefficients = ndimage.spline_filter(padded, order=3, output=np.float32)
        seen: Float32Array = _sampler(self, light.shape, shape) @ coefficients.ravel()
        # Splines swing below zero beside sharp edges; there is no negative light.
        return np.maximum(seen, 0, out=seen).reshape(shape)

    def whole_pixel_corner(self) -> tuple[int, int] | None:
        """First scene pixel under camera pixel (0, 0), where the optics are as good as none."""
        matrix, side = self.matrix, self.pixel_side
        corner = matrix[:, 2] - (side - 1) / 2
        if self.psf_sigma_px or self.radial_per_px2 or np.any(matrix[:, :2] != side * np.eye(2)):
            return None
        return (int(corner[0]), int(corner[1])) if np.all(corner == np.rint(corner)) else None

    def _straightened(self, points: Float64Array) -> Float64Array:
        """Where camera positions would be without distortion: Newton's method on the radius."""
        away = points - self.centre_px
        bent = np.sqrt(np.square(away).sum(axis=-1, keepdims=True))
        straight = bent.copy()
        for _ in range(NEWTON_STEPS):
            square = self.radial_per_px2 * np.square(straight)
            straight -= (straight * (1 + square) - bent) / (1 + 3 * square)
        ratio = np.divide(straight, bent, out=np.ones_like(bent), where=bent > 0)
        result: Float64Array = self.centre_px + away * ratio
        return result


def true_lr_to_hr(lr: CameraOptics, hr: CameraOptics) -> PointMap:
    """Exact map from LR to HR camera positions, (..., 2) -> (..., 2), distortion included."""
    return lambda points: hr.pixel_position(lr.scene_position(points))


def best_affine(lr_to_hr: PointMap, lr_shape: Shape) -> Float64Array:
    """Affine map, (2, 3) float64, that fits a map best over all pixels of the LR camera."""
    points = pixel_grid(lr_shape, 1.0)
    terms = np.column_stack([points, np.ones(len(points))])
    solution = np.linalg.lstsq(terms, lr_to_hr(points), rcond=None)[0]
    return np.asarray(solution.T, dtype=np.float64)


def pixel_grid(shape: Shape, step: float) -> Float64Array:
    """Positions over a frame, (n, 2) float64, first and last pixel included, `step` or less."""
    sides = [np.linspace(0, n - 1, ceil((n - 1) / step) + 1) for n in shape]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)


def block_mean(light: Float32Array, side: int = 4) -> Float32Array:
    """Mean of `side` x `side` pixels, (H, W) -> (H / side, W / side) float32."""
    rows, columns = light.shape[0] // side, light.shape[1] // side
    mean: Float32Array = light.reshape(rows, side, columns, side).mean((1, 3))
    return mean


@lru_cache(maxsize=4)
def _sampler(optics: CameraOptics, light_shape: Shape, shape: Shape) -> Any:
    """Sparse matrix from spline coefficients of the padded light to camera pixels."""
    side = optics.pixel_side
    within = (np.arange(side) + 0.5) / side - 0.5
    rows = (np.arange(shape[0])[:, None] + within)[:, None, :, None]
    columns = (np.arange(shape[1])[:, None] + within)[None, :, None, :]
    points = np.stack(np.broadcast_arrays(rows, columns), axis=-1)
    position = optics.scene_position(points.reshape(-1, 2))
    reach, edge = optics.reach_px, optics.edge_px
    position = np.clip(position, -reach, np.array(light_shape) - 1 + reach) + edge
    first = np.floor(position).astype(np.int32)
    weight = _cubic_weights((position - first).astype(np.float32))
    tap = first[:, :, None] + np.arange(-1, 3, dtype=np.int32)
    width = light_shape[1] + 2 * edge
    index = tap[:, 0, :, None] * np.int32(width) + tap[:, 1, None, :]
    share = weight[:, 0, :, None] * weight[:, 1, None, :]
    share /= np.float32(side * side)
    taps = 16 * side * side
    return sparse.csr_array(
        (share.ravel(), index.ravel(), np.arange(shape[0] * shape[1] + 1) * taps),
        shape=(shape[0] * shape[1], (light_shape[0] + 2 * edge) * width),
    )


def _cubic_weights(t: Float32Array) -> Float32Array:
    """Cubic B-spline at -1, 0, 1, 2 from the sample before; (...) -> (..., 4)."""
    return np.stack(
        [
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        ],
        axis=-1,
    )


def _rows(matrix: Float64Array) -> tuple[Row, Row]:
    (a, b, c), (d, e, f) = matrix.tolist()
    return (a, b, c), (d, e, f)
