"""One case of a real experiment in XFusion's layout, and which of its frames are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.gain_offset import gain_offset
from xfusion_bluesky.calibration.matching import (
    NO_FRAME,
    match_frames,
    xfusion_forward_map,
    xfusion_reverse_map,
)
from xfusion_bluesky.formats.image_folder import ImageFolder
from xfusion_bluesky.formats.xfusion_case import ExperimentCase
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.normalisation import Normalisation
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.pixelmap import PixelMap
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.inference.frames import FramePass, Mode

__all__ = ["ActualFrames", "CameraMatch", "brightness_matched"]

Row = tuple[float, float, float]
_FEWEST_DOUBLE = 2
_MOST_PAIRS = 8
_COINCIDENT = 0.5
"""Largest time between an LR frame and the HR frame held out for it, in LR frame times."""


class CameraMatch(BaseModel):
    """Where, when and how bright a pixel of the LR camera is in the HR camera.

    Parameters
    ----------
    source : str
        Name of the calibration.
    lr_to_hr : (2, 3)
        LR camera (row, column) to HR camera (row, column), px.
    radial_per_px2 : float
        Distortion, as in `PixelMap`.
    offset_ns, drift_ppm : float
        LR time t is ``t + offset_ns + drift_ppm * 1e-6 * t`` on the clock of the HR camera.
    gain, offset : float
        LR image = gain * HR image + offset, both over white.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str
    lr_to_hr: tuple[Row, Row]
    radial_per_px2: float = 0.0
    offset_ns: float = 0.0
    drift_ppm: float = 0.0
    gain: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class ActualFrames:
    """A case and what is made of it (a FrameSet).

    Every HR image between, and next to, the LR images is used, whether the Phantom flagged it or
    not; with `xfusion_matching` flagged ones only, by XFusion's maps.

    Parameters
    ----------
    case : ExperimentCase
        Images and times.
    match : CameraMatch
        Of the two cameras.
    mode : Mode
        How it is gone through.
    xfusion_matching : bool
        Whether XFusion's rules choose frames.
    """

    case: ExperimentCase
    match: CameraMatch
    mode: Mode
    xfusion_matching: bool = False

    @property
    def path(self) -> Path:
        """Folder of the case."""
        return self.case.path

    @property
    def title(self) -> str:
        """Name of the case."""
        return self.case.name

    @property
    def score_file(self) -> str:
        """Name of the file with all scores."""
        return "scores.csv"

    @property
    def bits(self) -> int:
        """Bits of HR images."""
        return self.case.hr.format.bits

    @property
    def image_count(self) -> int:
        """How many images `check` reads."""
        return self.case.n_lr + len(self._hr_used)

    @cached_property
    def limits(self) -> Normalisation:
        """Percentiles of the HR images that are used; white where these show nothing."""
        first = self.passes()[0]
        sequence = self.sequence(FramePass(first.lr, tuple(self._hr_used), ()))
        frames = [sequence.hr(j) for j in range(sequence.n_hr)]
        try:
            return Normalisation.from_percentiles(frames)
        except ValueError:
            return Normalisation(0.0, 1.0)

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked for and found."""
        return {
            "case": str(self.path.resolve()),
            "lr_images": self.case.n_lr,
            "hr_images": self.case.n_hr,
            "hr_images_used": len(self._hr_used),
            "lr": str(self.case.lr.format),
            "hr": str(self.case.hr.format),
            "mode": str(self.mode),
            "xfusion_matching": self.xfusion_matching,
            "cameras": self.match.model_dump(mode="json"),
        }

    @cached_property
    def lr_time_ns(self) -> Float64Array:
        """Times of LR images on the clock of the HR camera, ns after its first flagged image."""
        time_ns = self.case.lr_time_ns
        return time_ns + self.match.offset_ns + 1e-6 * self.match.drift_ppm * time_ns

    def passes(self) -> tuple[FramePass, ...]:
        """Return the runs of the backend.

        Raises
        ------
        ValueError
            No LR image lies between HR images, or, in mode ``double``, fewer than two HR images
            are of the time of an LR image.
        """
        lr = tuple(range(self.case.n_lr))
        if self.mode is Mode.CONTINUOUS:
            targets, hr = self._continuous
            if not (targets and hr):
                raise ValueError("no LR image has an HR image around it: do the times belong here?")
            return (FramePass(lr, hr, targets),)
        pairs = list(self.coincident.items())
        if len(pairs) < _FEWEST_DOUBLE:
            raise ValueError(
                f"mode 'double' needs at least {_FEWEST_DOUBLE} HR images of the time of an LR "
                f"image, this case has {len(pairs)}"
            )
        return tuple(
            FramePass(
                lr,
                tuple(j for _, j in pairs[1 - parity :: 2]),
                tuple(i for i, _ in pairs[parity::2]),
            )
            for parity in (0, 1)
        )

    def sequence(self, frames: FramePass) -> DualSequence:
        """Return what a backend gets in a run: LR images as recorded, in the HR camera's units."""
        lr, hr = self.case.lr, self.case.hr
        return DualSequence(
            _Images(lr, frames.lr, self.match.gain, self.match.offset),
            _Images(hr, frames.hr),
            self.lr_time_ns[list(frames.lr)],
            self.case.hr_time_ns[list(frames.hr)],
            pixel_map=self._pixel_map,
        )

    def truth(self, number: int) -> Float32Array | None:
        """Return the HR image that was held out, on the fused grid; None in ``continuous``."""
        if self.mode is Mode.CONTINUOUS:
            return None
        alone = self.sequence(FramePass((number,), (self.coincident[number],), ()))
        return np.where(alone.hr_mask(0), alone.hr(0), np.float32(np.nan))

    def stem(self, number: int) -> str:
        """Return the name of an LR image without suffix."""
        return self.case.lr.files[number].stem

    def is_given(self, number: int, frames: FramePass) -> bool:
        """Never in ``double``; in ``continuous`` nothing is compared."""
        return False

    def check(self, on_image: Callable[[], object]) -> None:
        """Read every image that is used once; see `ImageFolder.frame`."""
        for folder, numbers in (
            (self.case.lr, range(self.case.n_lr)),
            (self.case.hr, self._hr_used),
        ):
            for number in numbers:
                folder.pixels(number)
                on_image()

    @cached_property
    def _pixel_map(self) -> PixelMap:
        return PixelMap.from_lr_to_hr(
            self.match.lr_to_hr,
            self.case.lr_shape,
            self.case.hr_shape,
            radial_per_px2=self.match.radial_per_px2,
        )

    @cached_property
    def _continuous(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Targets, and HR images."""
        case = self.case
        if self.xfusion_matching:
            rows = xfusion_forward_map(case.hr_time_ns, case.hr_event_flag, case.lr_time_ns)
            return _numbers(rows[:, 0]), _numbers(rows[:, 1:])
        found = match_frames(self.lr_time_ns, case.hr_time_ns)
        return tuple(range(case.n_lr)), _numbers(np.stack([found.before, found.after]))

    @cached_property
    def coincident(self) -> dict[int, int]:
        """HR image of the time of an LR image, by LR image."""
        case = self.case
        if self.xfusion_matching:
            rows = xfusion_reverse_map(case.hr_time_ns, case.hr_event_flag, case.lr_time_ns)
            return {int(lr): int(hr) for hr, lr in rows}
        limit_ns = _COINCIDENT * float(np.median(np.diff(self.lr_time_ns))) if case.n_lr > 1 else 0
        found = match_frames(self.lr_time_ns, case.hr_time_ns, tolerance_ns=limit_ns)
        return {int(lr): int(hr) for lr, hr in found.pairs}

    @cached_property
    def _hr_used(self) -> tuple[int, ...]:
        if self.mode is Mode.DOUBLE:
            return tuple(sorted(self.coincident.values()))
        return self._continuous[1]


def brightness_matched(
    case: ExperimentCase, match: CameraMatch, xfusion_matching: bool = False
) -> CameraMatch:
    """Return the match of two cameras with gain and offset that images of one time show.

    Parameters
    ----------
    case : ExperimentCase
        Images and times; at most 8 pairs are read.
    match : CameraMatch
        Where and when.
    xfusion_matching : bool
        As for `ActualFrames`.

    Returns
    -------
    CameraMatch
        Unchanged where there is no such pair, or no contrast in it.
    """
    frames = ActualFrames(case, match, Mode.DOUBLE, xfusion_matching)
    pairs = list(frames.coincident.items())
    chosen = {int(k) for k in np.linspace(0, len(pairs) - 1, _MOST_PAIRS).round()} if pairs else ()
    together = []
    for i, j in (pairs[k] for k in sorted(chosen)):
        pair = frames.sequence(FramePass((i,), (j,), ()))
        binned = block_mean(np.where(pair.hr_mask(0), pair.hr(0), np.float32(np.nan)))
        together.append((binned, np.where(pair.lr_mask(0), pair.lr(0), np.float32(np.nan))))
    try:
        found = gain_offset(together)
    except CalibrationError:
        return match
    if not found.gain > 0:
        return match
    return match.model_copy(update={"gain": found.gain, "offset": found.offset})


@dataclass(frozen=True, eq=False)
class _Images:
    """Some images of a folder, as a FrameSource."""

    folder: ImageFolder
    chosen: tuple[int, ...]
    gain: float = 1.0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.folder.shape

    def __len__(self) -> int:
        return len(self.chosen)

    def frame(self, k: int) -> Float32Array:
        seen = self.folder.frame(self.chosen[k])
        matched: Float32Array = (seen - np.float32(self.offset)) / np.float32(self.gain)
        return matched

    def mask(self, k: int) -> BoolArray:
        return np.ones(self.shape, dtype=np.bool_)


def _numbers(frames: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[int, ...]:
    return tuple(int(number) for number in np.unique(frames) if number != NO_FRAME)
