"""Errors of the temporal calibration on simulated clocks and beams, and whether its bars hold.

Run it with `python benchmarks/calibration/temporal.py`; it prints three tables. Nothing of it
depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.frame_clock import examine_clock
from xfusion_bluesky.calibration.time_fit import TimeFit
from xfusion_bluesky.calibration.time_offset import (
    TraceBurst,
    offset_from_images,
    offset_from_traces,
)
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

Array = npt.NDArray[np.float64]

INTERVAL_NS = 1000.0
"""Of the LR camera; errors are in such intervals."""
FINE = 20
"""Points of the beam's function in an LR interval."""
WITHIN_90 = 1.645
HR_GAIN = 1.1


@dataclass(frozen=True)
class Case:
    """Bursts of a beam that flickers."""

    name: str
    bursts: int
    lr_frames: int
    ratio: float
    flicker: float
    noise: float
    lr_exposure: float = 0.5
    hr_exposure: float = 0.5
    correlation: float = 2.0
    """In LR intervals, as all times here."""
    rough: bool = False
    """Exponential correlation: the beam changes within a frame too. Otherwise Gaussian."""
    periodic: bool = False
    """A sine of a period between 3 and 30, the same in all bursts, and nothing else."""
    margin: float = 20.0


CASES = (
    Case("256 LR frames, HR every 4, 2 %", 1, 256, 4, 0.02, 0.002),
    Case("the same, rough", 1, 256, 4, 0.02, 0.002, rough=True),
    Case("14 bursts of 81, HR every 20, 0.3 %", 14, 81, 20, 0.003, 0.0002),
    Case("the same, rough", 14, 81, 20, 0.003, 0.0002, rough=True),
    Case("the same, noise 0.05 %", 14, 81, 20, 0.003, 0.0005),
    Case("the same, HR exposure 3 us", 14, 81, 20, 0.003, 0.0002, hr_exposure=3),
    Case("the same, HR every 13.16", 14, 81, 13.16, 0.003, 0.0002),
    Case("6 bursts of 81, HR every 20, 0.3 %", 6, 81, 20, 0.003, 0.0002),
    Case("3 bursts of 81, HR every 20, 2 %", 3, 81, 20, 0.02, 0.0002),
    Case("1 burst of 81, HR every 10, 2 %", 1, 81, 10, 0.02, 0.0002),
    Case("1 burst of 81, HR every 20, 2 %", 1, 81, 20, 0.02, 0.0002),
    Case("6 bursts of 81, correlation 15", 6, 81, 20, 0.003, 0.0002, correlation=15),
    Case("6 bursts of 81, a pure sine", 6, 81, 20, 0.003, 0.0002, periodic=True),
    Case("constant beam", 14, 81, 20, 0.0, 0.0002),
)


def beam(case: Case, rng: np.random.Generator, points: int, period: float) -> Array:
    """Return a beam of mean 1 that flickers."""
    if case.periodic:
        turns = np.arange(points) / FINE / period + rng.uniform()
        return 1 + case.flicker * np.sin(2 * np.pi * turns)
    tau = case.correlation * FINE
    white = rng.standard_normal(points + int(20 * tau))
    if case.rough:
        keep = math.exp(-1 / tau)
        wave = signal.lfilter([math.sqrt(1 - keep**2)], [1, -keep], white)
    else:
        # A Gaussian filter of tau / sqrt 2 leaves a correlation of exp(-t^2 / 2 tau^2).
        wave = ndimage.gaussian_filter1d(white, tau / math.sqrt(2))
        wave *= math.sqrt(2 * math.sqrt(math.pi) * tau / math.sqrt(2))
    flicker: Array = 1 + case.flicker * wave[-points:]
    return flicker


def traces(case: Case, rng: np.random.Generator, offset: float) -> list[TraceBurst]:
    """Simulate the frame means of all bursts; `offset` in LR intervals."""
    bursts = []
    phase, period = rng.uniform(0, case.ratio), rng.uniform(3, 30)
    for _ in range(case.bursts):
        span = case.lr_frames + 2 * int(case.margin) + 20
        light = np.concatenate([[0], np.cumsum(beam(case, rng, span * FINE, period))]) / FINE
        at = np.arange(len(light)) / FINE - case.margin - 10

        def seen(middle: Array, exposure: float, at: Array = at, light: Array = light) -> Array:
            edges = (np.interp(middle + s * exposure / 2, at, light) for s in (1, -1))
            return np.subtract(*edges) / exposure + case.noise * rng.standard_normal(len(middle))

        lr_time: Array = np.arange(float(case.lr_frames)) + case.lr_exposure / 2
        first = math.ceil((-case.margin - phase) / case.ratio)
        last = math.floor((case.lr_frames + case.margin - phase) / case.ratio)
        hr_time: Array = phase + case.ratio * np.arange(float(first), float(last + 1))
        bursts.append(
            TraceBurst(
                lr_time_ns=(lr_time - offset) * INTERVAL_NS,
                lr_trace=0.8 * seen(lr_time, case.lr_exposure),
                hr_time_ns=hr_time * INTERVAL_NS,
                hr_trace=0.8 * HR_GAIN * rng.uniform(0.95, 1.05) * seen(hr_time, case.hr_exposure),
                lr_exposure_ns=case.lr_exposure * INTERVAL_NS,
                hr_exposure_ns=case.hr_exposure * INTERVAL_NS,
                lr_noise=0.8 * case.noise,
            )
        )
    return bursts


