"""What an operator meets when an IOC dies, a trigger is lost, or the disk is full."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from simulated_instrument import Instrument, await_true, kill, meanwhile

CHILD_LIMIT_S = 60.0


@pytest.fixture
def mortal(instrument: Instrument) -> Iterator[Instrument]:
    """The instrument, with both IOCs alive again afterwards."""
    yield instrument
    for ioc in (instrument.iocs.beam, instrument.iocs.cameras):
        if not ioc.is_running:
            instrument.restart(ioc)


def _fail(instrument: Instrument, plan: Any) -> Exception:
    """Run a plan that has to fail, and return what the device said."""
    from bluesky.utils import FailedStatus

    from xfusion_bluesky.devices.faults import DeviceFault

    with pytest.raises((FailedStatus, DeviceFault)) as failure:
        instrument.RE(plan)
    assert instrument.RE.state == "idle"
    error = failure.value
    return error.__cause__ if isinstance(error, FailedStatus) else error


def _assert_pixels_are_those_in_memory(instrument: Instrument) -> None:
    resources = instrument.named("stream_resource")
    assert {resource["data_key"] for resource in resources} == {"phantom_image", "shimadzu_image"}
    for resource in resources:
        camera = resource["data_key"].removesuffix("_image")
        path = resource["uri"].removeprefix("file://localhost")
        with (
            h5py.File(path, "r") as file,
            h5py.File(instrument.iocs.memory / f"{camera}.h5", "r") as memory,
        ):
            number = file["/entry/instrument/NDAttributes/FrameNumber"][:]
            rows = np.searchsorted(memory["number"][:], number)
            np.testing.assert_array_equal(file["/entry/data/data"][:], memory["frames"][rows])


@pytest.mark.parametrize(
    ("phase", "where_the_data_are"),
    [
        ("armed", "nothing was recorded"),
        ("recording", "cameras may hold this burst"),
        ("downloading", "in camera memory"),
        ("playing back", "in camera memory"),
    ],
)
def test_a_dead_camera_ioc_fails_the_burst_at_once_and_leaves_the_beam_shut(
    mortal: Instrument, phase: str, where_the_data_are: str
) -> None:
    from xfusion_bluesky.plans import dual_burst, recover

    killed: list[float] = []

    def kill_cameras() -> None:
        killed.append(time.monotonic())
        kill(mortal.iocs.cameras)

    with meanwhile(mortal.bring_to(phase), kill_cameras):
        error = _fail(mortal, dual_burst(mortal.dual, mortal.shutter))
    print(f"{phase}: idle {time.monotonic() - killed[0]:.2f} s after the kill")

    assert "disconnected" in str(error)
    assert where_the_data_are in str(error)
    assert mortal.exit_statuses() == ["fail"]
    assert not mortal.named("event")
    assert mortal.shutter.readback.get(use_monitor=False) == "Closed"
    assert mortal.dual.delay_generator.inhibit.get(use_monitor=False) == "Triggers"

    mortal.restart(mortal.iocs.cameras)
    mortal.documents.clear()
    if "camera memory" in where_the_data_are:
        mortal.RE(recover(mortal.dual, md={"sample_name": "wall 1"}))
        (start,) = mortal.named("start")
        assert (start["recovered"], start["purpose"]) == (True, "dual-burst")
        assert start["sample_name"] == "wall 1"
        _assert_pixels_are_those_in_memory(mortal)
    else:
        mortal.RE(dual_burst(mortal.dual, mortal.shutter))
    assert mortal.exit_statuses() == ["success"]
    assert len(mortal.named("event")) == 1
    assert mortal.is_safe()


def test_a_dead_shutter_ioc_is_told_loudly_and_made_safe_once_it_is_back(
    mortal: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xfusion_bluesky.plans import dual_burst, make_safe, safety

    with meanwhile(
        mortal.bring_to("armed"), lambda: kill(mortal.iocs.beam), lambda: mortal.no_faults()
    ):
        error = _fail(mortal, dual_burst(mortal.dual, mortal.shutter))

    assert "SHUTTER COULD NOT BE CLOSED" in str(error)
    assert "make_safe" in str(error)
    assert "before that, the plan ended with" in str(error)
    assert "no trigger was sent" in str(error)
    assert mortal.exit_statuses() == ["fail"]
    assert not mortal.dual.phantom.ready()
    assert not mortal.dual.shimadzu.ready()

    monkeypatch.setattr(safety, "RECONNECTION_LIMIT_S", 0.2)
    mortal.put("PHANTOM:CAM:Acquire", 1)
    await_true(mortal.dual.phantom.ready, "the Phantom is armed")
    error = _fail(mortal, make_safe(mortal.dual, mortal.shutter))
    assert "delay_generator" in str(error) or "DG645" in str(error)
    assert not mortal.dual.phantom.ready()
    monkeypatch.undo()

    # The simulated shutter comes back shut; a real one may not.
    mortal.restart(mortal.iocs.beam)
    mortal.put("SHUTTER:Open", 1)
    await_true(lambda: bool(mortal.get("SHUTTER:Status_RBV")), "the shutter opens")
    mortal.RE(make_safe(mortal.dual, mortal.shutter))
    assert mortal.is_safe()


def test_settings_lost_in_an_ioc_restart_are_read_again_not_assumed(mortal: Instrument) -> None:
    from xfusion_bluesky.plans import dual_burst

    mortal.put("PHANTOM:CAM:AcquirePeriod", 40e-6)

    def restart_after_the_first_burst(name: str, _: Any) -> None:
        if name == "event":
            kill(mortal.iocs.cameras)
            mortal.iocs.cameras.restart()
            mortal.RE.unsubscribe(token)

    token = mortal.RE.subscribe(restart_after_the_first_burst)
    _fail(mortal, dual_burst(mortal.dual, mortal.shutter, bursts=2))
    mortal.RE(dual_burst(mortal.dual, mortal.shutter, bursts=2))

    assert mortal.exit_statuses() == ["fail", "success"]
    assert [event["seq_num"] for event in mortal.named("event")] == [1, 1, 2]
    periods_s = [
        descriptor["configuration"]["dual"]["data"]["phantom_acquire_period"]
        for descriptor in mortal.named("descriptor")
    ]
    assert periods_s == [40e-6, 20e-6]


def test_a_setting_changed_during_the_run_ends_it_before_its_documents_lie(
    instrument: Instrument,
) -> None:
    from xfusion_bluesky.plans import dual_burst

    changed = threading.Event()

    def change_after_the_first_burst(name: str, _: Any) -> None:
        if name == "event" and not changed.is_set():
            instrument.put("HPVX2:CAM:RecordInterval", 2000)
            changed.set()

    shots = instrument.shots()
    token = instrument.RE.subscribe(change_after_the_first_burst)
    error = _fail(instrument, dual_burst(instrument.dual, instrument.shutter, bursts=2))
    instrument.RE.unsubscribe(token)
    instrument.put("HPVX2:CAM:RecordInterval", 1000)

    assert "record_interval_ns was 1000, is 2000" in str(error)
    assert len(instrument.named("event")) == 1
    assert instrument.shots() == shots + 1
    assert instrument.is_safe()


@pytest.mark.parametrize(("camera", "name"), [("PHANTOM", "phantom"), ("HPVX2", "shimadzu")])
def test_a_lost_trigger_is_told_by_camera_and_nothing_is_kept_of_the_shot(
    instrument: Instrument, camera: str, name: str
) -> None:
    from xfusion_bluesky.plans import dual_burst, recover

    instrument.set_fault(camera, "Miss trigger")
    for device in (instrument.dual.phantom, instrument.dual.shimadzu):
        device.margin_s = 0.5
    shots = instrument.shots()
    error = _fail(instrument, dual_burst(instrument.dual, instrument.shutter))

    assert f"The recording of {name} took too long" in str(error)
    assert "trigger cable" in str(error)
    assert instrument.shots() == shots + 1
    assert instrument.exit_statuses() == ["fail"]
    assert instrument.is_safe()

    instrument.documents.clear()
    assert f"The memory of {name} is empty" in str(_fail(instrument, recover(instrument.dual)))
    assert not instrument.documents


def test_no_trigger_is_sent_when_a_camera_falls_out_of_its_armed_state(
    instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    from xfusion_bluesky.plans import dual_burst

    caplog.set_level(logging.DEBUG, "xfusion_bluesky.devices")

    def disarm_phantom() -> None:
        await_true(lambda: "Arming shimadzu" in caplog.text, "the Phantom was seen to be ready")
        instrument.put("PHANTOM:CAM:Acquire", 0)
        await_true(lambda: not instrument.dual.phantom.ready(), "the Phantom is disarmed")

    shots = instrument.shots()
    with meanwhile(instrument.bring_to("armed"), disarm_phantom, instrument.no_faults):
        error = _fail(instrument, dual_burst(instrument.dual, instrument.shutter))

    assert "fell out of its armed state [phantom]" in str(error)
    assert "no trigger was sent" in str(error)
    assert instrument.shots() == shots
    assert instrument.is_safe()


@pytest.mark.parametrize(
    ("camera", "fault"), [("PHANTOM", "Hang transfer"), ("HPVX2", "Drop frames")]
)
def test_a_burst_whose_transfer_failed_is_fetched_from_camera_memory(
    instrument: Instrument, camera: str, fault: str
) -> None:
    from xfusion_bluesky.plans import dual_burst, recover

    instrument.set_fault(camera, fault)
    instrument.dual.phantom.margin_s = 0.5
    error = _fail(
        instrument, dual_burst(instrument.dual, instrument.shutter, hr_first=-2, hr_last=5)
    )
    assert "RE(recover(dual)) fetches it" in str(error)
    instrument.no_faults()
    shots = instrument.shots()
    instrument.documents.clear()

    instrument.RE(recover(instrument.dual))

    (event,) = instrument.named("event")
    assert event["data"]["phantom_frames"] == 8
    _assert_pixels_are_those_in_memory(instrument)
    assert instrument.shots() == shots
    assert instrument.is_safe()


DISK_DRILL = """
import json, os, subprocess, sys
from pathlib import Path
from simulated_instrument import Instrument, SimulatedIocs, meanwhile
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline

