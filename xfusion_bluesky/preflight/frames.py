"""Preflight of the frames: whether HR frames stand around the outputs, and often enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from .cameras import region_for, shortest_period_ns
from .finding import Check, Severity, rate, span
from .timeline import PAIR_TOLERANCE_NS, BurstSettings, PhantomSettings, Timeline, round_up

LARGEST_RATIO = 20.0


def frames(settings: BurstSettings, timeline: Timeline) -> Iterator[Check]:
    """Look at HR frames before and after, at their number, and at those that can be held out.

    Parameters
    ----------
    settings : BurstSettings
        Of both cameras.
    timeline : Timeline
        Of these settings.
    """
    yield _bracketed(settings, timeline)
    yield _ratio(settings, timeline)
    yield _coincident(settings, timeline)
    yield _exposure(settings)
    yield _hr_blur(settings)


def wanted_range(settings: BurstSettings) -> tuple[int, int]:
    """Return the first and last HR frame to fetch, so that every output has one on both sides.

    Parameters
    ----------
    settings : BurstSettings
        Of both cameras; the range in it does not count.
    """
    lr, hr = settings.shimadzu, settings.phantom
    to_first_ns = lr.begin_ns + lr.exposure_ns / 2 - hr.delay_ns - hr.exposure_ns / 2
    to_last_ns = to_first_ns + (lr.frames - 1) * lr.interval_ns
    late = 1 if hr.free_running else 0
    first = math.floor(round(to_first_ns / hr.period_ns, 6)) - late
    return first, math.floor(round(to_last_ns / hr.period_ns, 6)) + 1


def _bracketed(settings: BurstSettings, timeline: Timeline) -> Check:
    lr, hr = settings.shimadzu, settings.phantom
    good, total = int(timeline.bracketed.sum()), lr.frames
    found = (
        f"{good} of {total} outputs have an HR frame on both sides; by XFusion's rule, which takes "
        f"flagged frames only, {int(timeline.bracketed_xfusion.sum())}"
    )
    if hr.free_running and timeline.bracketed_least < good:
        found += (
            f"; {timeline.bracketed_least} in the worst case, because the Phantom runs free and "
            f"frame 0 may start up to {span(hr.period_ns)} after its trigger"
        )
    if good == total and (not hr.free_running or timeline.bracketed_least == total):
        return Check("HR on both sides", Severity.OK, found)
    first, last = wanted_range(settings)
    nearest = f"hr_first={first}, hr_last={last}"
    if first < 0:
        later_ns = round_up(-first * hr.period_ns)
        moved = replace(settings, shimadzu=replace(lr, delay_ns=lr.delay_ns + later_ns))
        nearest += (
            "; or without frames before the trigger: "
            f"shimadzu_delay_ns={lr.delay_ns + later_ns:g}, hr_first=0, "
            f"hr_last={wanted_range(moved)[1]}"
        )
    why = "an output outside the HR frames is extrapolated"
    return Check("HR on both sides", Severity.WARN if good else Severity.STOP, found, why, nearest)


def _ratio(settings: BurstSettings, timeline: Timeline) -> Check:
    lr, hr = settings.shimadzu, settings.phantom
    ratio = hr.period_ns / lr.interval_ns
    found = (
        f"{lr.frames} frames at {rate(lr.interval_ns)} last {span(lr.window_ns)}: "
        f"{lr.window_ns / hr.period_ns:.1f} Phantom frames at {rate(hr.period_ns)}, "
        f"{ratio:.1f} outputs each"
    )
    if ratio <= LARGEST_RATIO:
        return Check("HR frames in the burst", Severity.OK, found)
    interval_ns = round_up(hr.period_ns / LARGEST_RATIO)
    slower = replace(settings, shimadzu=replace(lr, interval_ns=interval_ns))
    first, last = wanted_range(slower)
    slower = replace(slower, phantom=replace(hr, first=first, last=last))
    xfusion = int(Timeline.of(slower).bracketed_xfusion.sum())
    nearest = (
        f"Shimadzu interval {interval_ns:g} ns ({rate(interval_ns)}), where XFusion's rule gives "
        f"{xfusion} of {lr.frames}"
    )
    period_ns = LARGEST_RATIO * lr.interval_ns
    rows = region_for(period_ns, hr.rows)
    if rows:
        region = "" if rows == hr.rows else f" region {hr.columns} x {rows}"
        nearest += f"; or Phantom{region} at {rate(period_ns)} (period {period_ns:g} ns)"
    why = (
        f"no backend has been shown to work beyond {LARGEST_RATIO:g} outputs an HR frame; what "
        "changes faster is seen by the Shimadzu alone"
    )
    return Check("HR frames in the burst", Severity.WARN, found, why, nearest)


def _coincident(settings: BurstSettings, timeline: Timeline) -> Check:
    lr, hr = settings.shimadzu, settings.phantom
    inside = (timeline.hr_time_ns >= timeline.lr_time_ns[0] - PAIR_TOLERANCE_NS) & (
        timeline.hr_time_ns <= timeline.lr_time_ns[-1] + PAIR_TOLERANCE_NS
    )
    pairs, held = int((timeline.coincident & inside).sum()), int(inside.sum())
    found = f"{pairs} of {held} HR frames in the burst are within 10 ns of an LR frame"
    if hr.free_running:
        found += ", if the Phantom's frame 0 begins with its trigger"
    if pairs:
        return Check("pairs to score with", Severity.OK, found)
    steps = max(math.ceil(shortest_period_ns(hr.rows) / lr.interval_ns - 1e-6), 1)
    steps = max(steps, round(hr.period_ns / lr.interval_ns))
    whole = replace(hr, period_ns=steps * lr.interval_ns)
    off_ns = _nearest_pair_ns(settings, whole)
    nearest = [] if whole.period_ns == hr.period_ns else [f"Phantom period {whole.period_ns:g} ns"]
    if not held:
        first, last = wanted_range(replace(settings, phantom=whole))
        nearest.append(f"hr_first={first}, hr_last={last}")
    if abs(off_ns) > PAIR_TOLERANCE_NS:
        later_ns = off_ns if lr.delay_ns + off_ns >= 0 else off_ns + lr.interval_ns
        nearest.append(f"shimadzu_delay_ns={lr.delay_ns + later_ns:g}")
    why = "without pairs nothing can be held out and scored (double traversal)"
    return Check("pairs to score with", Severity.WARN, found, why, ", ".join(nearest))


def _nearest_pair_ns(settings: BurstSettings, hr: PhantomSettings) -> float:
    """Return how much later the LR frames have to come to lie on the HR frames."""
    lr = settings.shimadzu
    off_ns = hr.delay_ns + hr.exposure_ns / 2 - lr.begin_ns - lr.exposure_ns / 2
    return off_ns - round(off_ns / lr.interval_ns) * lr.interval_ns


def _exposure(settings: BurstSettings) -> Check:
    lr, hr = settings.shimadzu, settings.phantom
    found = (
        f"Shimadzu {span(lr.exposure_ns)} of {span(lr.interval_ns)}, "
        f"Phantom {span(hr.exposure_ns)} of {span(hr.period_ns)}"
    )
    if lr.exposure_ns > lr.interval_ns:
        return Check(
            "exposure",
            Severity.STOP,
            found,
            "the Shimadzu cannot expose longer than a frame lasts",
            f"Shimadzu exposure {lr.interval_ns:g} ns; or Shimadzu interval "
            f"{round_up(lr.exposure_ns):g} ns",
        )
    if hr.exposure_ns > hr.period_ns:
        return Check(
            "exposure",
            Severity.STOP,
            found,
            "the Phantom cannot expose longer than a frame lasts",
            f"Phantom exposure {hr.period_ns:.0f} ns or less",
        )
    return Check("exposure", Severity.OK, found)


def _hr_blur(settings: BurstSettings) -> Check:
    subject, interval_ns = "HR exposure", settings.shimadzu.interval_ns
    outputs = settings.phantom.exposure_ns / interval_ns
    if outputs <= 1:
        return Check(subject, Severity.OK, "an HR frame sees one output")
    return Check(
        subject,
        Severity.WARN,
        f"an HR frame is the mean of {outputs:.1f} outputs",
        "what moves meanwhile is blurred in it, and in every output made from it",
        f"Phantom exposure {interval_ns:g} ns",
    )
