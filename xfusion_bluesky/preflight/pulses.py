"""The pulses of a storage ring against the LR camera's 10 ns, and the afterglow they leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..fusion.arrays import Float64Array
from .timeline import SHIMADZU_QUANTUM_NS, round_up

__all__ = ["DECAY_NS", "Drift", "Pulses", "Steadiness", "carried_share", "decay_of", "gap_for"]

DECAY_NS = {"LuAG": 70.0, "YAG": 60.0, "LYSO": 40.0}
"""Main decay time of scintillators, ns. Slow components (us to ms, some per cent) come on top."""

_STEADY = 0.01
_LONGEST_SEARCH = 4.0
_PHASES = 256


@dataclass(frozen=True)
class Drift:
    """How frames slip along the pulses."""

    pulses: int
    """Whole pulses that are nearest to one interval."""
    frame_ns: float
    """Interval less those pulses."""
    burst_ns: float
    """The same over all frames of the burst, without sign."""


@dataclass(frozen=True)
class Steadiness:
    """Light of the frames of a burst, in pulses."""

    least: float
    most: float
    """Over all frames, with the delay that keeps them most alike (or the known one)."""
    steady_share: float
    """Share of the delays with which all frames get the same light within 1 %."""
    first_pulse_ns: tuple[float, float] | None
    """First pulse after the begin of the first exposure, from and to, for such delays."""

    @property
    def step(self) -> float:
        """Largest difference of two frames, as a share of the mean."""
        mean = (self.least + self.most) / 2
        return (self.most - self.least) / mean if mean > 0 else 0.0


@dataclass(frozen=True)
class Pulses:
    """The pulse pattern of a ring.

    Parameters
    ----------
    period_ns : float
        From pulse to pulse.
    width_ns : float
        Length of one.
    offset_ns : float or None
        Time of any pulse after T0, where the trigger is locked to the ring; None = not known.

    Raises
    ------
    ValueError
        If a time is not positive, or the pulse is longer than the period.
    """

    period_ns: float
    width_ns: float = 0.1
    offset_ns: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.width_ns <= self.period_ns or not math.isfinite(self.period_ns):
            raise ValueError(
                f"A pulse of {self.width_ns:g} ns every {self.period_ns:g} ns is no pulse pattern: "
                "both must be above zero, and the pulse not longer than the period."
            )

    def drift(self, interval_ns: float, frames: int) -> Drift:
        """Return how frames slip against the pulses.

        Parameters
        ----------
        interval_ns : float
            From frame to frame.
        frames : int
            In the burst.
        """
        pulses = max(1, round(interval_ns / self.period_ns))
        frame_ns = interval_ns - pulses * self.period_ns
        return Drift(pulses, frame_ns, abs(frame_ns) * frames)

    def light(
        self, begin_ns: Float64Array, exposure_ns: float, offset_ns: Float64Array | float
    ) -> Float64Array:
        """Return the light of exposures, in pulses.

        Parameters
        ----------
        begin_ns : array
            Begin of the exposures.
        exposure_ns : float
            How long they last.
        offset_ns : float or array
            Time of any pulse; broadcast against `begin_ns`.
        """

        def so_far(time_ns: Float64Array) -> Float64Array:
            periods = (time_ns - offset_ns) / self.period_ns
            whole = np.floor(periods)
            part = (periods - whole) * self.period_ns / self.width_ns
            total: Float64Array = whole + np.minimum(part, 1.0)
            return total

        return so_far(begin_ns + exposure_ns) - so_far(begin_ns)

    def steadiness(self, begin_ns: Float64Array, exposure_ns: float) -> Steadiness:
        """Return how evenly the pulses are shared out among exposures.

        Parameters
        ----------
        begin_ns : (n,) array
            Begin of the exposures after T0.
        exposure_ns : float
            How long they last.
        """
        known = self.offset_ns is not None
        phase_ns = np.arange(_PHASES) / _PHASES * self.period_ns
        offset_ns = np.array([self.offset_ns]) if known else begin_ns[0] + phase_ns
        light = self.light(begin_ns[None, :], exposure_ns, offset_ns[:, None])
        least, most = light.min(axis=1), light.max(axis=1)
        steady = most - least <= _STEADY * np.maximum(light.mean(axis=1), 1e-9)
        # A delay with which every frame is dark is steady, and of no use.
        steady &= least > 0
        best = int(np.argmin((most - least) - 1e-3 * least))
        window = None if known or not steady.any() else _longest_run(steady, phase_ns)
        return Steadiness(float(least[best]), float(most[best]), float(steady.mean()), window)

    def steady_interval_ns(
        self, interval_ns: float, exposure_ns: float, frames: int
    ) -> float | None:
        """Return the interval nearest to one at which a tuned delay keeps all frames alike.

        Parameters
        ----------
        interval_ns, exposure_ns : float
            Wanted; the result is a multiple of 10 ns and no shorter than the exposure.
        frames : int
            In the burst.

        Returns
        -------
        float or None
            None where there is none up to four times as long.
        """
        rest_ns = exposure_ns % self.period_ns
        fewer = self.period_ns - rest_ns if exposure_ns >= self.period_ns else 0.0
        slack_ns = max(rest_ns, fewer) - self.width_ns
        shortest_ns = round_up(max(exposure_ns, SHIMADZU_QUANTUM_NS))
        candidates = np.arange(
            shortest_ns, _LONGEST_SEARCH * max(interval_ns, self.period_ns), SHIMADZU_QUANTUM_NS
        )
        slips_ns = [self.drift(float(each), frames).burst_ns for each in candidates]
        good = candidates[np.array(slips_ns) <= slack_ns]
        return float(good[np.argmin(np.abs(good - interval_ns))]) if good.size else None


def decay_of(scintillator: str) -> float:
    """Return the decay time of a scintillator in ns: one with a name, or a number as text.

    Raises
    ------
    ValueError
        The name is not known.
    """
    for name, decay_ns in DECAY_NS.items():
        if name.casefold() == scintillator.casefold():
            return decay_ns
    try:
        decay_ns = float(scintillator)
    except ValueError:
        decay_ns = math.nan
    if not 0 <= decay_ns < math.inf:
        raise ValueError(
            f"The scintillator {scintillator!r} is not known; give {', '.join(DECAY_NS)}, or its "
            "decay time in ns."
        )
    return decay_ns


def carried_share(interval_ns: float, exposure_ns: float, decay_ns: float) -> float:
    """Return the share of a frame's light that x-rays of earlier frames left behind.

    For a beam that is always on and one exponential decay.

    Parameters
    ----------
    interval_ns, exposure_ns : float
        Of the camera.
    decay_ns : float
        Of the scintillator.
    """
    if decay_ns <= 0 or exposure_ns <= 0:
        return 0.0
    gap_ns = max(interval_ns - exposure_ns, 0.0)
    inside = decay_ns / exposure_ns * -math.expm1(-exposure_ns / decay_ns)
    return inside * math.exp(-gap_ns / decay_ns)


def gap_for(share: float, exposure_ns: float, decay_ns: float) -> float:
    """Return the dark time between exposures, in ns, that carries no more than a share over."""
    return max(decay_ns * math.log(carried_share(exposure_ns, exposure_ns, decay_ns) / share), 0.0)


def _longest_run(steady: np.ndarray, phase_ns: Float64Array) -> tuple[float, float]:
    """Return begin and end of the longest run of True, around the end; the end may exceed it."""
    if steady.all():
        return 0.0, float(phase_ns[-1])
    start = int(np.argmin(steady))
    rolled = np.roll(steady, -start)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], rolled.astype(int), [0]))))
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    step_ns = float(phase_ns[1])
    begin = (start + int(begins[longest])) % len(steady)
    return begin * step_ns, (begin + int(ends[longest] - begins[longest]) - 1) * step_ns
