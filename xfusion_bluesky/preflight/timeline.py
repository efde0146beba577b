"""A burst as times: when each camera looks, and which output frames HR frames stand around."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..calibration.matching import NO_FRAME, brackets, match_frames
from ..fusion.arrays import BoolArray, Float64Array

__all__ = ["BurstSettings", "PhantomSettings", "ShimadzuSettings", "Timeline", "quantised"]

SHIMADZU_QUANTUM_NS = 10
PAIR_TOLERANCE_NS = 10.0
_PHASES = 32


@dataclass(frozen=True)
class ShimadzuSettings:
    """How the LR camera records.

    Parameters
    ----------
    interval_ns, exposure_ns : float
        From frame to frame, and how long each collects light.
    frames : int
        128, or 256 in HP mode.
    frames_before_trigger : int
        Frames that end before the trigger arrives.
    camera_delay_ns : float
        Delay set in the camera, after its trigger.
    delay_ns : float
        Delay of its trigger after T0.
    rows, columns : int
        Of a frame.
    playback_hz : float
        Frames a second of the playback.
    """

    interval_ns: float = 1000.0
    exposure_ns: float = 500.0
    frames: int = 128
    frames_before_trigger: int = 0
    camera_delay_ns: float = 0.0
    delay_ns: float = 0.0
    rows: int = 250
    columns: int = 400
    playback_hz: float = 33.0

    @property
    def window_ns(self) -> float:
        """How long the burst lasts."""
        return self.frames * self.interval_ns

    @property
    def begin_ns(self) -> float:
        """Begin of the first exposure after T0."""
        return self.delay_ns + self.camera_delay_ns - self.frames_before_trigger * self.interval_ns


@dataclass(frozen=True)
class PhantomSettings:
    """How the HR camera records, and which of its frames are fetched.

    Parameters
    ----------
    period_ns, exposure_ns : float
        From frame to frame, and how long each collects light.
    first, last : int
        Frames that are fetched; 0 is the first after the trigger.
    delay_ns : float
        Delay of its trigger after T0.
    rows, columns : int
        Of the readout region.
    free_running : bool
        Whether its frames start at any moment; otherwise frame 0 begins with the trigger.
    memory_frames : int or None
        Frames that fit into its memory; None = not known.
    kept_before_trigger : int or None
        Frames that it kept before its last trigger; None = not known.
    link_bytes_per_s : float
        Speed of the download.
    """

    period_ns: float = 1e9 / 76e3
    exposure_ns: float = 500.0
    first: int = 0
    last: int = 3
    delay_ns: float = 0.0
    rows: int = 800
    columns: int = 1280
    free_running: bool = True
    memory_frames: int | None = None
    kept_before_trigger: int | None = None
    link_bytes_per_s: float = 1.18e9

    @property
    def frames(self) -> int:
        """Number of frames that are fetched."""
        return self.last - self.first + 1

    def begin_ns(self, number: Float64Array | float) -> Float64Array:
        """Return the begin of exposures after T0, by number, if frame 0 begins with the trigger."""
        return self.delay_ns + np.asarray(number, dtype=np.float64) * self.period_ns


@dataclass(frozen=True)
class BurstSettings:
    """Everything that decides what a burst will be."""

    shimadzu: ShimadzuSettings = ShimadzuSettings()
    phantom: PhantomSettings = PhantomSettings()


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of one burst on one clock, ns after T0. `n` LR frames, `k` HR frames.

    Parameters
    ----------
    lr_begin_ns, lr_time_ns : (n,)
        Begin and middle of the exposures.
    hr_number, hr_begin_ns, hr_time_ns : (k,)
        Frames that are fetched.
    hr_flagged : (k,) bool
        Whether the camera sees the LR camera recording (its event flag).
    bracketed : (n,) bool
        Output has an HR frame at or before it, and one after it.
    bracketed_xfusion : (n,) bool
        The same by XFusion's rule: flagged frames only, the first of them at LR frame 0.
    coincident : (k,) bool
        An LR frame lies within 10 ns, so that this HR frame can be held out.
    bracketed_least : int
        Outputs that are bracketed in the worst case, if the HR frames start at any moment.
    """

    lr_begin_ns: Float64Array
    lr_time_ns: Float64Array
    hr_number: Float64Array
    hr_begin_ns: Float64Array
    hr_time_ns: Float64Array
    hr_flagged: BoolArray
    bracketed: BoolArray
    bracketed_xfusion: BoolArray
    coincident: BoolArray
    bracketed_least: int

    @classmethod
    def of(cls, settings: BurstSettings) -> Timeline:
        """Compute the timeline of a burst."""
        lr, hr = settings.shimadzu, settings.phantom
        frame = np.arange(lr.frames, dtype=np.float64)
        lr_begin_ns: Float64Array = lr.begin_ns + frame * lr.interval_ns
        lr_time_ns: Float64Array = lr_begin_ns + lr.exposure_ns / 2
        number = np.arange(hr.first, hr.last + 1, dtype=np.float64)
        hr_begin_ns = hr.begin_ns(number)
        hr_time_ns = hr_begin_ns + hr.exposure_ns / 2
        flagged = (hr_begin_ns < lr.begin_ns + lr.window_ns) & (
            hr_begin_ns + hr.exposure_ns > lr.begin_ns
        )
        match = match_frames(
            lr_time_ns, hr_time_ns, hr_event_flag=flagged, tolerance_ns=PAIR_TOLERANCE_NS
        )
        coincident = np.zeros(len(number), dtype=np.bool_)
        coincident[match.pairs[:, 1]] = True
        phases_ns = np.arange(_PHASES) / _PHASES * hr.period_ns if hr.free_running else [0.0]
        return cls(
            lr_begin_ns,
            lr_time_ns,
            number,
            hr_begin_ns,
            hr_time_ns,
            flagged,
            match.bracketed,
            np.arange(lr.frames) < match.xfusion_outputs,
            coincident,
            min(_count(lr_time_ns, hr_time_ns + phase) for phase in phases_ns),
        )


def quantised(settings: ShimadzuSettings) -> ShimadzuSettings:
    """Return the settings as the camera takes them: times in steps of 10 ns, rounded up."""
    return replace(
        settings,
        interval_ns=round_up(settings.interval_ns),
        exposure_ns=round_up(settings.exposure_ns),
        camera_delay_ns=round_up(settings.camera_delay_ns),
    )


def round_up(time_ns: float) -> float:
    """Return the next multiple of the LR camera's 10 ns."""
    steps = round(time_ns / SHIMADZU_QUANTUM_NS, 6)
    return float(np.ceil(steps) * SHIMADZU_QUANTUM_NS)


def _count(lr_time_ns: Float64Array, hr_time_ns: Float64Array) -> int:
    before, after = brackets(lr_time_ns, hr_time_ns)
    return int(((before != NO_FRAME) & (after != NO_FRAME)).sum())
