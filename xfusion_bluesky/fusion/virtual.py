"""Virtual experiments: both cameras' sequences made from one sharp and fast video, and its truth.

Every frame is normalised to [0, 1] with limits of the whole video; the LR camera sees its exact
block means with photon noise, the HR camera some of the frames themselves. Hence ``y = Hx`` holds
exactly when noise is off, and every fused frame can be scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel, photons_for_psnr, poisson
from xfusion_bluesky.fusion.normalisation import Normalisation
from xfusion_bluesky.fusion.operators import SCALE, block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["VirtualExperiment", "VirtualSettings", "VirtualVideo"]

_FEWEST_FRAMES = 3
_MISALIGNED = "crop it, or give a larger one; nothing was computed"


@dataclass(frozen=True)
class VirtualSettings:
    """What the two virtual cameras do.

    Parameters
    ----------
    hr_interval : int or None
        D: the HR camera keeps every D-th frame, and the last one, so that every target lies
        between two; at least 2. None: it keeps the first and the last frame only.
    lr_separation : int
        The LR camera keeps every so many frames; 1 = all.
    phase : int
        First frame that the LR camera keeps, 0..lr_separation - 1. All phases together look at
        every frame.
    lr_psnr_db : float, optional
        Photon noise that leaves this PSNR of the LR frames; default: no noise.
    blank_photons : float, optional
        The same said in photons of an open-beam LR pixel (b0).
    keep_last : bool
        False: the HR camera keeps the last frame only when D says so.
    seed : int
        Of the noise. The noise of a frame depends on seed and frame alone.
    frame_interval_ns : float
        Time between frames of the video.

    Raises
    ------
    ValueError
        If a number is out of range, or noise is given in both ways.
    """

    hr_interval: int | None = 20
    lr_separation: int = 1
    phase: int = 0
    lr_psnr_db: float | None = None
    blank_photons: float | None = None
    keep_last: bool = True
    seed: int = 0
    frame_interval_ns: float = 20_000.0

    def __post_init__(self) -> None:
        if self.hr_interval is not None and self.hr_interval < 2:
            raise ValueError(
                f"hr_interval must be at least 2 frames, or None for the first and the last "
                f"frame only, got {self.hr_interval}"
            )
        if self.lr_separation < 1 or not 0 <= self.phase < self.lr_separation:
            raise ValueError(
                f"lr_separation must be at least 1 and phase 0..lr_separation - 1, got "
                f"{self.lr_separation} and {self.phase}"
            )
        if self.lr_psnr_db is not None and self.blank_photons is not None:
            raise ValueError("give the noise as lr_psnr_db or as blank_photons, not as both")
        if not self.frame_interval_ns > 0:
            raise ValueError(f"frame_interval_ns must be above 0, got {self.frame_interval_ns}")


@dataclass(frozen=True, eq=False)
class VirtualExperiment:
    """Both sequences, and what a perfect camera would have seen.

    Parameters
    ----------
    sequence : DualSequence
        What a backend gets, in normalised units.
    video : VirtualVideo
        Where it comes from.
    lr_frames, hr_frames : (n_lr,), (n_hr,) int
        Frame of the video that each LR and HR frame shows.
    blank_photons : float or None
        Photons of an open-beam LR pixel; None without noise.
    """

    sequence: DualSequence
    video: VirtualVideo
    lr_frames: npt.NDArray[np.int64]
    hr_frames: npt.NDArray[np.int64]
    blank_photons: float | None

    def truth(self, target: int) -> Float32Array:
        """Return the truth of LR frame `target`, (H, W) float32 in [0, 1]."""
        return self.video.frame(int(self.lr_frames[target]))

    @property
    def coincident(self) -> BoolArray:
        """Targets at the time of an input HR frame, (n_lr,): they hold a copy of the answer."""
        return np.isin(self.lr_frames, self.hr_frames)


class VirtualVideo:
    """A video, normalised once, from which any number of experiments are made.

    Frames are read when they are wanted; only the LR frames without noise are kept, a sixteenth of
    the video. Sides that are no multiple of 4 lose their last pixels.

    Parameters
    ----------
    frames : sequence of (H, W) arrays
        For instance an array (n, H, W) or an open HDF5 dataset. Pixels that are not finite are
        masked in both cameras.
    normalisation : Normalisation, optional
        Limits that become 0 and 1; default: the 0.35 and 99.65 percentiles of the video.

    Raises
    ------
    ValueError
        If there are fewer than 3 frames, they are no images of at least 4 x 4 pixels, or they
        have no contrast.
    """

    def __init__(
        self,
        frames: npt.NDArray[Any] | Sequence[npt.ArrayLike],
        normalisation: Normalisation | None = None,
    ) -> None:
        if len(frames) < _FEWEST_FRAMES:
            raise ValueError(
                f"a virtual experiment needs at least {_FEWEST_FRAMES} frames, got {len(frames)}"
            )
        first = np.shape(frames[0])
        if len(first) != 2 or min(first) < SCALE:
            raise ValueError(
                f"frames must be grey images of at least {SCALE} x {SCALE} pixels, but frame 0 "
                f"has shape {first}; {_MISALIGNED}"
            )
        self.frames = frames
        self._frame_shape = first
        self.shape: tuple[int, int] = (first[0] // SCALE * SCALE, first[1] // SCALE * SCALE)
        self.normalisation = normalisation or Normalisation.from_percentiles(frames)

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, k: int) -> Float32Array:
        """Return frame `k`, (H, W) float32 in [0, 1]; NaN where it is not finite.

        Raises
        ------
        ValueError
            If its shape is not that of frame 0.
        """
        raw = np.asarray(self.frames[k], dtype=np.float32)
        if raw.shape != self._frame_shape:
            raise ValueError(
                f"frame {k} of the video has shape {raw.shape}, but frame 0 has "
                f"{self._frame_shape}: leave it out or write the video again"
            )
        raw = raw[: self.shape[0], : self.shape[1]]
        scaled = self.normalisation.apply(raw)
        scaled[~np.isfinite(raw)] = np.nan
        return scaled

    @cached_property
    def lr(self) -> Float32Array:
        """All LR frames without noise, (n, h, w) float32; NaN where one of 16 pixels is."""
        h, w = self.shape[0] // SCALE, self.shape[1] // SCALE
        binned = np.empty((len(self), h, w), dtype=np.float32)
        for k in range(len(self)):
            binned[k] = block_mean(self.frame(k))
        binned.setflags(write=False)
        return binned

    @cached_property
    def mean(self) -> float:
        """Mean of the LR frames without noise, which photon noise depends on."""
        return float(np.nanmean(self.lr, dtype=np.float64))

    def experiment(self, settings: VirtualSettings) -> VirtualExperiment:
        """Let both virtual cameras look.

        Parameters
        ----------
        settings : VirtualSettings
            What they do.

        Raises
        ------
        ValueError
            If the HR frames are further apart than the video is long.
        """
        n, last = len(self), len(self) - 1
        interval = last if settings.hr_interval is None else settings.hr_interval
        if interval > last:
            raise ValueError(
                f"HR frames every {interval} frames need a video of at least {interval + 1} "
                f"frames, this one has {n}: choose a smaller hr_interval, or None for its ends"
            )
        hr_frames = np.arange(0, n, interval)
        if settings.keep_last and hr_frames[-1] != last:
            hr_frames = np.append(hr_frames, last)
        lr_frames = np.arange(settings.phase, n, settings.lr_separation)
        if not lr_frames.size:
            raise ValueError(
                f"no LR frame is left: the video has {n} frames, the first LR frame would be "
                f"frame {settings.phase}"
            )
        photons = settings.blank_photons
        if settings.lr_psnr_db is not None:
            photons = photons_for_psnr(settings.lr_psnr_db, self.mean)
        usable = np.asarray(np.isfinite(self.lr).any(axis=(1, 2)))
        sequence = DualSequence(
            _LRSource(self, lr_frames, photons, settings.seed),
            _HRSource(self, hr_frames),
            settings.frame_interval_ns * lr_frames,
            settings.frame_interval_ns * hr_frames,
            lr_valid=usable[lr_frames],
            hr_valid=usable[hr_frames],
            noise=NoiseModel() if photons is None else NoiseModel.from_blank_photons(photons),
        )
        return VirtualExperiment(sequence, self, lr_frames, hr_frames, photons)


@dataclass(frozen=True, eq=False)
class _LRSource:
    video: VirtualVideo
    frames: npt.NDArray[np.int64]
    photons: float | None
    seed: int

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.video.shape
        return height // SCALE, width // SCALE

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, k: int) -> Float32Array:
        of_video = int(self.frames[k])
        clean: Float32Array = np.asarray(self.video.lr)[of_video]
        if self.photons is None:
            return clean
        return poisson(clean, self.photons, np.random.default_rng((self.seed, of_video)))

    def mask(self, k: int) -> BoolArray:
        return np.ones(self.shape, dtype=np.bool_)  # NaN says the rest


@dataclass(frozen=True, eq=False)
class _HRSource:
    video: VirtualVideo
    frames: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        return self.video.shape

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, k: int) -> Float32Array:
        return self.video.frame(int(self.frames[k]))

    def mask(self, k: int) -> BoolArray:
        return np.ones(self.shape, dtype=np.bool_)
