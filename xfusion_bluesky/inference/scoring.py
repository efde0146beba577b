"""The numbers of one fused frame of a virtual experiment, and their columns in the CSV file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from xfusion_bluesky.backends.runner import TimedFrame
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.metrics import aad, moving_region, psnr, ssim
from xfusion_bluesky.fusion.quality import SequenceQuality
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.fusion.xfusion_metrics import aad_xfusion, psnr_xfusion, ssim_xfusion
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
    "t-1 lo": "",
    "t lo": "attention_neither",
    "t+1 lo": "",
    "t-1 hi": "attention_before",
    "t+1 hi": "attention_after",
    "mask": "mask",
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


class FrameScore(BaseModel):
    """The numbers of one frame; NaN where one does not exist.

    ``*_xfusion`` are computed on 8-bit images as XFusion does, the others on float images clipped
    to [0, 1]. `mask` is 1 where an HR frame that the backend got is the target itself.
    `hr_before` and `hr_after` are the HR frames around the target, -1 where there is none.
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
        values = (getattr(self, field) if field else "" for field in COLUMNS.values())
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
    """

    sequence: DualSequence
    frames: FramePass
    quality: SequenceQuality

    @classmethod
    def of(cls, sequence: DualSequence, frames: FramePass) -> Scorer:
        """Return the scorer of a pass; parameters as for the class."""
        return cls(sequence, frames, SequenceQuality(sequence))

    def score(self, timed: TimedFrame, truth: Float32Array) -> FrameScore:
        """Score one frame.

        Parameters
        ----------
        timed : TimedFrame
            From the backend.
        truth : (H, W) float32
            What it should be, in [0, 1].
        """
        frame, number = timed.frame, self.frames.lr[timed.frame.target]
        near = self.sequence.neighbours(frame.target)
        around = [j for j in (near.before, near.after) if j is not None]
        before, after, neither = frame.attention or (math.nan, math.nan, math.nan)
        score = FrameScore(
            index=number,
            time_s=timed.elapsed_ms / 1e3,
            mask=int(number in self.frames.hr),
            hr_before=-1 if near.before is None else self.frames.hr[near.before],
            hr_after=-1 if near.after is None else self.frames.hr[near.after],
            attention_before=before,
            attention_after=after,
            attention_neither=neither,
        )
        judged = self.quality.frame(frame.target, frame.image)
        flags = ",".join(flag.name for flag in judged.flags)
        if not np.isfinite(frame.image).any():
            return score.model_copy(update={"valid": 0, "flags": flags})
        region = moving_region(truth, [self.sequence.hr(j) for j in around])
        moving = int(np.count_nonzero(region)) >= _FEWEST_MOVING
        side = min(truth.shape)
        eight_bit_ssim = side >= _XFUSION_SSIM_SIDE_PX and bool(np.isfinite(frame.image).all())
        numbers = {
            "psnr_xfusion": psnr_xfusion(frame.image, truth),
            "aad_xfusion": aad_xfusion(frame.image, truth),
            "ssim_xfusion": ssim_xfusion(frame.image, truth) if eight_bit_ssim else math.nan,
            "psnr_db": psnr(frame.image, truth),
            "psnr_moving_db": psnr(frame.image, truth, region=region) if moving else math.nan,
            "moving_share": float(region.mean()),
            "ssim_gauss": ssim(frame.image, truth) if side >= _SSIM_SIDE_PX else math.nan,
            "aad_exact": aad(frame.image, truth),
            "chi2": judged.consistency.chi2,
            "contradicted": judged.consistency.contradicted,
            "detail": judged.detail,
        }
        return score.model_copy(update={**numbers, "flags": flags})


def image_name(stem: str, score: FrameScore) -> str:
    """Return the name of a fused image: XFusion's ``<LR name>_<PSNR>.png``."""
    return f"{stem}_{score.psnr_xfusion:.2f}.png"
