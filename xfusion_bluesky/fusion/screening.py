"""Does a burst look like one that fusion can be trusted with? One pass over its LR frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.arrays import Float64Array
from xfusion_bluesky.fusion.flags import Flag, Limits, Severity
from xfusion_bluesky.fusion.lr_statistics import contrast_of, motion_of, noise_of, usable_frames
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.pairs import PairStatistics
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Screening", "screen"]

_MOST_SAMPLES = 16
_SIGNIFICANT = 3.0
_FEWEST_FOR_STEPS = 8


@dataclass(frozen=True)
class Screening:
    """What a burst is like.

    Parameters
    ----------
    noise : NoiseModel
        Of the LR frames: the model of the sequence, or, where that is noise-free, what frames
        that follow each other say.
    contrast : float
        0.35 to 99.65 percentile range of LR pixels; 0 for an even scene.
    lr_psnr_db : float
        Contrast against noise, dB.
    motion_px : float
        Typical speed of what moves, LR pixels per LR frame; NaN when nothing does. Above one or
        two pixels it is a lower limit.
    pairs : PairStatistics
        Gain, noise and registration from frames of one time.
    flags : tuple of Flag
        What looks wrong.
    """

    noise: NoiseModel
    contrast: float
    lr_psnr_db: float
    motion_px: float
    pairs: PairStatistics
    flags: tuple[Flag, ...]


def screen(sequence: DualSequence, limits: Limits | None = None) -> Screening:
    """Look at a burst before it is fused, or after.

    Parameters
    ----------
    sequence : DualSequence
        Every LR frame is read once, and up to about 30 HR frames.
    limits : Limits, optional
        Where findings begin to matter.

    Returns
    -------
    Screening
        Never raises for bad data: that is what the flags say.
    """
    limits = limits or Limits()
    trace = _Trace.of(sequence)
    contrast = contrast_of(sequence)
    noise = noise_of(sequence, contrast)
    pairs = PairStatistics.of(sequence)
    motion_px = motion_of(sequence, noise)
    variance = float(noise.variance(trace.level))
    psnr_db = 10 * math.log10(contrast**2 / variance) if contrast > 0 and variance > 0 else math.nan
    flags = (
        *_frame_flags(sequence, limits),
        *_pixel_flags(sequence, trace, limits),
        *_trace_flags(trace, limits),
        *_even_hr_flags(sequence),
        *_pair_flags(pairs, noise, trace.level, limits),
        *_below("noisy-lr", psnr_db, limits.lr_psnr_db, "contrast of the LR frames over noise, dB"),
        *_above("fast-motion", motion_px, limits.motion_px, "LR pixels moved per LR frame"),
    )
    return Screening(noise, contrast, psnr_db, motion_px, pairs, flags)


@dataclass(frozen=True, eq=False)
class _Trace:
    """Numbers of each valid LR frame."""

    frames: list[int]
    mean: Float64Array
    spread: Float64Array
    at_top: float
    still: float
    repeated: list[int]

    @property
    def level(self) -> float:
        return float(self.mean.mean()) if self.mean.size else 0.0

    @classmethod
    def of(cls, sequence: DualSequence) -> _Trace:
        frames, means, spreads, tops, repeated = [], [], [], [], []
        lowest, highest, previous = None, None, None
        for i in usable_frames(sequence):
            frame, mask = sequence.lr(i), sequence.lr_mask(i)
            values = frame[mask]
            frames.append(i)
            means.append(float(values.mean(dtype=np.float64)))
            top = values.max()
            spreads.append(float(top - values.min()))
            tops.append((float(top), float((values == top).mean())))
            if previous is not None and np.array_equal(frame, previous):
                repeated.append(i)
            previous = frame
            lowest = frame.copy() if lowest is None else np.minimum(lowest, frame)
            highest = frame.copy() if highest is None else np.maximum(highest, frame)
        top = max((each for each, _ in tops), default=0.0)
        saturated = [share if each == top else 0.0 for each, share in tops]
        still = 0.0
        if lowest is not None and highest is not None:
            still = float(((lowest == highest) & (highest < top)).mean())
        return cls(
            frames,
            np.array(means),
            np.array(spreads),
            float(np.mean(saturated)) if saturated else 0.0,
            still,
            repeated,
        )


def _frame_flags(sequence: DualSequence, limits: Limits) -> Iterator[Flag]:
    for name, valid in (("lr", sequence.lr_valid), ("hr", sequence.hr_valid)):
        missing = np.flatnonzero(~valid)
        if missing.size:
            share = missing.size / len(valid)
            severity = Severity.WARNING if share > limits.missing_share else Severity.NOTICE
            yield Flag(
                f"missing-{name}",
                share,
                limits.missing_share,
                severity,
                f"{missing.size} of {len(valid)} {name.upper()} frames are missing or unusable, "
                f"the first is frame {missing[0]}",
            )
    hr_time_ns = sequence.hr_time_ns[sequence.hr_valid]
    if hr_time_ns.size == 0:
        yield Flag(
            "no-hr", 0.0, 1.0, Severity.ALARM, "no HR frame is valid: only LR-based images exist"
        )
    elif hr_time_ns.size > 1 and sequence.n_lr > 1:
        gap = float(np.diff(hr_time_ns).max()) / sequence.lr_interval_ns
        yield from _above("wide-gap", gap, limits.hr_gap_frames, "LR frames between HR frames")
    if sequence.n_lr > 2:
        steps = np.diff(sequence.lr_time_ns) / sequence.lr_interval_ns
        worst = int(np.argmax(np.abs(steps - 1)))
        if abs(steps[worst] - 1) > 0.5:
            yield Flag(
                "uneven-lr-times",
                float(steps[worst]),
                1.5,
                Severity.WARNING,
                f"LR frames {worst} and {worst + 1} are {steps[worst]:.2f} frame times apart: "
                f"a frame was lost, or a time is wrong",
            )


def _pixel_flags(sequence: DualSequence, trace: _Trace, limits: Limits) -> Iterator[Flag]:
    sampled = trace.frames[:: max(1, len(trace.frames) // _MOST_SAMPLES)]
    masked = [1 - float(sequence.lr_mask(i).mean()) for i in sampled]
    if masked:
        share = float(np.mean(masked))
        yield from _above("masked-pixels", share, limits.masked_share, "share of masked LR pixels")
    varied = len(trace.frames) > 1 and bool((trace.spread > 0).any())
    if varied:
        words = "share of LR pixels at the largest value: saturated?"
        yield from _above("saturated", trace.at_top, limits.masked_share, words)
    if varied and len(trace.frames) >= _FEWEST_FOR_STEPS and not sequence.noise.is_noise_free:
        words = "share of LR pixels that never change: dead?"
        yield from _above("dead-pixels", trace.still, limits.masked_share, words)


def _trace_flags(trace: _Trace, limits: Limits) -> Iterator[Flag]:
    even = [i for i, spread in zip(trace.frames, trace.spread, strict=True) if spread == 0]
    if even:
        yield Flag(
            "constant-lr",
            float(len(even)),
            1.0,
            Severity.ALARM,
            f"{len(even)} LR frames hold one value only, the first is frame {even[0]}: shutter "
            f"closed, or saturated?",
        )
    if trace.repeated and len(trace.repeated) < len(trace.frames) - 1 and not even:
        yield Flag(
            "repeated-lr",
            float(len(trace.repeated)),
            1.0,
            Severity.WARNING,
            f"{len(trace.repeated)} LR frames equal the one before, the first is frame "
            f"{trace.repeated[0]}",
        )
    if len(trace.frames) < _FEWEST_FOR_STEPS:
        return
    steps = np.abs(np.diff(trace.mean))
    usual = max(1.4826 * float(np.median(steps)), 1e-3 * abs(trace.level), 1e-12)
    worst = int(np.argmax(steps))
    if steps[worst] > limits.jump_sd * usual:
        yield Flag(
            "mean-jump",
            float(steps[worst] / usual),
            limits.jump_sd,
            Severity.WARNING,
            f"the mean of the LR frames jumps between frames {trace.frames[worst]} and "
            f"{trace.frames[worst + 1]}: beam lost, or frames swapped?",
        )


def _even_hr_flags(sequence: DualSequence) -> Iterator[Flag]:
    usable = np.flatnonzero(sequence.hr_valid)
    even = []
    for j in usable[:: max(1, len(usable) // _MOST_SAMPLES)]:
        values = sequence.hr(int(j))[sequence.hr_mask(int(j))]
        if values.min() == values.max():
            even.append(int(j))
    if even:
        yield Flag(
            "constant-hr",
            float(len(even)),
            1.0,
            Severity.ALARM,
            f"HR frame {even[0]} holds one value only: shutter closed, or saturated?",
        )


def _pair_flags(
    pairs: PairStatistics, noise: NoiseModel, level: float, limits: Limits
) -> Iterator[Flag]:
    if math.isfinite(pairs.gain) and not limits.gain[0] <= pairs.gain <= limits.gain[1]:
        yield Flag(
            "gain",
            pairs.gain,
            limits.gain[int(pairs.gain > 1)],
            Severity.ALARM,
            f"LR intensities are {pairs.gain:.3g} times the HR ones: check dark and flat fields",
        )
    variance = float(noise.variance(level))
    if pairs.pairs and variance > 0:
        ratio = pairs.residual_variance / variance
        words = "LR residual over noise at the times of HR frames: geometry, timing or noise model?"
        yield from _above("noise-ratio", ratio, limits.noise_ratio, words)
    if pairs.shift_px > max(limits.shift_px, _SIGNIFICANT * pairs.shift_error_px):
        yield Flag(
            "misregistered",
            pairs.shift_px,
            limits.shift_px,
            Severity.ALARM,
            f"the cameras are {pairs.shift_px:.2f} HR pixels apart: repeat the calibration",
        )


def _above(name: str, value: float, threshold: float, what: str) -> Iterator[Flag]:
    if value > threshold:
        reason = f"{what}: {value:.3g}, usual is at most {threshold:.3g}"
        yield Flag(name, value, threshold, Severity.WARNING, reason)


def _below(name: str, value: float, threshold: float, what: str) -> Iterator[Flag]:
    if value < threshold:
        reason = f"{what}: {value:.3g}, usual is at least {threshold:.3g}"
        yield Flag(name, value, threshold, Severity.WARNING, reason)
