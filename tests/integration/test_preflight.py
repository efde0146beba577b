"""The preflight on the simulated beamline: it moves nothing, and the burst is as it said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xfusion_bluesky.calibration.matching import match_frames
from xfusion_bluesky.preflight.finding import Severity


def _times_ns(instrument: Any) -> dict[str, Any]:
    (event,), (descriptor,) = instrument.named("event"), instrument.named("descriptor")
    configuration = descriptor["configuration"]["dual"]["data"]
    times = {
        camera: np.asarray(event["data"][f"{camera}_frame_time_ns"])
        + configuration[f"{camera}_trigger_delay_ns"]
        for camera in ("phantom", "shimadzu")
    }
    return {**times, "flag": np.asarray(event["data"]["phantom_event_flag"], dtype=bool)}


@pytest.mark.parametrize("interval_ns", [1000, 200])
def test_the_burst_is_what_the_preflight_said(instrument: Any, interval_ns: int) -> None:
    from xfusion_bluesky.plans import dual_burst, preflight

    dual = instrument.dual
    settings = {"RecordInterval": interval_ns, "TriggerPosition": 10, "TriggerDelay": 400}
    before = {name: instrument.get(f"HPVX2:CAM:{name}_RBV") for name in settings}
    burst = {"hr_first": -1, "hr_last": 4, "shimadzu_delay_ns": 12_000.0}
    try:
        for name, value in settings.items():
            instrument.put(f"HPVX2:CAM:{name}", value)
        shots = instrument.shots()
        report = instrument.RE(preflight(dual, **burst, bursts=2)).plan_result
        assert (instrument.documents, instrument.shots()) == ([], shots)
        instrument.RE(dual_burst(dual, instrument.shutter, **burst))
    finally:
        for name, value in before.items():
            instrument.put(f"HPVX2:CAM:{name}", int(value))

    times = _times_ns(instrument)
    np.testing.assert_allclose(report.timeline.lr_time_ns, times["shimadzu"], atol=10)
    np.testing.assert_allclose(report.timeline.hr_time_ns, times["phantom"], atol=10)
    np.testing.assert_array_equal(report.timeline.hr_flagged, times["flag"])
    match = match_frames(times["shimadzu"], times["phantom"], hr_event_flag=times["flag"])
    found = report["HR on both sides"].found
    assert found.startswith(f"{match.outputs} of {len(times['shimadzu'])} outputs")
    assert f"flagged frames only, {match.xfusion_outputs}" in found
    assert "memory 1024 frames" in report["Phantom memory"].found
    assert "verdict: " in repr(report)


def test_a_strict_preflight_ends_a_plan_before_anything_is_armed(instrument: Any) -> None:
    from xfusion_bluesky.devices.faults import DeviceFault
    from xfusion_bluesky.plans import preflight

    too_far = {"hr_first": 500, "hr_last": 510}
    report = instrument.RE(preflight(instrument.dual, **too_far)).plan_result
    assert report.verdict is Severity.STOP
    with pytest.raises(DeviceFault, match=r"HR on both sides.*nothing was armed"):
        instrument.RE(preflight(instrument.dual, **too_far, strict=True))
    assert instrument.documents == []
