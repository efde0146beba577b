"""The numbers of one fused frame of a virtual experiment, and their columns in the CSV file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from xfusion_bluesky.backends.runner import TimedFrame
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.metrics import aad, moving_region, psnr, ssim
from xfusion_bluesky.fusion.normalisation import Normalisation
from xfusion_bluesky.fusion.quality import SequenceQuality
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.fusion.xfusion_metrics import aad_xfusion, psnr_xfusion, ssim_xfusion
from xfusion_bluesky.inference.frame_set import FrameSet
from xfusion_bluesky.inference.frames import FramePass

__all__ = ["COLUMNS", "FrameScore", "Scorer", "image_name"]

_FEWEST_MOVING = 64
_SSIM_SIDE_PX = 11
_XFUSION_SSIM_SIDE_PX = 7

COLUMNS = {
    "index": "index",
    "time": "time_s",
    "psnr": "psnr_xfusion",
    "aad": "aad_xfusion",
    "ssim": "ssim_xfusion",
    "t-1 lo": "score_lr_before",
    "t lo": "score_lr",
    "t+1 lo": "score_lr_after",
    "t-1 hi": "score_hr_before",
    "t+1 hi": "score_hr_after",
    "mask": "mask",
    "attention_before": "attention_before",
    "attention_after": "attention_after",
    "attention_neither": "attention_neither",
    "hr_before": "hr_before",
    "hr_after": "hr_after",
    "psnr_db": "psnr_db",
    "psnr_moving_db": "psnr_moving_db",
    "moving_share": "moving_share",
    "ssim_gauss": "ssim_gauss",
    "aad_exact": "aad_exact",
    "chi2": "chi2",
    "contradicted": "contradicted",
    "detail": "detail",
    "valid": "valid",
    "flags": "flags",
}
"""Column of the CSV file: field of `FrameScore`. The columns up to ``mask`` are XFusion's."""

_DIAGNOSTICS = {
    "score_lr_before": "score_lr-1",
    "score_lr": "score_lr+0",
    "score_lr_after": "score_lr+1",
    "score_hr_before": "score_hr_before",
    "score_hr_after": "score_hr_after",
}
"""Field of `FrameScore`: what networks with XFusion's attention call it in their diagnostics."""


