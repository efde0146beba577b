"""Overlapping blocks of a video, their cosine transform, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from xfusion_motion.interval import Image

__all__ = ["Blocks"]

_FREQUENCY_AXES = (-3, -2, -1)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Orthonormal 3-D DCT of blocks that overlap by half their side.

    Parameters
    ----------
    coefficients : (videos, rows, columns, n, height, width) float32
        Of every block; one video, or one of a single frame for each frame.
    shape : (int, int, int)
        Of the video that was cut.
    """

    coefficients: Image
    shape: tuple[int, int, int]

    @classmethod
    def cut(cls, video: Image, side_px: int, frames_together: bool) -> Blocks:
        """Cut a video (n, h, w) into blocks of `side_px`, all frames together or one by one."""
        n, height, width = video.shape
        sides = (min(side_px, height), min(side_px, width))
        steps = tuple(max(side // 2, 1) for side in sides)
        padding = [
            (0, -(length - side) % step)
            for length, side, step in zip((height, width), sides, steps, strict=True)
        ]
        padded = np.pad(video, [(0, 0), *padding], mode="symmetric")
        videos = padded[None] if frames_together else padded[:, None]
        window = (videos.shape[1], *sides)
        blocks = np.lib.stride_tricks.sliding_window_view(videos, window, axis=(1, 2, 3))
        blocks = blocks[:, 0, :: steps[0], :: steps[1]]
        return cls(fft.dctn(blocks, axes=_FREQUENCY_AXES, norm="ortho"), (n, height, width))

    @property
    def flat(self) -> Image:
        """Coefficients with one row for each block."""
        return self.coefficients.reshape(-1, int(np.prod(self.coefficients.shape[3:])))

    def radii(self) -> npt.NDArray[np.float64]:
        """Distance from zero frequency of each column of `flat`; along an axis it is below 1."""
        squares = sum(np.square(f) for f in self._frequencies())
        radii: npt.NDArray[np.float64] = np.sqrt(squares).ravel()
        return radii

    def times(self) -> npt.NDArray[np.float64]:
        """Frequency in time of each column of `flat`, below 1."""
        return self._frequencies()[0].ravel()

    def _frequencies(self) -> tuple[npt.NDArray[np.float64], ...]:
        axes = [np.arange(side) / side for side in self.coefficients.shape[3:]]
        return np.meshgrid(*axes, indexing="ij")

    def mean_of_blocks(self, flat: Image) -> Image:
        """Transform changed coefficients back and average overlapping blocks; (n, h, w)."""
        blocks = fft.idctn(
            flat.reshape(self.coefficients.shape), axes=_FREQUENCY_AXES, norm="ortho"
        )
        return self._mean(blocks)

    def mean_of_values(self, values: Image) -> Image:
        """Average one value a block over the blocks of each pixel; (n, h, w)."""
        blocks = np.broadcast_to(
            values.reshape(*self.coefficients.shape[:3], 1, 1, 1), self.coefficients.shape
        )
        return self._mean(blocks)

    def _mean(self, blocks: Image) -> Image:
        height, width = self.coefficients.shape[-2:]
        # Pixels at the edge of a block know less of their surroundings.
        window = np.outer(np.kaiser(height, 2), np.kaiser(width, 2)).astype(np.float32)
        one = np.broadcast_to(window, (1, *blocks.shape[1:3], 1, height, width))
        mean = _overlap_add(blocks * window) / _overlap_add(one)
        n, height, width = self.shape
        return np.ascontiguousarray(mean.reshape(n, *mean.shape[2:])[:, :height, :width])


def _overlap_add(blocks: Image) -> Image:
    """Sum blocks (videos, rows, columns, n, height, width) into (videos, n, ...)."""
    videos, rows, columns, n, height, width = blocks.shape
    down, right = max(height // 2, 1), max(width // 2, 1)
    total = np.zeros(
        (videos, n, (rows - 1) * down + height, (columns - 1) * right + width), dtype=np.float32
    )
    if height == 2 * down and width == 2 * right:
        tiles = total.reshape(videos, n, rows + 1, down, columns + 1, right)
        ordered = blocks.transpose(0, 3, 1, 4, 2, 5)
        for i in range(2):
            for j in range(2):
                quarter = ordered[..., i * down : (i + 1) * down, :, j * right : (j + 1) * right]
                tiles[:, :, i : i + rows, :, j : j + columns] += quarter
        return total
    for r in range(rows):
        for c in range(columns):
            y, x = r * down, c * right
            total[:, :, y : y + height, x : x + width] += blocks[:, r, c]
    return total
