"""How well LR frames, taken at shifted times, explain the HR frames of the same bursts.

A burst enters as inner products of its frames, summed over pixels: traces are images of one
pixel. For a trial offset each HR frame has a time on the LR clock. A cubic spline through the LR
frames, averaged over the exposure, predicts it as a row of weights; level (of each pixel and
burst) and slope (common) are free. The cost is what stays unexplained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["FEWEST_LR", "LaggedBurst", "LaggedFit", "lagged_fit", "on_lr_clock"]

FEWEST_LR = 4
_MOST_EXPLAINED = 1 - 1e-9
_MOST_NOISE = 0.5
"""Share of the LR variation that is taken for noise at most: a wrong noise model does no harm."""
_LONGEST_STEP = 1.5
"""In intervals: HR frames beside a lost LR frame are not used."""


class LaggedBurst:
    """Inner products of the frames of one burst, ready to be compared at any offset.

    Parameters
    ----------
    lr_time_ns, hr_time_ns : (n_lr,), (n_hr,) float64
        Mid-exposure by each camera's own clock, strictly increasing.
    lr, hr : (n_lr, n_pixels), (n_hr, n_pixels) float64
        Values relative to the same level.
    lr_exposure_ns, hr_exposure_ns : float
    lr_variance : float
        Noise variance of an LR value, summed over the pixels.
    channels : float
        How many pixels with noise of their own that is worth.
    """

    def __init__(
        self,
        lr_time_ns: Float64Array,
        hr_time_ns: Float64Array,
        lr: Float64Array,
        hr: Float64Array,
        *,
        lr_exposure_ns: float = 0.0,
        hr_exposure_ns: float = 0.0,
        lr_variance: float = 0.0,
        channels: float = 1.0,
    ) -> None:
        self.lr_time_ns, self.hr_time_ns = lr_time_ns, hr_time_ns
        self.interval_ns = float(np.median(np.diff(lr_time_ns)))
        lr, hr = lr - lr.mean(axis=0), hr - hr.mean(axis=0)  # before squares lose digits
        self.lr_lr, self.lr_hr, self.hr_hr = lr @ lr.T, lr @ hr.T, hr @ hr.T
        self.lr_variance, self.channels = lr_variance, channels
        self._mean_hr = hr.mean(axis=1)
        change = np.square(np.diff(lr, axis=0)).sum(axis=1)
        self.changes = float(change.sum() ** 2 / max(float(np.square(change).sum()), 1e-300))
        """How many steps from one LR frame to the next share the change: 1 for a single edge."""
        # Frame k of the LR camera is 1 at its own time and 0 at the others': a spline through
        # that is the weight of frame k, at any time.
        self._spline = CubicSpline(lr_time_ns, np.eye(len(lr_time_ns)))
        self._bend = self._spline.derivative(2)
        self._area = self._spline.antiderivative()
        # A box of this width turns an average over the LR exposure into one over the HR exposure,
        # to second order.
        self._widening_ns2 = hr_exposure_ns**2 - lr_exposure_ns**2

    def covered(self, time_ns: Float64Array) -> BoolArray:
        """Which times on the LR clock LR frames surround closely."""
        half_ns = np.sqrt(max(self._widening_ns2, 0.0)) / 2
        inside = (time_ns - half_ns >= self.lr_time_ns[0]) & (
            time_ns + half_ns <= self.lr_time_ns[-1]
        )
        right = np.clip(np.searchsorted(self.lr_time_ns, time_ns), 1, len(self.lr_time_ns) - 1)
        step_ns = self.lr_time_ns[right] - self.lr_time_ns[right - 1]
        covered: BoolArray = inside & (step_ns <= _LONGEST_STEP * self.interval_ns)
        return covered

    def weights(self, time_ns: Float64Array) -> Float64Array:
        """Weights of the LR frames that predict HR frames at times on the LR clock, (m, n_lr)."""
        weights: Float64Array
        half_ns = np.sqrt(max(self._widening_ns2, 0.0)) / 2
        # A refinement may look a little further than it stays; a spline runs away out there.
        time_ns = np.clip(time_ns, self.lr_time_ns[0] + half_ns, self.lr_time_ns[-1] - half_ns)
        if self._widening_ns2 > 0:
            weights = (self._area(time_ns + half_ns) - self._area(time_ns - half_ns)) / (
                2 * half_ns
            )
        else:
            weights = self._spline(time_ns)
            if self._widening_ns2 < 0:
                weights = weights + self._widening_ns2 / 24 * self._bend(time_ns)
        return weights

    def traces(
        self, time_ns: Float64Array, used: BoolArray, slope: float
    ) -> tuple[Float64Array, Float64Array]:
        """Return what HR frames show and what LR frames predict, along the strongest pattern.

        Parameters
        ----------
        time_ns : (n_hr,) float64
            HR frames on the LR clock.
        used : (n_hr,) bool
        slope : float
        """
        _, _, cross, hr = self.products(time_ns, used)
        if not len(hr):
            return np.zeros(0), np.zeros(0)
        values, vectors = np.linalg.eigh(hr)
        pattern = vectors[:, -1] / np.sqrt(max(float(values[-1]), 1e-300))
        pattern *= np.sign(pattern @ self._mean_hr[used]) or 1.0
        return hr @ pattern, slope * cross @ pattern

    def products(
        self, time_ns: Float64Array, used: BoolArray
    ) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """Return squares of the predictions, (m,), the part of noise in them, and products.

        The products are those of predictions with HR frames and of HR frames with each other,
        both (m, m), about the mean of the burst.
        """
        weights = self.weights(time_ns[used])
        weights -= weights.mean(axis=0) if len(weights) else 0
        power = (weights @ self.lr_lr * weights).sum(axis=1)
        noise = self.lr_variance * np.square(weights).sum(axis=1)
        mean = np.eye(len(weights)) - 1 / max(len(weights), 1)
        cross = weights @ self.lr_hr[:, used] @ mean
        return power, noise, cross, mean @ self.hr_hr[np.ix_(used, used)] @ mean


@dataclass(frozen=True, eq=False)
class LaggedFit:
    """Comparison of all bursts at one offset.

    Parameters
    ----------
    used : list of (n_hr,) bool
        HR frames that entered, by burst.
    freedom : int
        Their number minus one level a burst.
    independent : float
        The same, times the channels of each burst, minus one slope; 0 or more.
    slope : float
        HR variation a unit of LR variation.
    explained : float
        Share of the variation of these HR frames, in [0, 1), noise of LR frames allowed for; 0
        where the slope is negative.
    correlation2 : float
        Squared correlation, in [0, 1); 0 where it is negative.
    unexplained : (n,) float64
        Of each HR frame that entered: sum of squares, without what noise of LR frames adds.
    residual : float
        Sum of squares over all of them, with that noise.
    """

    used: list[BoolArray]
    freedom: int
    independent: float
    slope: float
    explained: float
    correlation2: float
    unexplained: Float64Array
    residual: float

    @property
    def evidence(self) -> float:
        """Log-likelihood above that of nothing in common."""
        return -0.5 * self.independent * float(np.log1p(-self.correlation2))


def lagged_fit(
    bursts: Sequence[LaggedBurst],
    offset_ns: float,
    drift_ppm: float = 0.0,
    *,
    used: Sequence[BoolArray] | None = None,
    slope: float | None = None,
) -> LaggedFit:
    """Compare HR frames with LR frames for one offset and drift of the clocks.

    Parameters
    ----------
    bursts : sequence of LaggedBurst
    offset_ns, drift_ppm : float
        As in `TemporalCalibration`.
    used : sequence of (n_hr,) bool, optional
        HR frames to use; default: all that LR frames surround at this offset.
    slope : float, optional
        Default: fitted.
    """
    chosen, powers, noises, crosses, variations = [], [], [], [], []
    for k, burst in enumerate(bursts):
        time_ns = on_lr_clock(burst.hr_time_ns, offset_ns, drift_ppm)
        use = burst.covered(time_ns) if used is None else used[k]
        if use.sum() < 2:  # a single frame only tells the level of its burst
            use = np.zeros_like(use)
        power, noise, cross, hr = burst.products(time_ns, use)
        chosen.append(use)
        powers.append(power)
        noises.append(noise)
        crosses.append(np.diag(cross))
        variations.append(np.diag(hr))
    raw, noise, cross, variation = (
        np.concatenate(x) for x in (powers, noises, crosses, variations)
    )
    # Between LR frames a spline averages noise away; without this, offsets between frames win.
    power = raw - noise * min(1.0, _MOST_NOISE * raw.sum() / max(noise.sum(), 1e-300))
    common, total = max(float(cross.sum()), 0.0), float(variation.sum())
    fitted = float(cross.sum() / power.sum()) if power.sum() > 0 else 0.0
    slope = fitted if slope is None else slope
    free = [max(int(use.sum()) - 1, 0) for use in chosen]
    independent = sum(n * burst.channels for n, burst in zip(free, bursts, strict=True)) - 1
    return LaggedFit(
        used=chosen,
        freedom=sum(free),
        independent=max(independent, 0.0),
        slope=slope,
        explained=_share(common**2, total * float(power.sum())),
        correlation2=_share(common**2, total * float(raw.sum())),
        unexplained=variation - 2 * slope * cross + slope**2 * power,
        residual=max(total + float((slope**2 * raw - 2 * slope * cross).sum()), 0.0),
    )


def _share(part: float, whole: float) -> float:
    return min(part / whole, _MOST_EXPLAINED) if whole > 0 else 0.0


def on_lr_clock(time_ns: Float64Array, offset_ns: float, drift_ppm: float) -> Float64Array:
    """Invert `TemporalCalibration.common_time_ns`."""
    return (time_ns - offset_ns) / (1 + 1e-6 * drift_ppm)
