"""One backend under one set of conditions, frame by frame."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from grid import Conditions
from records import CellKey, Record

from xfusion_bluesky.backends.contract import Backend
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.metrics import aad, flicker, moving_region, psnr, ssim
from xfusion_bluesky.fusion.quality import SequenceQuality
from xfusion_bluesky.fusion.screening import Screening, screen
from xfusion_bluesky.fusion.virtual import VirtualExperiment, VirtualSettings, VirtualVideo
from xfusion_bluesky.fusion.xfusion_metrics import psnr_xfusion, ssim_xfusion

Image = npt.NDArray[np.float32]

_FEWEST_MOVING = 64
_SMALLEST_SSIM_SIDE_PX = 11


def measure(
    backend: Backend,
    video: VirtualVideo,
    frames: list[int],
    key: CellKey,
) -> list[Record]:
    """Run a backend and score it.

    The LR camera keeps every `separation`-th frame; one run of the backend for each phase gives
    every chosen frame, so that the same frames are scored at each separation.

    Parameters
    ----------
    backend : Backend
        Just made.
    video : VirtualVideo
        The truth.
    frames : list of int
        Frames of the video to score.
    key : CellKey
        Conditions, and what is written with every score.
    """
    numbers: dict[int, dict[str, Any]] = {}
    flickers = _Flicker(video, set(frames))
    for phase in range(key.separation):
        wanted = [frame for frame in frames if frame % key.separation == phase]
        if not wanted:
            continue
        experiment = video.experiment(settings_of(key.conditions, phase, key.seed))
        quality = SequenceQuality(
            experiment.sequence, screening=_screening(video, key.conditions, phase, key.seed)
        )
        targets = [(frame - phase) // key.separation for frame in wanted]
        coincident = experiment.coincident
        timed_frames = checked_frames(backend, experiment.sequence, targets)
        for frame, timed in zip(wanted, timed_frames, strict=True):
            target, image = timed.frame.target, timed.frame.image
            numbers[frame] = {
                **_numbers(experiment, target, image, quality),
                "coincident": bool(coincident[target]),
                "elapsed_ms": timed.elapsed_ms,
            }
            flickers.add(frame, image)
    return [
        Record(
            **vars(key),
            records=len(frames),
            frame=frame,
            flicker=flickers.values.get(frame, math.nan),
            **numbers[frame],
        )
        for frame in sorted(numbers)
    ]


def settings_of(conditions: Conditions, phase: int, seed: int) -> VirtualSettings:
    """Return what the virtual cameras do under these conditions."""
    return VirtualSettings(
        hr_interval=conditions.hr_interval,
        lr_separation=conditions.separation,
        phase=phase,
        lr_psnr_db=conditions.lr_psnr_db,
        blank_photons=conditions.blank_photons,
        seed=seed,
    )


@lru_cache(maxsize=16)
def _screening(video: VirtualVideo, conditions: Conditions, phase: int, seed: int) -> Screening:
    """Look at a burst once for all backends; with frames of its own, so that no time is saved."""
    return screen(video.experiment(settings_of(conditions, phase, seed)).sequence)


class _Flicker:
    """Flicker of pairs of frames that may come in any order; keeps images only while needed."""

    def __init__(self, video: VirtualVideo, frames: set[int]) -> None:
        self._video, self._expected = video, set(frames)
        self._waiting: dict[int, Image] = {}
        self.values: dict[int, float] = {}

    def add(self, frame: int, image: Image) -> None:
        self._expected.discard(frame)
        self._waiting[frame] = image
        for later in (frame, frame + 1):
            if later in self._waiting and later - 1 in self._waiting:
                self.values[later] = flicker(
                    self._waiting[later],
                    self._waiting[later - 1],
                    self._video.frame(later),
                    self._video.frame(later - 1),
                )
        for kept in (frame - 1, frame, frame + 1):
            if not {kept - 1, kept + 1} & self._expected:
                self._waiting.pop(kept, None)


def _numbers(
    experiment: VirtualExperiment,
    target: int,
    image: Image,
    quality: SequenceQuality,
) -> dict[str, float]:
    truth = experiment.truth(target)
    sequence = experiment.sequence
    near = sequence.neighbours(target)
    around = [j for j in (near.before, near.after) if j is not None]
    region = moving_region(truth, [sequence.hr(j) for j in around])
    enough = int(region.sum()) >= _FEWEST_MOVING
    large = min(truth.shape) >= _SMALLEST_SSIM_SIDE_PX
    judged = quality.frame(target, image)
    return {
        "interval": -1 if near.before is None else near.before,
        "tau": sequence.tau(target),
        "psnr_db": psnr(image, truth),
        "psnr_moving_db": psnr(image, truth, region=region) if enough else math.nan,
        "moving_share": float(region.mean()),
        "ssim": ssim(image, truth) if large else math.nan,
        "aad": aad(image, truth),
        "psnr_xfusion_db": psnr_xfusion(image, truth),
        "ssim_xfusion": ssim_xfusion(image, truth) if large else math.nan,
        "chi2": judged.consistency.chi2,
        "contradicted": judged.consistency.contradicted,
        "detail": judged.detail,
    }
