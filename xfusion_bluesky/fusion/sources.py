"""Where frames come from, and how the last few of them are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array

__all__ = ["ArraySource", "FrameCache", "FrameSource", "check_index"]


class FrameSource(Protocol):
    """Frames of one camera, as the camera saw them, corrected to transmission.

    `frame` and `mask` are called when a frame is wanted, each about once a frame.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every frame."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def frame(self, k: int) -> Float32Array:
        """Return frame `k`, (height, width) float32; pixels without a value may be NaN."""

    def mask(self, k: int) -> BoolArray:
        """Return the usable pixels of frame `k`, (height, width), True = usable."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Frames that are in memory already.

    Parameters
    ----------
    frames : (n, height, width)
        Any real dtype; NaN and infinite pixels are masked.
    masks : (n, height, width) bool, optional
        True = usable; default: every pixel.
    """

    frames: npt.NDArray[np.generic]
    masks: BoolArray | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 3:
            raise ValueError(f"a stack of frames needs shape (n, h, w), got {self.frames.shape}")
        if self.masks is not None and self.masks.shape != self.frames.shape:
            raise ValueError(
                f"masks of shape {self.masks.shape} do not fit frames of {self.frames.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return self.frames.shape[1], self.frames.shape[2]

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, k: int) -> Float32Array:
        """Return frame `k` as float32."""
        frame: Float32Array = self.frames[k].astype(np.float32)
        return frame

    def mask(self, k: int) -> BoolArray:
        """Return the usable pixels of frame `k`."""
        return np.ones(self.shape, dtype=np.bool_) if self.masks is None else self.masks[k]

    def valid(self) -> BoolArray:
        """Return which frames hold at least one usable pixel, (n,)."""
        return np.array([self._has_pixel(k) for k in range(len(self))], dtype=np.bool_)

    def _has_pixel(self, k: int) -> bool:
        if self.masks is not None:
            return bool((self.mask(k) & np.isfinite(self.frame(k))).any())
        # One row settles it for nearly every frame, without a pass over the whole stack.
        return bool(np.isfinite(self.frames[k, 0].astype(np.float32)).any()) or bool(
            np.isfinite(self.frame(k)).any()
        )


class FrameCache:
    """The last few frames of a source with their masks, brought onto a grid.

    Parameters
    ----------
    camera : str
        Name for messages.
    source : FrameSource
        Where frames come from.
    valid : (n,) bool
        Frames that may be read; the others are all NaN and masked.
    grid_shape : (int, int)
        Height and width of what `onto_grid` returns.
    onto_grid : callable
        Brings a frame and its mask, as the camera gives them, onto the grid.
    capacity : int
        Frames kept.
    """

    def __init__(
        self,
        camera: str,
        source: FrameSource,
        valid: BoolArray,
        grid_shape: tuple[int, int],
        onto_grid: Callable[[Float32Array, BoolArray], tuple[Float32Array, BoolArray]],
        capacity: int,
    ) -> None:
        self._camera, self._source, self._valid = camera, source, valid
        self._grid_shape, self._onto_grid, self._capacity = grid_shape, onto_grid, capacity
        self._kept: OrderedDict[int, tuple[Float32Array, BoolArray]] = OrderedDict()

    def get(self, k: int) -> tuple[Float32Array, BoolArray]:
        """Return frame `k` and its mask on the grid, read-only; reads only what is not kept."""
        check_index(k, len(self._source), self._camera)
        if k in self._kept:
            self._kept.move_to_end(k)
            return self._kept[k]
        pair = self._read(k)
        for array in pair:
            array.setflags(write=False)
        self._kept[k] = pair
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return pair

    def _read(self, k: int) -> tuple[Float32Array, BoolArray]:
        if not self._valid[k]:
            empty = np.full(self._grid_shape, np.nan, dtype=np.float32)
            return empty, np.zeros(self._grid_shape, dtype=np.bool_)
        frame = np.asarray(self._source.frame(k), dtype=np.float32)
        mask = np.asarray(self._source.mask(k), dtype=np.bool_)
        for name, array in (("frame", frame), ("mask of frame", mask)):
            if array.shape != self._source.shape:
                raise ValueError(
                    f"{self._camera} {name} {k} has shape {array.shape}, but the sequence holds "
                    f"frames of shape {self._source.shape}: mark the frame invalid, or read the "
                    f"file again; the raw data are untouched"
                )
        return self._onto_grid(frame, mask & np.isfinite(frame))


def check_index(k: int, n: int, camera: str) -> int:
    """Return `k`, or raise IndexError naming camera and frame when it is not in 0..n-1."""
    if not 0 <= k < n:
        raise IndexError(f"{camera} frame {k} does not exist: the sequence has frames 0..{n - 1}")
    return k