def sequences(
    rng: np.random.Generator, offset: float, *, bursts: int, speed: float, noise: float
) -> list[DualSequence]:
    """Simulate drops that fly through the field; `speed` in HR pixels an LR interval."""
    rows, columns = 80, 160
    y, x = np.mgrid[:rows, :columns]
    made = []
    for _ in range(bursts):
        drops = [
            (
                rng.uniform(0, rows),
                rng.uniform(0, columns),
                rng.uniform(3, 8),
                rng.uniform(0, 2 * math.pi),
                rng.uniform(0.5, 1.5) * speed,
            )
            for _ in range(12)
        ]

        def scene(t: float, drops: Sequence[tuple[float, ...]] = drops) -> Array:
            image = np.ones((rows, columns))
            for row, column, size, way, fast in drops:
                r, c = row + fast * t * math.sin(way), column + fast * t * math.cos(way)
                image *= 1 - 0.5 * np.exp(-((y - r) ** 2 + (x - c) ** 2) / size**2)
            return image

        lr_time, hr_time = np.arange(81.0), rng.uniform(0, 20) + np.arange(-20, 100, 20.0)
        gain = 1 + 0.003 * rng.standard_normal(len(lr_time))
        lr = np.stack([g * block_mean(scene(t)) for g, t in zip(gain, lr_time, strict=True)])
        hr = np.stack([scene(t) for t in hr_time])
        made.append(
            DualSequence.from_arrays(
                lr + noise * rng.standard_normal(lr.shape),
                hr + noise / 2 * rng.standard_normal(hr.shape),
                (lr_time - offset) * INTERVAL_NS,
                hr_time * INTERVAL_NS,
            )
        )
    return made


def measure(
    fit: Callable[[np.random.Generator, float], TimeFit], seeds: int, reach: float, first: int
) -> str:
    """Fit `seeds` times at random offsets, from seed `first` on; one line of the table."""
    errors, bars, refused = [], [], 0
    for seed in range(first, first + seeds):
        rng = np.random.default_rng(seed)
        offset = rng.uniform(-reach, reach)
        try:
            found = fit(rng, offset).calibration
        except CalibrationError:
            refused += 1
            continue
        errors.append(found.offset_ns / INTERVAL_NS - offset)
        bars.append(found.offset_sigma_ns / INTERVAL_NS)
    if not errors:
        return f"- | - | - | - | {refused} of {seeds}"
    error, bar = np.abs(errors), np.array(bars)
    wrong = int(((error > 1) & (error > 4 * bar)).sum())
    held = np.mean(error <= WITHIN_90 * bar)
    return (
        f"{np.sqrt(np.mean(error**2)):.3f} | {error.max():.2f} | {np.median(bar):.3f} "
        f"| {held:.0%} | {refused} of {seeds}{f', {wrong} WRONG' if wrong else ''}"
    )


def clock_errors(frames: int, seeds: int) -> tuple[float, float, float]:
    """Rms and largest error of the interval, ns a frame, and how often 1.645 sigma hold it."""
    errors, bars = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        interval_ns = 890 + rng.uniform(-5, 5) * rng.choice([1.0, 0.01])
        true_ns = rng.uniform(0, 10) + interval_ns * np.arange(frames)
        clock = examine_clock(np.rint(true_ns / 10) * 10, nominal_interval_ns=890)
        errors.append(abs(clock.interval_ns - interval_ns))
        bars.append(clock.interval_sigma_ns)
    error = np.array(errors)
    return (
        float(np.sqrt(np.mean(error**2))),
        float(error.max()),
        float(np.mean(error <= WITHIN_90 * np.array(bars) + 1e-9)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--image-seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="of beams and images")
    parser.add_argument("--only", default="", help="beams whose name holds this")
    options = parser.parse_args()
    print("| stamps of 10 ns | rms error, ns a frame | largest | 90 % bar holds |")
    print("|---|---|---|---|")
    for frames in (32, 128, 256):
        rms, largest, held = clock_errors(frames, 5 * options.seeds)
        print(f"| {frames} frames | {rms:.3f} | {largest:.3f} | {held:.0%} |")
    head = "| {} | rms error, LR frames | largest | median bar | 90 % bar holds | refused |"
    print("\n" + head.format("flicker of the beam"))
    print("|---|---|---|---|---|---|")
    for case in (each for each in CASES if options.only in each.name):

        def fit(rng: np.random.Generator, offset: float, case: Case = case) -> TimeFit:
            return offset_from_traces(traces(case, rng, offset))

        print(f"| {case.name} | {measure(fit, options.seeds, 5, options.first_seed)} |", flush=True)
    print("\n" + head.format("motion in images"))
    print("|---|---|---|---|---|---|")
    for bursts, speed, noise in (
        () if options.only else ((3, 0.4, 0.02), (3, 2.0, 0.02), (3, 0.1, 0.02), (3, 0.0, 0.02))
    ):
        make = partial(sequences, bursts=bursts, speed=speed, noise=noise)

        def fit_images(
            rng: np.random.Generator,
            offset: float,
            make: Callable[..., list[DualSequence]] = make,
        ) -> TimeFit:
            return offset_from_images(make(rng, offset))

        line = measure(fit_images, options.image_seeds, 5, options.first_seed)
        print(f"| {bursts} bursts, {speed} HR px a frame, noise {noise:.0%} | {line} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
