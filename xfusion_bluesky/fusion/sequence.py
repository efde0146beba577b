"""One burst of both cameras on the grids of fusion, read frame by frame on demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array, fill_masked
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.pixelmap import PixelMap
from xfusion_bluesky.fusion.sources import ArraySource, FrameCache, FrameSource, check_index

__all__ = ["ArraySource", "DualSequence", "FrameSource", "Neighbours", "NoHRFrameError"]

_LR_FRAMES_KEPT = 16
_HR_FRAMES_KEPT = 4


class NoHRFrameError(ValueError):
    """No valid HR frame exists where one is needed."""


@dataclass(frozen=True)
class Neighbours:
    """HR frames around a target: indices, or None where there is none.

    Parameters
    ----------
    before : int or None
        Last valid HR frame not later than the target.
    after : int or None
        First valid HR frame later than the target.
    """

    before: int | None
    after: int | None


class DualSequence:
    """LR and HR frames of one burst with times, masks, noise and geometry.

    Making one reads nothing. LR frames are cropped to the field; HR frames are warped onto the
    fused grid, once while they stay among the last few used. Masked pixels (marked by the source,
    not finite, or outside the HR camera's view) carry the value of the nearest usable pixel so
    that filters work; `lr_mask` and `hr_mask` tell which they are. A frame without any usable
    pixel is all NaN. Arrays handed out are read-only.

    Parameters
    ----------
    lr, hr : FrameSource
        Frames of the two cameras; `hr` may be empty.
    lr_time_ns, hr_time_ns : (n_lr,), (n_hr,) float64
        Mid-exposure times on one common clock, strictly increasing, ns.
    lr_valid, hr_valid : (n_lr,), (n_hr,) bool, optional
        False = the frame is never read or used (missing, padded, damaged); default: all True.
    noise : NoiseModel, optional
        Of the LR frames; default noise-free.
    pixel_map : PixelMap, optional
        Default: `PixelMap.nominal` of the two frame shapes.

    Raises
    ------
    ValueError
        If there is no LR frame, a length does not fit, a time is not finite or not later than
        the one before, or the field does not fit into the LR frames.
    """

    scale: int = SCALE

    def __init__(
        self,
        lr: FrameSource,
        hr: FrameSource,
        lr_time_ns: npt.ArrayLike,
        hr_time_ns: npt.ArrayLike,
        *,
        lr_valid: npt.ArrayLike | None = None,
        hr_valid: npt.ArrayLike | None = None,
        noise: NoiseModel | None = None,
        pixel_map: PixelMap | None = None,
    ) -> None:
        if len(lr) == 0:
            raise ValueError("a DualSequence needs at least one LR frame, got none")
        self.noise = NoiseModel() if noise is None else noise
        self.pixel_map = PixelMap.nominal(lr.shape, hr.shape) if pixel_map is None else pixel_map
        self.pixel_map.crop_lr(np.broadcast_to(np.float32(0), lr.shape))
        self.lr_time_ns = _times(lr_time_ns, len(lr), "LR")
        self.hr_time_ns = _times(hr_time_ns, len(hr), "HR")
        self.lr_valid = _flags(lr_valid, len(lr), "LR")
        self.hr_valid = _flags(hr_valid, len(hr), "HR")
        self._usable_hr = np.flatnonzero(self.hr_valid)
        self._lr = FrameCache(
            "LR", lr, self.lr_valid, self.lr_shape, self._on_lr_grid, _LR_FRAMES_KEPT
        )
        self._hr = FrameCache(
            "HR", hr, self.hr_valid, self.shape, self._on_fused_grid, _HR_FRAMES_KEPT
        )

    @classmethod
    def from_arrays(
        cls,
        lr: npt.ArrayLike,
        hr: npt.ArrayLike,
        lr_time_ns: npt.ArrayLike,
        hr_time_ns: npt.ArrayLike,
        *,
        lr_mask: BoolArray | None = None,
        hr_mask: BoolArray | None = None,
        lr_valid: npt.ArrayLike | None = None,
        hr_valid: npt.ArrayLike | None = None,
        noise: NoiseModel | None = None,
        pixel_map: PixelMap | None = None,
    ) -> DualSequence:
        """Sequence of two stacks in memory; frames without a usable pixel are invalid.

        Parameters
        ----------
        lr : (n_lr, h, w)
            LR frames in transmission.
        hr : (n_hr, H, W)
            HR frames in transmission; n_hr may be 0.
        lr_mask, hr_mask : bool arrays of the shapes of `lr`, `hr`, optional
            True = usable pixel; default: every finite one.
        lr_time_ns, hr_time_ns, lr_valid, hr_valid, noise, pixel_map
            As for the class.
        """
        lr_source = ArraySource(np.asarray(lr), lr_mask)
        hr_source = ArraySource(np.asarray(hr), hr_mask)
        return cls(
            lr_source,
            hr_source,
            lr_time_ns,
            hr_time_ns,
            lr_valid=_flags(lr_valid, len(lr_source), "LR") & lr_source.valid(),
            hr_valid=_flags(hr_valid, len(hr_source), "HR") & hr_source.valid(),
            noise=noise,
            pixel_map=pixel_map,
        )

    @property
    def lr_shape(self) -> tuple[int, int]:
        """Height and width of the field in LR pixels, (h, w)."""
        return self.pixel_map.lr_shape

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the fused grid, (H, W) = (4 h, 4 w)."""
        return self.pixel_map.shape

    @property
    def n_lr(self) -> int:
        """Number of LR frames, invalid ones included."""
        return len(self.lr_time_ns)

    @property
    def n_hr(self) -> int:
        """Number of HR frames, invalid ones included."""
        return len(self.hr_time_ns)

    @property
    def lr_interval_ns(self) -> float:
        """Median time between LR frames, ns; NaN for a single frame."""
        return float(np.median(np.diff(self.lr_time_ns))) if self.n_lr > 1 else float("nan")

    def lr(self, i: int) -> Float32Array:
        """LR frame `i` cropped to the field, (h, w) float32; all NaN when it is not usable."""
        return self._lr.get(i)[0]

    def hr(self, j: int) -> Float32Array:
        """HR frame `j` on the fused grid, (H, W) float32; all NaN when it is not valid.

        Raises
        ------
        ValueError
            If the frame is declared valid and yet has no usable pixel: `neighbours` has chosen
            it already, so the source must say so in `hr_valid`.
        """
        frame, mask = self._hr.get(j)
        if self.hr_valid[j] and not mask.any():
            raise ValueError(
                f"HR frame {j} is declared valid, but has no usable pixel on the fused grid: "
                f"set hr_valid[{j}] = False, or check the PixelMap; the raw data are untouched"
            )
        return frame

    def lr_mask(self, i: int) -> BoolArray:
        """Usable pixels of LR frame `i`, (h, w); all False when the frame is not valid."""
        return self._lr.get(i)[1]

    def hr_mask(self, j: int) -> BoolArray:
        """Usable pixels of HR frame `j`, (H, W); all False when the frame is not valid."""
        return self._hr.get(j)[1]

    def neighbours(self, i: int) -> Neighbours:
        """Nearest valid HR frames not later, and later, than LR frame `i`; reads no frame."""
        time_ns = self.lr_time_ns[check_index(i, self.n_lr, "LR")]
        usable = self._usable_hr
        split = int(np.searchsorted(self.hr_time_ns[usable], time_ns, side="right"))
        return Neighbours(
            before=int(usable[split - 1]) if split > 0 else None,
            after=int(usable[split]) if split < len(usable) else None,
        )

    def tau(self, i: int) -> float:
        """Place of LR frame `i` between its HR neighbours.

        Returns
        -------
        float
            In [0, 1]: 0 at, or with only, the one before; 1 with only the one after.

        Raises
        ------
        NoHRFrameError
            If the sequence has no valid HR frame.
        """
        near = self.neighbours(i)
        if near.before is None and near.after is None:
            raise NoHRFrameError(
                f"LR frame {i} has no HR neighbour: none of the {self.n_hr} HR frames is valid"
            )
        if near.after is None:
            return 0.0
        if near.before is None:
            return 1.0
        begin_ns, end_ns = self.hr_time_ns[near.before], self.hr_time_ns[near.after]
        return float((self.lr_time_ns[i] - begin_ns) / (end_ns - begin_ns))

    def _on_lr_grid(self, frame: Float32Array, mask: BoolArray) -> tuple[Float32Array, BoolArray]:
        field, usable = self.pixel_map.crop_lr(frame), self.pixel_map.crop_lr(mask)
        return fill_masked(field, usable).copy(), usable.copy()

    def _on_fused_grid(
        self, frame: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, BoolArray]:
        usable = self.pixel_map.valid_mask(mask)
        if not usable.any():
            return np.full(self.shape, np.nan, dtype=np.float32), usable
        return self.pixel_map.warp(fill_masked(frame, mask)), usable


def _times(time_ns: npt.ArrayLike, n: int, camera: str) -> Float64Array:
    times = np.array(time_ns, dtype=np.float64)
    if times.shape != (n,):
        raise ValueError(f"{n} {camera} frames need {n} times, got an array of {times.shape}")
    if not np.isfinite(times).all():
        frame = int(np.flatnonzero(~np.isfinite(times))[0])
        raise ValueError(f"the time of {camera} frame {frame} is {times[frame]}, not a number")
    late = np.flatnonzero(np.diff(times) <= 0)
    if late.size:
        frame = int(late[0]) + 1
        raise ValueError(
            f"{camera} frame {frame} at {times[frame]} ns is not later than frame {frame - 1} at "
            f"{times[frame - 1]} ns: sort the frames, or leave duplicates out"
        )
    times.setflags(write=False)
    return times


def _flags(valid: npt.ArrayLike | None, n: int, camera: str) -> BoolArray:
    flags = np.ones(n, dtype=np.bool_) if valid is None else np.array(valid, dtype=np.bool_)
    if flags.shape != (n,):
        raise ValueError(f"{n} {camera} frames need {n} flags, got an array of {flags.shape}")
    flags.setflags(write=False)
    return flags
