"""Offset and drift between the clocks of the cameras, from what both saw of one beam or sample.

The flicker of the beam is the same function of time for both cameras; so is the motion of the
sample. Both are looked at through short windows: a burst of the LR camera, and the few HR frames
that fall into it. All bursts share one offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lagged_frames import FEWEST_LR, LaggedBurst
from xfusion_bluesky.calibration.offset_search import search_offset
from xfusion_bluesky.calibration.time_fit import TimeFit
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["TimeFit", "TraceBurst", "offset_from_images", "offset_from_traces"]

_NO_FLICKER = (
    "There is no flicker to lock on, the beam is too constant: use the image of a moving sample, "
    "or a pulsed light that both cameras see."
)
_NO_MOTION = (
    "Nothing moves enough to compare the cameras' times by: use the flicker of the beam, or a "
    "pulsed light that both cameras see."
)
_SECOND_DIFFERENCE = 6.0
"""Variance of y(k-1) - 2 y(k) + y(k+1) over that of y, for white noise."""


@dataclass(frozen=True, eq=False)
class TraceBurst:
    """Mean of every frame of one burst, over the field that both cameras see.

    Parameters
    ----------
    lr_time_ns, hr_time_ns : (n_lr,), (n_hr,) float64
        Mid-exposure, ns after T0, by each camera's own clock; increasing.
    lr_trace, hr_trace : (n_lr,), (n_hr,) float64
        Mean transmission; NaN = the frame is missing.
    lr_exposure_ns, hr_exposure_ns : float
    lr_noise, hr_noise : float, optional
        Standard deviation of the noise of a trace value; None = small.
    """

    lr_time_ns: Float64Array
    lr_trace: Float64Array
    hr_time_ns: Float64Array
    hr_trace: Float64Array
    lr_exposure_ns: float
    hr_exposure_ns: float
    lr_noise: float | None = None
    hr_noise: float | None = None

    @classmethod
    def of(
        cls,
        sequence: DualSequence,
        *,
        lr_exposure_ns: float,
        hr_exposure_ns: float,
        margin_ns: float | None = None,
    ) -> TraceBurst:
        """Frame means of a burst, over the pixels that are usable in all of its frames.

        Parameters
        ----------
        sequence : DualSequence
            With the LR times as the LR camera gave them (no temporal calibration).
        lr_exposure_ns, hr_exposure_ns : float
        margin_ns : float, optional
            HR frames further than this outside the LR recording are not read; default: two HR
            intervals.
        """
        lr, lr_mask = _lr_stack(sequence)
        near = _near_hr(sequence, margin_ns)
        hr, mask = _hr_stack(sequence, near, lr_mask)
        lr_trace, hr_trace = _field_mean(lr, mask), np.full(sequence.n_hr, np.nan)
        hr_trace[near] = _field_mean(hr, mask)
        level = float(np.nanmedian(lr_trace)) if np.isfinite(lr_trace).any() else 0.0
        variance = float(sequence.noise.variance(np.array([level], dtype=np.float32))[0])
        return cls(
            lr_time_ns=np.array(sequence.lr_time_ns),
            lr_trace=lr_trace,
            hr_time_ns=np.array(sequence.hr_time_ns),
            hr_trace=hr_trace,
            lr_exposure_ns=lr_exposure_ns,
            hr_exposure_ns=hr_exposure_ns,
            lr_noise=float(np.sqrt(variance / max(int(mask.sum()), 1))) or None,
        )


def offset_from_traces(
    bursts: Sequence[TraceBurst],
    *,
    search_ns: tuple[float, float] | None = None,
    drift_ppm: float | None = 0.0,
) -> TimeFit:
    """Fit the offset of the clocks to the flicker of the beam.

    Minimises ``sum_jk (I_H(jk) - level_j - slope I_L(t_jk - offset))^2`` over all HR frames k of
    all bursts j, both traces relative to their means; I_L is a cubic spline through the LR frame
    means, averaged over the HR exposure.

    Parameters
    ----------
    bursts : sequence of TraceBurst
        As few as four HR frames each; the more bursts, the smaller the error.
    search_ns : (lowest, highest), optional
        Offsets to try; default: two HR intervals to each side.
    drift_ppm : float or None
        Known drift of the clocks; None = fit it too, which needs long recordings.

    Returns
    -------
    TimeFit

    Raises
    ------
    CalibrationError
        The beam is too constant, its flicker repeats, the offset lies beyond the search, or a
        trace is unusable.
    """
    lagged = [each for k, burst in enumerate(bursts) if (each := _lagged_trace(burst, k))]
    if not lagged:
        raise CalibrationError(
            f"The clocks cannot be compared: none of the {len(bursts)} bursts has {FEWEST_LR} LR "
            "frames and two HR frames with a mean. Take the bursts again, with the shutter open."
        )
    return search_offset(
        lagged, method="trace", search_ns=search_ns, drift_ppm=drift_ppm, nothing=_NO_FLICKER
    )


def offset_from_images(
    sequences: Sequence[DualSequence],
    *,
    search_ns: tuple[float, float] | None = None,
    drift_ppm: float | None = 0.0,
    lr_exposure_ns: float = 0.0,
    hr_exposure_ns: float = 0.0,
) -> TimeFit:
    """Fit the offset of the clocks to what moves in the images.

    The same fit as `offset_from_traces` with every LR pixel a trace of its own, weighed by how
    much it varies above its noise, against the HR frames binned to LR pixels. Frame means are
    divided out. An error of the spatial calibration along the motion goes into the offset.

    Parameters
    ----------
    sequences : sequence of DualSequence
        Bursts with the spatial calibration, and the LR times as the LR camera gave them.
    search_ns, drift_ppm
        As for `offset_from_traces`.
    lr_exposure_ns, hr_exposure_ns : float
        Only their difference matters.

    Returns
    -------
    TimeFit

    Raises
    ------
    CalibrationError
        Nothing moves, the motion repeats, or the offset lies beyond the search.
    """
    margin_ns = None if search_ns is None else max(abs(search_ns[0]), abs(search_ns[1]))
    lagged = [
        each
        for sequence in sequences
        if (each := _lagged_images(sequence, margin_ns, lr_exposure_ns, hr_exposure_ns))
    ]
    if not lagged:
        raise CalibrationError(
            f"{_NO_MOTION} None of the {len(sequences)} bursts has {FEWEST_LR} LR frames, two HR "
            "frames and a pixel that varies above its noise. The data are safe."
        )
    return search_offset(
        lagged, method="image", search_ns=search_ns, drift_ppm=drift_ppm, nothing=_NO_MOTION
    )


def _lagged_trace(burst: TraceBurst, number: int) -> LaggedBurst | None:
    times, values = [], []
    for camera, time_ns, trace, fewest in (
        ("LR", burst.lr_time_ns, burst.lr_trace, FEWEST_LR),
        ("HR", burst.hr_time_ns, burst.hr_trace, 2),
    ):
        if np.shape(time_ns) != np.shape(trace) or np.ndim(trace) != 1:
            raise CalibrationError(
                f"Burst {number}: {camera} has times of shape {np.shape(time_ns)}, but a trace of "
                f"shape {np.shape(trace)}."
            )
        usable = np.isfinite(trace) & np.isfinite(time_ns)
        time_ns, trace = np.asarray(time_ns, float)[usable], np.asarray(trace, float)[usable]
        if len(trace) < fewest:
            return None
        late = np.flatnonzero(np.diff(time_ns) <= 0)
        if late.size:
            raise CalibrationError(
                f"Burst {number}: the times of its {camera} frames do not increase, at "
                f"{time_ns[late[0]]:g} ns. Look at the clock with examine_clock, and leave out "
                "frames whose times are wrong; the data are safe."
            )
        if not trace.mean() > 0:
            raise CalibrationError(
                f"Burst {number}: the mean of its {camera} frames is {trace.mean():g}: no light. "
                "Was the shutter open, and are these transmissions? The data are safe."
            )
        times.append(time_ns)
        values.append(trace[:, None] / trace.mean())
    noise = 0.0 if burst.lr_noise is None else burst.lr_noise / float(np.nanmean(burst.lr_trace))
    return LaggedBurst(
        *times,
        *values,
        lr_exposure_ns=burst.lr_exposure_ns,
        hr_exposure_ns=burst.hr_exposure_ns,
        lr_variance=noise**2,
    )


def _lagged_images(
    sequence: DualSequence, margin_ns: float | None, lr_exposure_ns: float, hr_exposure_ns: float
) -> LaggedBurst | None:
    lr, lr_mask = _lr_stack(sequence)
    near = _near_hr(sequence, margin_ns)
    known = np.flatnonzero(sequence.lr_valid)
    if len(known) < FEWEST_LR or len(near) < 2:
        return None
    hr, mask = _hr_stack(sequence, near, lr_mask)
    lr, hr = (_relative(stack[:, mask]) for stack in (lr[known], hr))
    noise = np.square(np.diff(lr, 2, axis=0)).mean(axis=0) / _SECOND_DIFFERENCE
    # Fast motion bends as noise does; most pixels rest, so the median knows.
    noise = np.minimum(noise, 2 * np.median(noise)) if noise.size else noise
    varies = np.maximum(lr.var(axis=0) - noise, 0)
    weight = varies / np.maximum(varies + noise, 1e-30)
    moving = weight > 0
    if not moving.any():
        return None
    root, share = np.sqrt(weight[moving]), (weight * noise)[moving]
    return LaggedBurst(
        np.array(sequence.lr_time_ns)[known],
        np.array(sequence.hr_time_ns)[near],
        lr[:, moving] * root,
        hr[:, moving] * root,
        lr_exposure_ns=lr_exposure_ns,
        hr_exposure_ns=hr_exposure_ns,
        lr_variance=float(share.sum()),
        channels=float(share.sum() ** 2 / np.square(share).sum()) if share.any() else 1.0,
    )


def _near_hr(sequence: DualSequence, margin_ns: float | None) -> npt.NDArray[np.intp]:
    hr_ns, lr_ns = sequence.hr_time_ns, sequence.lr_time_ns
    if margin_ns is None:
        margin_ns = 2 * float(np.median(np.diff(hr_ns))) if len(hr_ns) > 1 else 0.0
    near = (hr_ns >= lr_ns[0] - margin_ns) & (hr_ns <= lr_ns[-1] + margin_ns)
    return np.flatnonzero(near & sequence.hr_valid)


def _lr_stack(sequence: DualSequence) -> tuple[Float64Array, BoolArray]:
    """LR frames, NaN where not valid, and the pixels usable in all that are."""
    stack = np.full((sequence.n_lr, *sequence.lr_shape), np.nan)
    mask = np.ones(sequence.lr_shape, dtype=np.bool_)
    for i in np.flatnonzero(sequence.lr_valid):
        stack[i] = sequence.lr(int(i))
        mask &= sequence.lr_mask(int(i))
    return stack, mask


def _hr_stack(
    sequence: DualSequence, frames: npt.NDArray[np.intp], mask: BoolArray
) -> tuple[Float64Array, BoolArray]:
    """HR frames binned to LR pixels, and the pixels of `mask` usable in all of them."""
    stack = np.empty((len(frames), *sequence.lr_shape))
    mask = mask.copy()
    for k, j in enumerate(frames):
        stack[k] = block_mean(sequence.hr(int(j)))
        mask &= block_mean(sequence.hr_mask(int(j))) == 1
    return stack, mask


def _field_mean(stack: Float64Array, mask: BoolArray) -> Float64Array:
    if not mask.any():
        raise CalibrationError(
            "The clocks cannot be compared: no pixel of the common field is usable in all frames "
            "of a burst. Check dark, flat and the spatial calibration; the data are safe."
        )
    mean: Float64Array = stack[:, mask].mean(axis=1)
    return mean


def _relative(frames: Float64Array) -> Float64Array:
    """Divide each frame, (n, pixels), by its mean: flicker is no motion."""
    mean = frames.mean(axis=1, keepdims=True) if frames.size else np.ones((len(frames), 1))
    return frames / np.where(mean > 0, mean, 1.0)
