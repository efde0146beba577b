"""What a preflight finds, and that the settings it names do work."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from xfusion_bluesky.preflight.examination import Preflight, examine
from xfusion_bluesky.preflight.finding import Severity
from xfusion_bluesky.preflight.frames import wanted_range
from xfusion_bluesky.preflight.pulses import Pulses, carried_share, decay_of
from xfusion_bluesky.preflight.timeline import (
    BurstSettings,
    PhantomSettings,
    ShimadzuSettings,
    Timeline,
)

FULL_NS = 1e9 / 76e3


def _look(lr=None, hr=None, **known) -> Preflight:
    settings = BurstSettings(ShimadzuSettings(**(lr or {})), PhantomSettings(**(hr or {})))
    return examine(settings, **known)


@pytest.mark.parametrize(
    ("interval_ns", "window", "frames_inside"),
    [
        (200, "25.6 us", (1.9, 6.4, 20)),
        (1000, "128 us", (9.7, 32, 102)),
        (2000, "256 us", (19, 64, 205)),
    ],
)
def test_the_table_of_rates_every_plan_must_respect(interval_ns, window, frames_inside):
    for period_ns, inside in zip((FULL_NS, 4000, 1250), frames_inside, strict=True):
        report = _look({"interval_ns": interval_ns}, {"period_ns": period_ns})
        found = report["HR frames in the burst"].found
        assert f"last {window}: " in found
        said = float(re.search(r"([\d.]+) Phantom frames", found)[1])
        assert said == pytest.approx(inside, abs=0.05 if inside < 10 else 0.51)


def test_a_short_burst_under_a_full_frame_phantom_is_told_what_brackets_it():
    report = _look({"interval_ns": 200, "exposure_ns": 200})
    sides, ratio = report["HR on both sides"], report["HR frames in the burst"]

    assert "by XFusion's rule, which takes flagged frames only, 66" in sides.found
    assert ratio.severity is Severity.WARN
    assert "128 frames at 5 Mfps last 25.6 us: 1.9 Phantom frames at 76 kfps" in ratio.found
    assert ratio.nearest == (
        "Shimadzu interval 660 ns (1.52 Mfps), where XFusion's rule gives 120 of 128; or Phantom "
        "region 1280 x 240 at 250 kfps (period 4000 ns)"
    )


def test_an_x_ray_laser_of_886_ns_slips_512_ns_and_can_be_kept_lit():
    report = _look({"interval_ns": 886, "exposure_ns": 590}, pulses=Pulses(886))
    assert report.settings.shimadzu.interval_ns == 890
    assert "interval 886 -> 890 ns" in report["Shimadzu rate"].found

    drift = Pulses(886).drift(890, 128)
    assert (drift.pulses, drift.frame_ns, drift.burst_ns) == (1, 4, 512)
    lit = report["pulses, Shimadzu"]
    assert "512 ns over 128 frames; 1 pulse in every exposure" in lit.found
    assert lit.severity is Severity.WARN
    begin_ns, end_ns = map(int, re.search(r"pulse come (\d+) to (\d+) ns", lit.nearest).groups())
    assert 500 < begin_ns < end_ns < 590
    tuned = Pulses(886, offset_ns=(begin_ns + end_ns) / 2)
    assert (
        _look({"interval_ns": 890, "exposure_ns": 590}, pulses=tuned)["pulses, Shimadzu"].severity
        is Severity.OK
    )

    dark = _look({"interval_ns": 890, "exposure_ns": 400}, pulses=Pulses(886))["pulses, Shimadzu"]
    assert dark.severity is Severity.STOP
    assert "some frames get no pulse at all" in dark.why


def test_a_known_bunch_pattern_finds_the_interval_and_the_delay():
    lr = {"interval_ns": 1000, "exposure_ns": 500}
    wrong = _look(lr, pulses=Pulses(153.4))["pulses, Shimadzu"]
    assert "7 x 153.4 ns -73.8 ns, 9446 ns over 128 frames" in wrong.found
    assert "3 to 4 pulses" in wrong.found
    assert "frames differ in brightness by 29 %" in wrong.why
    assert "Shimadzu interval 920 ns (1.09 Mfps), which slips 51.2 ns" in wrong.nearest

    at = Pulses(153.4, offset_ns=60.0)
    lr = {"interval_ns": 920, "exposure_ns": 400}
    cut = _look(lr, pulses=at)["pulses, Shimadzu"]
    assert cut.severity is Severity.WARN
    delay_ns = float(re.search(r"shimadzu_delay_ns=([\d.]+)", cut.nearest)[1])
    tuned = _look({**lr, "delay_ns": delay_ns}, pulses=at)
    assert tuned["pulses, Shimadzu"].severity is Severity.OK


@pytest.mark.parametrize(
    ("interval_ns", "exposure_ns", "decay_ns", "share"),
    [(200, 200, 70, 0.33), (200, 100, 70, 0.13), (1000, 500, 70, 1.1e-4), (1000, 1000, 0, 0)],
)
def test_afterglow(interval_ns, exposure_ns, decay_ns, share):
    assert carried_share(interval_ns, exposure_ns, decay_ns) == pytest.approx(share, rel=0.05)


def test_what_the_cameras_or_the_disk_cannot_do_is_a_stop():
    stops = {
        "Phantom rate": _look(hr={"period_ns": 4000}),
        "Shimadzu rate": _look({"interval_ns": 100, "exposure_ns": 50}),
        "Phantom memory": _look(hr={"last": 2000, "memory_frames": 1024}),
        "disk": _look(free_bytes=1e8, bursts=10),
        "HR on both sides": _look(hr={"first": 20, "last": 24}),
        "exposure": _look({"exposure_ns": 1500}),
    }
    for subject, report in stops.items():
        assert report[subject].severity is Severity.STOP, report[subject]
        assert report.verdict is Severity.STOP
        assert report[subject].why
        assert report[subject].nearest
    assert "region 1280 x 240" in stops["Phantom rate"]["Phantom rate"].nearest
    assert "bursts=2" in stops["disk"]["disk"].nearest
    assert "hr_last=1023" in stops["Phantom memory"]["Phantom memory"].nearest


def test_half_pixel_mode_doubles_frames_and_rate():
    report = _look({"frames": 256, "interval_ns": 100, "exposure_ns": 50})
    assert "256 frames, 10 Mfps, mode HP" in report["Shimadzu rate"].found
    assert report["Shimadzu rate"].severity is Severity.OK
    assert _look({"frames": 300})["Shimadzu rate"].nearest == "256 frames"


def test_times_of_transfer_and_what_is_slow():
    assert "playback 3.879 s at 33 Hz, download 6.9" in _look()["transfer"].found
    slow = _look(hr={"last": 5000, "link_bytes_per_s": 118e6})["transfer"]
    assert "DownloadSpeed 10 Gb/s; or hr_last=" in slow.nearest
    assert _look({"playback_hz": 60.0})["transfer"].severity is Severity.WARN


@pytest.mark.parametrize(
    ("lr", "hr"),
    [({"interval_ns": 0}, {}), ({}, {"period_ns": float("nan")}), ({}, {"first": 4})],
)
def test_nonsense_is_refused(lr, hr):
    with pytest.raises(ValueError, match="Nothing was armed"):
        _look(lr, hr)


@pytest.mark.parametrize("name", ["granite", "-3", "nan"])
def test_an_unknown_scintillator_is_refused(name):
    with pytest.raises(ValueError, match="LuAG, YAG, LYSO"):
        decay_of(name)
    assert (decay_of("luag"), decay_of("12.5")) == (70, 12.5)


_BURSTS = st.builds(
    BurstSettings,
    st.builds(
        ShimadzuSettings,
        interval_ns=st.integers(20, 500).map(lambda n: 10.0 * n),
        exposure_ns=st.integers(2, 300).map(lambda n: 10.0 * n),
        frames=st.sampled_from([81, 128]),
        frames_before_trigger=st.sampled_from([0, 20]),
        delay_ns=st.integers(0, 20_000).map(float),
    ),
    st.builds(
        PhantomSettings,
        period_ns=st.floats(3_000, 25_000),
        exposure_ns=st.floats(100, 3_000),
        last=st.integers(0, 12),
        delay_ns=st.integers(0, 20_000).map(float),
        free_running=st.booleans(),
    ),
)


def _applied(settings: BurstSettings, text: str) -> BurstSettings:
    number = r"(-?[\d.]+)"
    found = {
        "shimadzu": {
            "interval_ns": rf"Shimadzu interval {number} ns",
            "exposure_ns": rf"Shimadzu exposure {number} ns",
            "delay_ns": rf"shimadzu_delay_ns={number}",
        },
        "phantom": {
            "period_ns": rf"(?:Phantom period|\(period) {number} ns",
            "exposure_ns": rf"Phantom exposure {number} ns",
            "rows": r"region \d+ x (\d+)",
            "first": rf"hr_first={number}",
            "last": rf"hr_last={number}",
        },
    }
    for camera, patterns in found.items():
        values = {
            name: float(match[1]) if name.endswith("_ns") else int(match[1])
            for name, pattern in patterns.items()
            if (match := re.search(pattern, text))
        }
        settings = replace(settings, **{camera: replace(getattr(settings, camera), **values)})
    return settings


@given(settings=_BURSTS)
@hypothesis_settings(max_examples=40, deadline=None)
def test_each_setting_that_is_named_works(settings):
    known = {"decay_ns": 70.0}
    for check in examine(settings, **known).checks:
        if check.severity is Severity.OK:
            continue
        assert check.why, check
        assert check.nearest, check
        for alternative in check.nearest.split("; or "):
            better = examine(_applied(settings, alternative), **known)[check.subject]
            assert better.severity is Severity.OK, (check, alternative, better)


@given(settings=_BURSTS, phase=st.floats(0, 0.999))
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_wanted_range_brackets_every_output_at_any_phase(settings, phase):
    lr, hr = settings.shimadzu, settings.phantom
    first, last = wanted_range(settings)
    late_ns = phase * hr.period_ns if hr.free_running else 0.0
    hr = replace(hr, first=first, last=last, delay_ns=hr.delay_ns + late_ns)
    assert Timeline.of(BurstSettings(lr, hr)).bracketed.all()


@given(
    period_ns=st.floats(100, 900),
    interval_ns=st.integers(20, 300).map(lambda n: 10.0 * n),
    share=st.floats(0.05, 1),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_steady_interval_is_steady_with_a_tuned_delay(period_ns, interval_ns, share):
    pulses = Pulses(period_ns)
    exposure_ns = max(10.0, 10 * round(share * interval_ns / 10))
    found_ns = pulses.steady_interval_ns(interval_ns, exposure_ns, 128)
    if found_ns is None:
        return
    assert found_ns % 10 == 0
    assert found_ns >= exposure_ns
    lr = ShimadzuSettings(interval_ns=found_ns, exposure_ns=exposure_ns)
    timeline = Timeline.of(BurstSettings(lr))
    light = pulses.steadiness(timeline.lr_begin_ns, exposure_ns)
    assert light.least > 0
    assert light.step < 0.05 or exposure_ns % period_ns < 5
