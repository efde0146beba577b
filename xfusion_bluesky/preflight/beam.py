"""Preflight of the beam: pulses in each exposure, and light that lingers in the scintillator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..fusion.arrays import Float64Array
from .finding import Check, Severity, rate, span
from .pulses import Pulses, Steadiness, carried_share, gap_for
from .timeline import BurstSettings, Timeline, round_up

SMALL_CARRY = 0.02
_ALWAYS = 0.95
_STEADY = 0.01
_DARK = 0.01


def beam(
    settings: BurstSettings, timeline: Timeline, pulses: Pulses | None, decay_ns: float
) -> Iterator[Check]:
    """Look at the light of the frames.

    Parameters
    ----------
    settings : BurstSettings
        Of both cameras.
    timeline : Timeline
        Of these settings.
    pulses : Pulses or None
        Pattern of the ring; None = not known, or as good as continuous.
    decay_ns : float
        Of the scintillator.
    """
    lr, hr = settings.shimadzu, settings.phantom
    if pulses is None:
        yield Check("pulses", Severity.OK, "pulse pattern not given, taken as continuous")
    else:
        yield _lr_pulses(settings, timeline, pulses)
        yield _hr_pulses(pulses, timeline.hr_begin_ns, hr.exposure_ns)
    yield _afterglow(lr.interval_ns, lr.exposure_ns, decay_ns)


def _lr_pulses(settings: BurstSettings, timeline: Timeline, pulses: Pulses) -> Check:
    lr = settings.shimadzu
    drift = pulses.drift(lr.interval_ns, lr.frames)
    light = pulses.steadiness(timeline.lr_begin_ns, lr.exposure_ns)
    found = (
        f"an interval of {lr.interval_ns:g} ns is {drift.pulses} x {pulses.period_ns:g} ns "
        f"{drift.frame_ns:+.3g} ns, {drift.burst_ns:.4g} ns over {lr.frames} frames; {_of(light)}"
    )
    if _steady_anyway(light, pulses):
        return Check("pulses, Shimadzu", Severity.OK, found)
    options = []
    if light.first_pulse_ns is not None:
        begin_ns, end_ns = light.first_pulse_ns
        options.append(
            "this interval with a trigger locked to the ring, and a delay that lets the first "
            f"pulse come {begin_ns:.0f} to {end_ns:.0f} ns after the first exposure has begun"
        )
    delay_ns = _tuned_delay_ns(settings, timeline, pulses)
    if delay_ns is not None:
        options.append(f"shimadzu_delay_ns={delay_ns:.0f}")
    interval_ns = pulses.steady_interval_ns(lr.interval_ns, lr.exposure_ns, lr.frames)
    if interval_ns is not None and interval_ns != lr.interval_ns:
        slip_ns = pulses.drift(interval_ns, lr.frames).burst_ns
        options.append(
            f"Shimadzu interval {interval_ns:g} ns ({rate(interval_ns)}), which slips "
            f"{slip_ns:.3g} ns, with a tuned delay"
        )
    dark = light.least < _DARK
    why = "some frames get no pulse at all" if dark else _steps(light)
    severity = Severity.STOP if dark else Severity.WARN
    return Check("pulses, Shimadzu", severity, found, why, "; or ".join(options))


def _tuned_delay_ns(settings: BurstSettings, timeline: Timeline, pulses: Pulses) -> float | None:
    """Return the delay that suits pulses at known times, None where they are not or none does."""
    if pulses.offset_ns is None:
        return None
    lr = settings.shimadzu
    loose = replace(pulses, offset_ns=None)
    wanted = loose.steadiness(timeline.lr_begin_ns, lr.exposure_ns).first_pulse_ns
    if wanted is None:
        return None
    now_ns = (pulses.offset_ns - timeline.lr_begin_ns[0]) % pulses.period_ns
    later_ns = (now_ns - sum(wanted) / 2) % pulses.period_ns
    return float(lr.delay_ns + later_ns)


def _hr_pulses(pulses: Pulses, begin_ns: Float64Array, exposure_ns: float) -> Check:
    light = pulses.steadiness(begin_ns, exposure_ns)
    found = _of(light)
    if _steady_anyway(light, pulses):
        return Check("pulses, Phantom", Severity.OK, found)
    whole = max(1, round(exposure_ns / pulses.period_ns))
    dark = light.least < _DARK
    return Check(
        "pulses, Phantom",
        Severity.STOP if dark else Severity.WARN,
        found,
        "some frames get no pulse at all" if dark else _steps(light),
        f"Phantom exposure {whole * pulses.period_ns:.6g} ns ({counted(whole)})",
    )


def _afterglow(interval_ns: float, exposure_ns: float, decay_ns: float) -> Check:
    share = carried_share(interval_ns, exposure_ns, decay_ns)
    found = (
        f"{_percent(share)} of a frame's light comes from earlier frames (decay {decay_ns:g} ns, "
        f"{span(max(interval_ns - exposure_ns, 0))} dark between exposures)"
    )
    if share <= SMALL_CARRY:
        return Check("afterglow", Severity.OK, found)
    gap_ns = gap_for(SMALL_CARRY, exposure_ns, decay_ns)
    nearest = f"Shimadzu interval {round_up(exposure_ns + gap_ns):g} ns with this exposure"
    shorter_ns = _shorter_exposure_ns(interval_ns, decay_ns)
    if shorter_ns:
        nearest = f"Shimadzu exposure {shorter_ns:g} ns; or {nearest}"
    why = f"more than {100 * SMALL_CARRY:g} % of ghost: fast edges get a shadow of where they were"
    return Check("afterglow", Severity.WARN, found, why, nearest)


def _shorter_exposure_ns(interval_ns: float, decay_ns: float) -> float:
    """Return the longest exposure that carries little over at an interval; 0: none."""
    for exposure_ns in range(int(interval_ns) // 10 * 10, 0, -10):
        if carried_share(interval_ns, exposure_ns, decay_ns) <= SMALL_CARRY:
            return float(exposure_ns)
    return 0.0


def _steady_anyway(light: Steadiness, pulses: Pulses) -> bool:
    if pulses.offset_ns is not None:
        return light.least >= _DARK and light.step <= _STEADY
    return light.steady_share >= _ALWAYS


def _of(light: Steadiness) -> str:
    if light.most - light.least <= _STEADY * light.most:
        return f"{counted(light.most)} in every exposure"
    return f"{light.least:.3g} to {light.most:.3g} pulses in an exposure"


def _steps(light: Steadiness) -> str:
    if light.step <= _STEADY:
        return (
            f"true for {100 * light.steady_share:.0f} % of the delays only; otherwise frames "
            "differ by a pulse"
        )
    return f"frames differ in brightness by {100 * light.step:.0f} %"


def counted(pulses: float) -> str:
    """Return a number of pulses in words."""
    return f"{pulses:.3g} pulse{'' if pulses == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share > 1e-4 else "less than 0.01 %"