class FrameScore(BaseModel):
    """The numbers of one frame; NaN where one does not exist.

    ``*_xfusion`` are computed on 8-bit images as XFusion does, the others on float images clipped
    to the limits of the set. `mask` is 1 where an HR frame that the backend got is the target
    itself. `hr_before` and `hr_after` are the HR frames around the target, -1 where there is none.
    ``score_*`` are XFusion's raw attention scores of each frame of the window, which only networks
    of its kind have; ``attention_*`` are shares, which other backends give as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    index: int
    time_s: float
    mask: int
    hr_before: int
    hr_after: int
    valid: int = 1
    flags: str = ""
    attention_before: float = math.nan
    attention_after: float = math.nan
    attention_neither: float = math.nan
    score_lr_before: float = math.nan
    score_lr: float = math.nan
    score_lr_after: float = math.nan
    score_hr_before: float = math.nan
    score_hr_after: float = math.nan
    psnr_xfusion: float = math.nan
    aad_xfusion: float = math.nan
    ssim_xfusion: float = math.nan
    psnr_db: float = math.nan
    psnr_moving_db: float = math.nan
    moving_share: float = math.nan
    ssim_gauss: float = math.nan
    aad_exact: float = math.nan
    chi2: float = math.nan
    contradicted: float = math.nan
    detail: float = math.nan

    def cells(self) -> list[str]:
        """Return the cells of its line in the CSV file; empty for NaN."""
        values = (getattr(self, field) for field in COLUMNS.values())
        return ["" if value != value else str(value) for value in values]


@dataclass(frozen=True)
class Scorer:
    """Scores the frames of one pass.

    Parameters
    ----------
    sequence : DualSequence
        What the backend gets; an object of its own, so that nothing it has read is ready for the
        backend, whose time is taken.
    frames : FramePass
        Which frames these are.
    quality : SequenceQuality
        Of `sequence`.
    limits : Normalisation
        Of scores.
    """

    sequence: DualSequence
    frames: FramePass
    quality: SequenceQuality
    limits: Normalisation

    @classmethod
    def of(cls, source: FrameSet, frames: FramePass) -> Scorer:
        """Return the scorer of a run on images.

        Parameters
        ----------
        source : FrameSet
            The images.
        frames : FramePass
            The run.
        """
        sequence = source.sequence(frames)
        return cls(sequence, frames, SequenceQuality(sequence), source.limits)

    def score(self, timed: TimedFrame, truth: Float32Array | None, given: bool) -> FrameScore:
        """Score one frame.

        Parameters
        ----------
        timed : TimedFrame
            From the backend.
        truth : (H, W) float32 or None
            What it should be, in [0, 1], where that is known.
        given : bool
            Whether the backend got the truth as an HR frame.
        """
        frame, number = timed.frame, self.frames.lr[timed.frame.target]
        near = self.sequence.neighbours(frame.target)
        around = [j for j in (near.before, near.after) if j is not None]
        before, after, neither = frame.attention or (math.nan, math.nan, math.nan)
        score = FrameScore(
            index=number,
            time_s=timed.elapsed_ms / 1e3,
            mask=int(given),
            hr_before=-1 if near.before is None else self.frames.hr[near.before],
            hr_after=-1 if near.after is None else self.frames.hr[near.after],
            attention_before=before,
            attention_after=after,
            attention_neither=neither,
            **{
                field: float(frame.diagnostics[name])
                for field, name in _DIAGNOSTICS.items()
                if name in frame.diagnostics
            },
        )
        judged = self.quality.frame(frame.target, frame.image)
        flags = ",".join(flag.name for flag in judged.flags)
        if not np.isfinite(frame.image).any():
            return score.model_copy(update={"valid": 0, "flags": flags})
        numbers = {
            "chi2": judged.consistency.chi2,
            "contradicted": judged.consistency.contradicted,
            "detail": judged.detail,
        }
        if truth is not None:
            numbers |= self._against(truth, frame.image, [self.sequence.hr(j) for j in around])
        return score.model_copy(update={**numbers, "flags": flags})

    def _against(
        self, truth: Float32Array, image: Float32Array, around: list[Float32Array]
    ) -> dict[str, float]:
        limits = self.limits
        region = moving_region(truth, around, limits)
        moving = int(np.count_nonzero(region)) >= _FEWEST_MOVING
        side = min(truth.shape)
        known = bool(np.isfinite(image).all() and np.isfinite(truth).all())
        eight_bit_ssim = side >= _XFUSION_SSIM_SIDE_PX and known
        nan = math.nan
        return {
            "psnr_xfusion": psnr_xfusion(image, truth),
            "aad_xfusion": aad_xfusion(image, truth),
            "ssim_xfusion": ssim_xfusion(image, truth) if eight_bit_ssim else nan,
            "psnr_db": psnr(image, truth, limits),
            "psnr_moving_db": psnr(image, truth, limits, region) if moving else nan,
            "moving_share": float(region.mean()),
            "ssim_gauss": ssim(image, truth, limits) if side >= _SSIM_SIDE_PX else nan,
            "aad_exact": aad(image, truth, limits),
        }


def image_name(stem: str, score: FrameScore) -> str:
    """Return the name of a fused image: XFusion's ``<LR name>_<PSNR>.png``.

    Without a PSNR, ``<LR name>.png``.
    """
    known = score.psnr_xfusion == score.psnr_xfusion
    return f"{stem}_{score.psnr_xfusion:.2f}.png" if known else f"{stem}.png"
