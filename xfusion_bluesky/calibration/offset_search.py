"""Find the one offset of the clocks at which LR frames explain HR frames best, or refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lagged_frames import (
    LaggedBurst,
    LaggedFit,
    lagged_fit,
    on_lr_clock,
)
from xfusion_bluesky.calibration.offset_refinement import refine_offset
from xfusion_bluesky.calibration.record import TemporalCalibration
from xfusion_bluesky.calibration.time_fit import TimeFit
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["search_offset"]

_STEP = 0.2
"""Between trial offsets, in LR intervals."""
_ODDS = math.log(100)
"""Log of the odds by which the best offset must be likelier than chance.

Of far offsets in its own valley it must be likelier by the square of the odds, of other valleys by
the cube: there are many."""
_CLEAR = 1.2
"""Least ratio of the second best cost to the best."""
_NOISE = 0.01
"""Share of the HR variation below which a cost is noise."""
_RISE = 0.1
"""Of the cost between two valleys: less is a bump in one."""
_FAR = 8.0
"""Standard errors from the offset found, from which on others must be far less likely."""
_WIDEST = 8.0
"""Of a valley to each side, in LR intervals."""
_FEWEST_CHANGES = 4.0
"""Steps between LR frames that share what changes in a burst."""
_FEWEST_FREE = 6
"""HR values beside levels and slope: with fewer, chance fits them at some of so many offsets."""


def search_offset(
    bursts: Sequence[LaggedBurst],
    *,
    method: Literal["trace", "image"],
    search_ns: tuple[float, float] | None,
    drift_ppm: float | None,
    nothing: str,
) -> TimeFit:
    """Fit offset, and drift where wanted, over all bursts together.

    Parameters
    ----------
    bursts : sequence of LaggedBurst
    method : {"trace", "image"}
    search_ns : (lowest, highest) or None
        Offsets to try; default: two HR intervals to each side.
    drift_ppm : float or None
        Known drift; None = fit it.
    nothing : str
        What to say when no offset explains the HR frames.

    Raises
    ------
    CalibrationError
        No offset explains the HR frames, several do, or the best lies at the edge.
    """
    low_ns, high_ns = search_ns or _two_hr_intervals(bursts)
    if not (math.isfinite(low_ns) and math.isfinite(high_ns) and low_ns < high_ns):
        raise CalibrationError(f"Offsets cannot be tried from {low_ns} to {high_ns} ns.")
    trials = _Trials.over(bursts, low_ns, high_ns, drift_ppm or 0.0)
    trials.check(nothing)
    valley_ns = trials.valley_ns
    reach_ns = max(trials.interval_ns, 2 * valley_ns)
    start_ns = float(trials.offsets_ns[trials.best])
    used = _steadily_used(bursts, start_ns, drift_ppm or 0.0, reach_ns)
    found = refine_offset(bursts, start_ns, drift_ppm, used, valley_ns, reach_ns)
    end = lagged_fit(bursts, found.offset_ns, found.drift_ppm, used=used)
    trials.check_width(found.offset_ns, found.offset_sigma_ns, end)
    traces = [
        burst.traces(
            on_lr_clock(burst.hr_time_ns, found.offset_ns, found.drift_ppm), use, end.slope
        )
        for burst, use in zip(bursts, used, strict=True)
    ]
    return TimeFit(
        calibration=TemporalCalibration(
            offset_ns=found.offset_ns,
            offset_sigma_ns=found.offset_sigma_ns,
            drift_ppm=found.drift_ppm,
            drift_sigma_ppm=found.drift_sigma_ppm,
            method=method,
            samples=int(sum(use.sum() for use in used)),
            ambiguity=trials.unrivalled(end),
        ),
        trial_offsets_ns=trials.offsets_ns,
        cost=trials.cost,
        hr_time_ns=np.concatenate(
            [burst.hr_time_ns[use] for burst, use in zip(bursts, used, strict=True)]
        ),
        hr_trace=np.concatenate([seen for seen, _ in traces]),
        fitted_trace=np.concatenate([predicted for _, predicted in traces]),
    )


@dataclass(frozen=True, eq=False)
class _Trials:
    """What every offset of a grid explains."""

    bursts: Sequence[LaggedBurst]
    drift_ppm: float
    offsets_ns: Float64Array
    fits: list[LaggedFit]
    interval_ns: float
    """Of the LR camera."""

    @classmethod
    def over(
        cls, bursts: Sequence[LaggedBurst], low_ns: float, high_ns: float, drift_ppm: float
    ) -> _Trials:
        interval_ns = float(np.median([burst.interval_ns for burst in bursts]))
        count = max(math.ceil((high_ns - low_ns) / (_STEP * interval_ns)) + 1, 5)
        offsets_ns = np.linspace(low_ns, high_ns, count)
        fits = [lagged_fit(bursts, offset, drift_ppm) for offset in offsets_ns]
        return cls(bursts, drift_ppm, offsets_ns, fits, interval_ns)

    @cached_property
    def best(self) -> int:
        return int(np.argmax([fit.evidence for fit in self.fits]))

    @cached_property
    def cost(self) -> Float64Array:
        """Unexplained share of the HR variation; HR frames out of reach are not explained."""
        freedom = np.array([fit.freedom for fit in self.fits])
        unexplained = 1 - np.array([fit.explained for fit in self.fits])
        cost: Float64Array = unexplained ** (freedom / max(int(freedom.max()), 1))
        return cost

    @property
    def enough(self) -> float:
        """Evidence that chance hardly gives, at any of four offsets an LR interval."""
        span_ns = float(self.offsets_ns[-1] - self.offsets_ns[0])
        return _ODDS + math.log(max(4 * span_ns / self.interval_ns, 1.0))

    @property
    def valley_ns(self) -> float:
        """How far from the best trial the cost rises by what noise of LR frames adds to it.

        Within that, bumps of the cost are such noise; a parabola must not be narrower.
        """
        high = self.cost >= 1 - self.fits[self.best].correlation2
        away = np.flatnonzero(high) - self.best
        sides = [int(side.min()) for side in (away[away > 0], -away[away < 0]) if side.size]
        step_ns = float(self.offsets_ns[1] - self.offsets_ns[0])
        width_ns = (float(np.mean(sides)) - 1) * step_ns if sides else step_ns
        return min(max(width_ns, self.interval_ns / 20), _WIDEST * self.interval_ns)

    def check(self, nothing: str) -> None:
        """Refuse a best trial that is no better than chance, or lies at the edge."""
        first_ns, last_ns = self.offsets_ns[0], self.offsets_ns[-1]
        most = max(fit.independent for fit in self.fits)
        if most < _FEWEST_FREE:
            raise CalibrationError(
                "The offset of the clocks cannot be fitted: at no trial offset do LR frames "
                f"surround enough HR frames (at most {most:.0f} beside levels and slope, "
                f"{_FEWEST_FREE} are needed). Take more bursts, or a longer LR recording; the data "
                "are safe."
            )
        fit = self.fits[self.best]
        if fit.evidence < self.enough:
            raise CalibrationError(
                f"{nothing} The best of {len(self.fits)} offsets between {first_ns:.0f} and "
                f"{last_ns:.0f} ns explains {100 * fit.explained:.0f} % of what varies in "
                f"{sum(int(use.sum()) for use in fit.used)} HR frames; chance does that too. The "
                "data are safe."
            )
        changes = float(np.median([burst.changes for burst in self.bursts]))
        if changes < _FEWEST_CHANGES:
            raise CalibrationError(
                "The offset of the clocks cannot be fitted: what the LR camera sees changes in "
                f"{changes:.0f} steps of a burst alone, as at an edge or a flash. That is too "
                "sharp to be told between frames. Use the event flags, a beam that flickers, or a "
                "sample that moves; the data are safe."
            )
        if self.best in (0, len(self.fits) - 1):
            raise CalibrationError(
                f"The best offset of the clocks, {self.offsets_ns[self.best]:.0f} ns, is the last "
                "one tried: the true one lies beyond. Search a wider range, or check the trigger "
                "delays in the configuration; the data are safe."
            )

    def check_width(self, offset_ns: float, sigma_ns: float, end: LaggedFit) -> None:
        """Refuse where offsets far outside the error explain as much as the one found."""
        far_ns = max(self.interval_ns, _FAR * sigma_ns)
        alike = [
            float(offset)
            for offset, fit in zip(self.offsets_ns, self.fits, strict=True)
            if abs(offset - offset_ns) >= far_ns
            and fit.evidence >= self.enough
            and _likelier(end, fit) < 2 * _ODDS
        ]
        if alike:
            raise CalibrationError(
                f"The offset of the clocks is ambiguous: {offset_ns:.0f} ns, and offsets between "
                f"{min(alike):.0f} and {max(alike):.0f} ns, explain the HR frames nearly as well, "
                "as where something repeats, or where little changes while HR frames are taken. "
                "Narrow the search by known delays or the event flags, take more bursts, or use a "
                "sample that moves; the data are safe."
            )

    def unrivalled(self, end: LaggedFit) -> float:
        """Return the cost of the second best valley over the best one, or refuse.

        A rival is judged by the HR frames that it reaches: that it reaches fewer is no evidence.

        Parameters
        ----------
        end : LaggedFit
            At the offset found.
        """
        least = (1 + _NOISE) / (1 - end.explained + _NOISE)
        for k in self._other_valleys():
            rival = self._bottom(k)
            if rival.evidence < self.enough:
                continue
            ratio = (1 - rival.explained + _NOISE) / (1 - end.explained + _NOISE)
            if ratio < _CLEAR or _likelier(end, rival) < 3 * _ODDS:
                raise CalibrationError(
                    f"The offset of the clocks is ambiguous: {self.offsets_ns[self.best]:.0f} ns "
                    f"and {self.offsets_ns[k]:.0f} ns explain the HR frames nearly as well "
                    f"({100 * end.explained:.1f} % and {100 * rival.explained:.1f} %), as where "
                    "something repeats. Narrow the search by known delays or the event flags, "
                    "take more bursts, or give both cameras one edge of a shutter; the data are "
                    "safe."
                )
            least = min(least, ratio)
        return least

    def _other_valleys(self) -> list[int]:
        cost, best = self.cost, self.best
        padded = np.concatenate([[np.inf], cost, [np.inf]])
        minimum = (cost <= padded[:-2]) & (cost <= padded[2:])
        far = np.abs(self.offsets_ns - self.offsets_ns[best]) >= self.interval_ns
        rise = np.array([cost[min(k, best) : max(k, best) + 1].max() for k in range(len(cost))])
        valleys: list[int] = np.flatnonzero(minimum & far & (rise - cost >= _RISE)).tolist()
        return valleys

    def _bottom(self, k: int) -> LaggedFit:
        """Look between the trials around one: its valley may be narrower than their distance."""
        step_ns = self.offsets_ns[1] - self.offsets_ns[0]
        near_ns = self.offsets_ns[k] + step_ns * np.linspace(-1, 1, 11)
        fits = [lagged_fit(self.bursts, offset, self.drift_ppm) for offset in near_ns]
        return max(fits, key=lambda fit: fit.explained)


def _likelier(best: LaggedFit, other: LaggedFit) -> float:
    """Log-likelihood of the best above another, what noise of LR frames adds taken off both."""
    more = max(best.explained - other.explained, 0.0) / (1 - best.correlation2)
    return other.independent / 2 * math.log1p(more)


def _two_hr_intervals(bursts: Sequence[LaggedBurst]) -> tuple[float, float]:
    steps_ns = np.concatenate([np.diff(burst.hr_time_ns) for burst in bursts])
    if not steps_ns.size:
        raise CalibrationError(
            "The clocks cannot be compared: every burst has a single HR frame. Download more HR "
            "frames around the burst; they are still in the camera."
        )
    reach_ns = 2 * float(np.median(steps_ns))
    return -reach_ns, reach_ns


def _steadily_used(
    bursts: Sequence[LaggedBurst], offset_ns: float, drift_ppm: float, reach_ns: float
) -> list[BoolArray]:
    """HR frames that stay among LR frames while the offset is refined: costs stay comparable."""
    near_ns = (offset_ns - reach_ns, offset_ns, offset_ns + reach_ns)
    used = []
    for burst in bursts:
        use = np.logical_and.reduce(
            [burst.covered(on_lr_clock(burst.hr_time_ns, o, drift_ppm)) for o in near_ns]
        )
        used.append(use if use.sum() > 1 else np.zeros_like(use))
    return used
