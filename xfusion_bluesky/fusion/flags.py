"""What looks wrong about a burst or an image, in a form that people and tables can read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Flag", "Limits", "Severity"]


class Severity(StrEnum):
    """How much a flag matters. An image is never withheld for a flag."""

    NOTICE = "notice"
    """Worth knowing; results are usable."""
    WARNING = "warning"
    """Look at the result before it is used."""
    ALARM = "alarm"
    """Something is wrong with the data or the instrument."""


@dataclass(frozen=True)
class Flag:
    """One finding.

    Parameters
    ----------
    name : str
        Short and stable, for tables: lower case with hyphens.
    value, threshold : float
        What was found, and where it begins to matter.
    severity : Severity
        How much it matters.
    reason : str
        A sentence for people.
    """

    name: str
    value: float
    threshold: float
    severity: Severity
    reason: str


@dataclass(frozen=True)
class Limits:
    """Where findings begin to matter.

    Parameters
    ----------
    masked_share : float
        Share of masked, saturated or dead LR pixels.
    missing_share : float
        Share of frames that are invalid.
    lr_psnr_db : float
        Lowest PSNR of the LR frames (their contrast against their noise), dB.
    hr_gap_frames : float
        Largest gap between HR frames, in LR frames.
    motion_px : float
        Fastest motion, in LR pixels per LR frame.
    shift_px : float
        Largest misregistration of the cameras, in HR pixels.
    gain : (float, float)
        Range of LR intensities over binned HR intensities.
    noise_ratio : float
        LR residual variance at the times of HR frames, over what the noise model says.
    jump_sd : float
        Largest jump of the frame mean, in robust standard deviations of its usual steps.
    contradicted_share : float
        Share of LR pixels that contradict an image beyond what noise does.
    detail : (float, float)
        Range of an image's detail energy over that of its HR neighbours.
    """

    masked_share: float = 0.01
    missing_share: float = 0.1
    lr_psnr_db: float = 20.0
    hr_gap_frames: float = 40.0
    motion_px: float = 1.0
    shift_px: float = 0.2
    gain: tuple[float, float] = (0.8, 1.25)
    noise_ratio: float = 3.0
    jump_sd: float = 5.0
    contradicted_share: float = 0.01
    detail: tuple[float, float] = (0.5, 1.5)