folder = Path(sys.argv[1])
small = folder / "small"
small.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=True)
beam, cameras = SimulatedBeamline.start_apart(BeamlineConfig(memory_folder=folder / "memory"))
with beam, cameras:
    os.environ.update(beam.environment)
    from xfusion_bluesky.beamline import connect_beamline
    from xfusion_bluesky.configuration import Configuration
    from xfusion_bluesky.plans import dual_burst, recover
    devices = connect_beamline(Configuration().located(folder))
    RE, dual, shutter = devices.RE, devices.dual, devices.shutter
    dual.folder = small / "raw"
    iocs = SimulatedIocs(beam, cameras)
    instrument = Instrument(RE, dual, shutter, devices.sample, devices.mesh, folder, iocs)
    RE.subscribe(lambda name, document: instrument.documents.append((name, document)))
    outcome = {}

    def note(name, plan):
        instrument.documents.clear()
        shots, error = instrument.shots(), ""
        try:
            RE(plan)
        except Exception as failure:
            error = f"{failure} {failure.__cause__}"
        outcome[name] = {
            "error": error,
            "shots": instrument.shots() - shots,
            "runs": instrument.exit_statuses(),
            "events": len(instrument.named("event")),
            "safe": instrument.is_safe(),
        }

    def fill(left_bytes):
        free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        (small / "filler").write_bytes(bytes(free - left_bytes))

    def fill_after_the_first_burst(name, document):
        if name == "event":
            fill(500_000)

    note("too many bursts", dual_burst(dual, shutter, bursts=100))
    token = RE.subscribe(fill_after_the_first_burst)
    note("filled between bursts", dual_burst(dual, shutter, bursts=2))
    RE.unsubscribe(token)
    (small / "filler").unlink()
    with meanwhile(instrument.bring_to("armed"), lambda: fill(200_000), instrument.no_faults):
        note("filled while transferring", dual_burst(dual, shutter))
    (small / "filler").unlink()
    outcome["left"] = sorted(path.name for path in small.rglob("*partial"))
    note("recovered", recover(dual))
