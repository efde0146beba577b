"""The picture of a preflight: what both cameras see when, and what to change."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from ..fusion.arrays import BoolArray, Float64Array
from ..preflight.examination import Preflight
from ..preflight.finding import Check, Severity, rate, span
from .panels import FAINT, text_width_px
from .plots import AMBER, BLUE, GREEN, GRID, ORANGE, RED, Axes, Colour, Page, wrapped

__all__ = ["save_timeline"]

WIDTH_PX = 1800
_MARGIN = 28
_LABELS = 190
_LANE = 62
_TEXT = 19
_SMALL = 15
_ZOOM_FRAMES = 5
_STILL_GLOWS = 6
_COLOURS: dict[Severity, Colour] = {
    Severity.OK: GREEN,
    Severity.WARN: AMBER,
    Severity.STOP: RED,
}
_PALE_BLUE = (214, 228, 243)
_VIOLET = (126, 60, 158)


def save_timeline(report: Preflight, path: Path) -> None:
    """Draw a preflight: the whole burst, its first and last frames, and the checks.

    Parameters
    ----------
    report : Preflight
        From the plan `preflight`, or from `examine`.
    path : Path
        PNG file; its folder is made when missing.
    """
    draw_timeline(report).save(path)


def draw_timeline(report: Preflight) -> Page:
    """Return the picture as a page."""
    texts = [_sentences(check) for check in report.checks]
    burst_top = 118
    zoom_top = burst_top + 4 * _LANE + 92
    checks_top = zoom_top + 3 * _LANE + 84
    height = checks_top + sum(27 * len(lines) + 5 for lines in texts) + _MARGIN
    page = Page(WIDTH_PX, height)
    _head(page, report)
    _burst(page, burst_top, report)
    last = max(len(report.timeline.lr_begin_ns) - _ZOOM_FRAMES, 0)
    middle = _MARGIN + _LABELS + (WIDTH_PX - 2 * _MARGIN - _LABELS) / 2
    _zoom(page, (_MARGIN + _LABELS, middle - 14), zoom_top, report, 0, "first frames")
    _zoom(page, (middle + 14, WIDTH_PX - _MARGIN), zoom_top, report, last, "last frames")
    _checks(page, checks_top, report, texts)
    return page


def _head(page: Page, report: Preflight) -> None:
    lr, hr = report.settings.shimadzu, report.settings.phantom
    page.badge((_MARGIN, 22), report.verdict.upper(), _COLOURS[report.verdict], 28)
    left = _MARGIN + text_width_px(report.verdict.upper(), 28) + 28 + 20
    page.text((left, 40), "Preflight of a burst", 24)
    settings = (
        f"Shimadzu {lr.frames} frames, {rate(lr.interval_ns)} ({lr.interval_ns:g} ns), exposure "
        f"{lr.exposure_ns:g} ns, delay {lr.delay_ns:g} ns     Phantom {hr.columns} x {hr.rows}, "
        f"{rate(hr.period_ns)}, exposure {hr.exposure_ns:g} ns, delay {hr.delay_ns:g} ns, frames "
        f"{hr.first} to {hr.last}"
    )
    page.text((left, 66), settings, _TEXT, fill=FAINT, width_px=WIDTH_PX - left - _MARGIN)


def _lane(page: Page, top: float, title: str, text: str = "") -> float:
    """Write the name of a lane; return its middle."""
    middle = top + _LANE / 2
    page.text((_MARGIN, middle - (8 if text else -6)), title, _TEXT, width_px=_LABELS - 12)
    page.text((_MARGIN, middle + 15), text, _SMALL, fill=FAINT, width_px=_LABELS - 12)
    return middle


def _burst(page: Page, top: float, report: Preflight) -> None:
    """Draw the lanes of the whole burst, times in us after T0."""
    lr, hr, timeline = report.settings.shimadzu, report.settings.phantom, report.timeline
    begin_ns = min(timeline.lr_begin_ns[0], timeline.hr_begin_ns[0])
    end_ns = max(timeline.lr_begin_ns[0] + lr.window_ns, timeline.hr_begin_ns[-1] + hr.exposure_ns)
    margin_ns = min(1.2 * hr.period_ns, 0.15 * (end_ns - begin_ns)) + hr.exposure_ns
    reach = ((begin_ns - margin_ns) / 1e3, (end_ns + margin_ns) / 1e3)
    corners = (_MARGIN + _LABELS, top, WIDTH_PX - _MARGIN, top + 4 * _LANE)
    axes = Axes(page, corners, reach)
    Axes(page, corners, reach, (0, 0)).frame("us after T0")

    middle = _lane(page, top, "Shimadzu", span(lr.window_ns))
    edges = timeline.lr_begin_ns[0], timeline.lr_begin_ns[0] + lr.window_ns
    page.box(
        (axes.x(edges[0] / 1e3), middle - 20, axes.x(edges[1] / 1e3), middle + 20), fill=_PALE_BLUE
    )
    for start_ns in timeline.lr_begin_ns:
        stop_ns = start_ns + lr.exposure_ns
        page.box(
            (axes.x(start_ns / 1e3), middle - 20, axes.x(stop_ns / 1e3), middle + 20), fill=BLUE
        )

    middle = _lane(page, top + _LANE, "Phantom", "E: event flag; grey: not fetched")
    _phantom(axes, middle, report)

    lanes = (
        ("outputs", "HR before and after", timeline.bracketed),
        ("XFusion's rule", "flagged frames only", timeline.bracketed_xfusion),
    )
    for number, (title, text, good) in enumerate(lanes, 2):
        middle = _lane(page, top + number * _LANE, title, text)
        for first, last in _runs(good):
            left = axes.x(timeline.lr_begin_ns[first] / 1e3)
            right = axes.x((timeline.lr_begin_ns[last] + lr.interval_ns) / 1e3)
            page.box((left, middle - 14, right, middle + 14), fill=GREEN if good[first] else RED)
        right = axes.x((timeline.lr_begin_ns[-1] + lr.interval_ns) / 1e3)
        count = f"{int(good.sum())} of {len(good)}"
        fits = right + text_width_px(count, _TEXT) + 12 < WIDTH_PX - _MARGIN
        place, anchor = ((right + 8, middle), "lm") if fits else ((right - 8, middle), "rm")
        page.text(place, count, _TEXT, anchor=anchor, fill=FAINT if fits else (255, 255, 255))


def _phantom(axes: Axes, middle: float, report: Preflight) -> None:
    hr, timeline = report.settings.phantom, report.timeline
    low_ns, high_ns = (1e3 * each for each in axes.x_range)
    first = int(np.ceil((low_ns - hr.delay_ns) / hr.period_ns))
    last = int(np.floor((high_ns - hr.exposure_ns - hr.delay_ns) / hr.period_ns))
    flagged = set(timeline.hr_number[timeline.hr_flagged].astype(int).tolist())
    every = max(1, (last - first) // 30)
    for number in range(first, last + 1):
        kept = hr.first <= number <= hr.last
        start_ns = float(hr.begin_ns(number))
        left = axes.x(start_ns / 1e3)
        right = max(axes.x((start_ns + hr.exposure_ns) / 1e3), left + 4)
        colour = ORANGE if kept else (190, 194, 199)
        axes.page.box((left, middle - 16, right, middle + 12), fill=colour)
        if number % every == 0:
            name = f"{number}{' E' if number in flagged else ''}"
            centre = ((left + right) / 2, middle + 27)
            axes.page.text(centre, name, _SMALL, anchor="ms", fill=ORANGE if kept else FAINT)


def _zoom(
    page: Page,
    sides: tuple[float, float],
    top: float,
    report: Preflight,
    first: int,
    title: str,
) -> None:
    """Draw some frames so large that pulses and afterglow are seen, times in ns."""
    lr, hr, timeline = report.settings.shimadzu, report.settings.phantom, report.timeline
    starts_ns = timeline.lr_begin_ns[first : first + _ZOOM_FRAMES]
    reach = (starts_ns[0] - 0.2 * lr.interval_ns, starts_ns[-1] + 1.1 * lr.interval_ns)
    corners = (sides[0], top, sides[1], top + 3 * _LANE)
    axes = Axes(page, corners, reach)
    Axes(page, corners, reach, (0, 0)).frame("ns after T0")
    page.text((sides[0], top - 10), f"{title} ({first} to {first + len(starts_ns) - 1})", _TEXT)
    pulses_ns = _pulse_times(report, reach)
    if first == 0:
        _zoom_labels(page, top, report)

    beam, light, exposures = (top + (k + 0.5) * _LANE for k in range(3))
    low, high = light + 0.42 * _LANE, light - 0.42 * _LANE
    time_ns = np.linspace(*reach, 1200)
    if pulses_ns is None:
        page.box((axes.x(reach[0]), beam - 10, axes.x(reach[1]), beam + 10), fill=_VIOLET)
    else:
        for pulse_ns in pulses_ns[pulses_ns >= reach[0]]:
            at = axes.x(pulse_ns)
            page.line([(at, beam - 20), (at, beam + 20)], _VIOLET, 2)
    glow = _glow(report, time_ns, pulses_ns, starts_ns)
    page.line(
        [(axes.x(t), low + (high - low) * g) for t, g in zip(time_ns, glow, strict=True)], GREEN, 2
    )
    for start_ns in starts_ns:
        left, right = axes.x(start_ns), axes.x(start_ns + lr.exposure_ns)
        page.box((left, exposures - 24, right, exposures - 2), fill=BLUE)
        if pulses_ns is not None:
            inside = (pulses_ns >= start_ns) & (pulses_ns < start_ns + lr.exposure_ns)
            place = ((left + right) / 2, exposures - 12)
            page.text(place, str(int(inside.sum())), _SMALL, anchor="mm", fill=(255, 255, 255))
    for start_ns in timeline.hr_begin_ns:
        if start_ns + hr.exposure_ns > reach[0] and start_ns < reach[1]:
            left, right = axes.x(start_ns), axes.x(start_ns + hr.exposure_ns)
            page.box((left, exposures + 4, right, exposures + 24), fill=ORANGE)


def _zoom_labels(page: Page, top: float, report: Preflight) -> None:
    pulses = report.pulses
    if pulses is None:
        beam = "taken as continuous"
        glow = "of one exposure"
    else:
        beam = f"every {pulses.period_ns:g} ns"
        if pulses.offset_ns is None:
            beam += ", best delay"
        glow = "of all pulses"
    _lane(page, top, "x-rays", beam)
    _lane(page, top + _LANE, "scintillator", f"{glow}, {report.decay_ns:g} ns")
    _lane(page, top + 2 * _LANE, "exposures", "Shimadzu above Phantom")


def _pulse_times(report: Preflight, reach: tuple[float, float]) -> Float64Array | None:
    """Return the pulses that are seen; where the delay is free, with one that suits."""
    pulses = report.pulses
    if pulses is None:
        return None
    offset_ns = pulses.offset_ns
    if offset_ns is None:
        begin_ns = report.timeline.lr_begin_ns
        window = pulses.steadiness(begin_ns, report.settings.shimadzu.exposure_ns).first_pulse_ns
        offset_ns = float(begin_ns[0]) + (sum(window) / 2 if window else 0.0)
    # Earlier ones still glow.
    first = np.ceil((reach[0] - _STILL_GLOWS * report.decay_ns - offset_ns) / pulses.period_ns)
    last = np.floor((reach[1] - offset_ns) / pulses.period_ns)
    times: Float64Array = offset_ns + np.arange(first, last + 1) * pulses.period_ns
    return times


def _glow(
    report: Preflight,
    time_ns: Float64Array,
    pulses_ns: Float64Array | None,
    starts_ns: Float64Array,
) -> Float64Array:
    """Return the light of the scintillator, 1 at most: of all pulses, or of single exposures."""
    decay_ns = max(report.decay_ns, 1e-3)
    exposure_ns = report.settings.shimadzu.exposure_ns

    def after(begin_ns: Float64Array) -> Float64Array:
        age = time_ns[:, None] - begin_ns[None, :]
        return np.where(age >= 0, np.exp(-np.maximum(age, 0) / decay_ns), 0.0)

    if pulses_ns is not None:
        glow = after(pulses_ns).sum(axis=1)
    else:
        glow = (after(starts_ns + exposure_ns) - after(starts_ns)).sum(axis=1)
        on = (time_ns[:, None] >= starts_ns) & (time_ns[:, None] < starts_ns + exposure_ns)
        glow = glow + on.any(axis=1)
    most = float(glow.max())
    scaled: Float64Array = glow / most if most > 0 else glow
    return scaled


def _sentences(check: Check) -> list[str]:
    """Return the lines of a check: what was found, and what would work."""
    room = WIDTH_PX - 2 * _MARGIN - 290
    lines = list(wrapped(check.found, _TEXT, room))
    if check.why:
        lines += wrapped(f"because {check.why}.", _TEXT, room)
    if check.nearest:
        lines += wrapped(f"-> {check.nearest}", _TEXT, room)
    return lines


def _checks(page: Page, top: float, report: Preflight, texts: list[list[str]]) -> None:
    y = top
    for check, lines in zip(report.checks, texts, strict=True):
        page.badge((_MARGIN, y), check.severity.upper(), _COLOURS[check.severity], 15)
        page.text((_MARGIN + 78, y + 17), check.subject, _TEXT, width_px=205)
        for line in lines:
            page.text((_MARGIN + 290, y + 17), line, _TEXT)
            y += 27
        y += 5
        page.line([(_MARGIN, y - 4), (WIDTH_PX - _MARGIN, y - 4)], GRID, 1)


def _runs(good: BoolArray) -> list[tuple[int, int]]:
    """Return first and last index of stretches of equal values."""
    cuts = np.flatnonzero(np.diff(good)) + 1
    edges = [0, *cuts.tolist(), len(good)]
    return [(a, b - 1) for a, b in pairwise(edges)]
