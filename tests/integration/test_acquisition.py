"""Plans on the simulated beamline: what an operator sees, on real IOCs and real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest


def _fault(camera: str, fault: str) -> None:
    from ophyd import EpicsSignal

    signal = EpicsSignal(f"XFSIM:{camera}:SIM:Fault", name="fault", string=True)
    signal.wait_for_connection(timeout=5)
    signal.put(fault, wait=True, timeout=5)
    signal.destroy()


def _shots() -> int:
    from ophyd import EpicsSignalRO

    signal = EpicsSignalRO("XFSIM:DG645:SIM:ShotCount_RBV", name="shots")
    signal.wait_for_connection(timeout=5)
    shots = int(signal.get(use_monitor=False))
    signal.destroy()
    return shots


def _file(resource: dict[str, Any]) -> Path:
    return Path(resource["uri"].removeprefix("file://localhost"))


def test_each_burst_is_one_event_with_one_closed_file_a_camera(instrument: Any) -> None:
    from xfusion_bluesky.plans import dual_burst

    instrument.RE(dual_burst(instrument.dual, instrument.shutter, bursts=2, hr_last=4))

    assert len(instrument.named("event")) == 2
    (descriptor,) = instrument.named("descriptor")
    resources = instrument.named("stream_resource")
    assert len(resources) == 4
    for resource in resources:
        with h5py.File(_file(resource), "r") as file:
            assert (
                list(file["/entry/data/data"].shape)
                == (descriptor["data_keys"][resource["data_key"]]["shape"])
            )
    indices = [tuple(datum["indices"].values()) for datum in instrument.named("stream_datum")]
    assert sorted(indices) == [(0, 1), (0, 1), (1, 2), (1, 2)]
    (stop,) = instrument.named("stop")
    assert stop["exit_status"] == "success"


def test_frame_times_of_both_cameras_map_to_the_truth(instrument: Any) -> None:
    from xfusion_bluesky.plans import dual_burst

    instrument.RE(
        dual_burst(
            instrument.dual,
            instrument.shutter,
            hr_first=-2,
            hr_last=3,
            phantom_delay_ns=2000.0,
            shimadzu_delay_ns=1000.0,
        )
    )

    (event,) = instrument.named("event")
    (descriptor,) = instrument.named("descriptor")
    configuration = descriptor["configuration"]["dual"]["data"]
    for resource in instrument.named("stream_resource"):
        camera = resource["data_key"].removesuffix("_image")
        path = _file(resource)
        with h5py.File(path.with_suffix(".truth.h5"), "r") as truth:
            true_ns = truth["/truth/time_ns"][:]
        common_ns = (
            np.asarray(event["data"][f"{camera}_frame_time_ns"])
            + (configuration[f"{camera}_trigger_delay_ns"])
        )
        np.testing.assert_allclose(common_ns, true_ns, atol=10)


@pytest.mark.parametrize("camera", ["PHANTOM", "HPVX2"])
def test_no_trigger_is_sent_when_one_camera_refuses_to_arm(instrument: Any, camera: str) -> None:
    from bluesky.utils import FailedStatus

    from xfusion_bluesky.plans import dual_burst

    _fault(camera, "Refuse arm")
    before = _shots()
    with pytest.raises(FailedStatus) as failure:
        instrument.RE(dual_burst(instrument.dual, instrument.shutter))

    assert _shots() == before
    assert "refused to arm" in str(failure.value.__cause__)
    assert instrument.named("stop")[0]["exit_status"] == "fail"
    assert instrument.shutter.readback.get(use_monitor=False) == "Closed"
    for device in (instrument.dual.phantom, instrument.dual.shimadzu):
        assert not device.ready()


def test_lost_frames_fail_the_burst_and_say_that_the_memory_still_holds_it(
    instrument: Any,
) -> None:
    from bluesky.utils import FailedStatus

    from xfusion_bluesky.plans import dual_burst

    _fault("HPVX2", "Drop frames")
    with pytest.raises(FailedStatus) as failure:
        instrument.RE(dual_burst(instrument.dual, instrument.shutter))

    message = str(failure.value.__cause__)
    assert "2 frames were lost" in message
    assert "camera memory" in message
    assert not instrument.named("event")


def test_dark_and_flat_are_runs_of_their_own_and_the_sample_returns(instrument: Any) -> None:
    from xfusion_bluesky.plans import dark_flat

    instrument.RE(dark_flat(instrument.dual, instrument.shutter, instrument.sample, hr_last=1))

    assert [start["purpose"] for start in instrument.named("start")] == ["dark", "flat"]
    levels = []
    for resource in instrument.named("stream_resource"):
        with h5py.File(_file(resource), "r") as file:
            levels.append(float(np.mean(file["/entry/data/data"][:])))
    assert levels[2] > 5 * levels[0]
    assert levels[3] > 5 * levels[1]
    assert abs(instrument.sample.position) < 0.01


def test_a_second_flat_is_as_bright_as_the_first(instrument: Any) -> None:
    from xfusion_bluesky.plans import dark_flat

    # The RunEngine stops the stage at the end of the first plan; that must not spoil the second.
    for _ in range(2):
        instrument.RE(dark_flat(instrument.dual, instrument.shutter, instrument.sample, hr_last=1))

    levels = []
    for resource in instrument.named("stream_resource"):
        with h5py.File(_file(resource), "r") as file:
            levels.append(float(np.mean(file["/entry/data/data"][:])))
    np.testing.assert_allclose(levels[4:], levels[:4], rtol=0.01)


def test_the_shutter_is_closed_when_the_plan_ends(instrument: Any) -> None:
    from xfusion_bluesky.plans import dual_burst

    instrument.RE(dual_burst(instrument.dual, instrument.shutter))

    assert instrument.shutter.readback.get(use_monitor=False) == "Closed"


@pytest.mark.parametrize(("bursts", "hr_first", "hr_last"), [(0, 0, 3), (1, 4, 2)])
def test_an_impossible_burst_is_refused_before_anything_moves(
    instrument: Any, bursts: int, hr_first: int, hr_last: int
) -> None:
    from xfusion_bluesky.plans import dual_burst

    plan = dual_burst(
        instrument.dual, instrument.shutter, bursts=bursts, hr_first=hr_first, hr_last=hr_last
    )
    with pytest.raises(ValueError):
        instrument.RE(plan)
    assert not instrument.documents