print(json.dumps(outcome))
"""


def test_a_full_disk_costs_no_burst(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("a small file system needs the right to make a mount namespace")
    support = str(Path(__file__).parents[1] / "support")
    drill = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", DISK_DRILL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": support},
        capture_output=True,
        text=True,
        timeout=CHILD_LIMIT_S,
    )
    assert drill.returncode == 0, drill.stderr
    outcome = json.loads(drill.stdout.splitlines()[-1])

    refused = outcome["too many bursts"]
    assert "Too little disk for 100 bursts" in refused["error"]
    assert (refused["shots"], refused["runs"]) == (0, [])

    refused = outcome["filled between bursts"]
    assert "Too little disk for 1 burst " in refused["error"]
    assert (refused["shots"], refused["runs"], refused["events"]) == (1, ["fail"], 1)

    failed = outcome["filled while transferring"]
    assert "The burst file cannot be written" in failed["error"]
    assert ".h5" in failed["error"]
    assert "in camera memory" in failed["error"]
    assert failed["runs"] == ["fail"]

    assert outcome["recovered"]["error"] == ""
    assert (outcome["recovered"]["shots"], outcome["recovered"]["events"]) == (0, 1)
    assert all(outcome[name]["safe"] for name in outcome if name != "left")
    assert outcome["left"] == []
