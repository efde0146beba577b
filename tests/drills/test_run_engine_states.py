"""Pause, resume, abort, stop, halt and Ctrl-C at each stage of a plan: what is kept and safe."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from simulated_instrument import LIMIT_S, Instrument, await_true, meanwhile

IN_A_BURST = ("armed", "recording", "downloading", "playing back")


def _pausing(plan: Any, before: Callable[[Any], bool], defer: bool = False) -> Any:
    """The plan, with an immediate pause before each message that `before` picks."""
    import bluesky.preprocessors as bpp
    from bluesky.utils import Msg

    def insert(msg: Any) -> Any:
        if msg.command == "pause" or not before(msg):
            return None, None

        def pause_then() -> Any:
            yield Msg("pause", None, defer=defer)
            return (yield msg)

        return pause_then(), None

    return bpp.plan_mutator(plan, insert)


@contextmanager
def _interrupted() -> Iterator[None]:
    from bluesky.utils import RunEngineInterrupted

    with pytest.raises(RunEngineInterrupted):
        yield


def _pause_at(instrument: Instrument, stage: str, bursts: int = 2) -> None:
    """Run a plan and pause it at a stage; the faults that held it there are gone afterwards."""
    from xfusion_bluesky.plans import dual_burst

    plan = dual_burst(instrument.dual, instrument.shutter, bursts=bursts)
    if stage in IN_A_BURST:
        reached = instrument.bring_to(stage)
        with meanwhile(reached, instrument.RE.request_pause), _interrupted():
            instrument.RE(plan)
        instrument.no_faults()
    else:
        checkpoints = iter(range(10))
        picks = {
            "configuring": lambda msg: msg.command == "stage",
            "between bursts": lambda msg: msg.command == "checkpoint" and next(checkpoints) == 1,
        }
        with _interrupted():
            instrument.RE(_pausing(plan, picks[stage]))
    assert instrument.RE.state == "paused"


def _assert_usable(instrument: Instrument) -> None:
    """The next plan succeeds, and leaves everything safe."""
    from xfusion_bluesky.plans import dual_burst

    assert instrument.RE.state == "idle"
    assert instrument.is_safe()
    instrument.documents.clear()
    instrument.RE(dual_burst(instrument.dual, instrument.shutter))
    assert instrument.exit_statuses() == ["success"]
    assert len(instrument.named("event")) == 1
    assert instrument.is_safe()


def _assert_each_burst_once(instrument: Instrument, bursts: int) -> None:
    assert [event["seq_num"] for event in instrument.named("event")] == list(range(1, bursts + 1))
    for camera in ("phantom", "shimadzu"):
        resources = {
            resource["uid"]: resource["uri"]
            for resource in instrument.named("stream_resource")
            if resource["data_key"] == f"{camera}_image"
        }
        assert len(set(resources.values())) == bursts
        assert all(
            Path(uri.removeprefix("file://localhost")).exists() for uri in resources.values()
        )
        indices = [
            (datum["indices"]["start"], datum["indices"]["stop"])
            for datum in instrument.named("stream_datum")
            if datum["stream_resource"] in resources
        ]
        assert indices == [(k, k + 1) for k in range(bursts)]
    checksums = {event["data"]["shimadzu_sha256"] for event in instrument.named("event")}
    assert len(checksums) == bursts


@pytest.mark.parametrize("stage", ["configuring", *IN_A_BURST, "between bursts"])
def test_a_pause_makes_safe_and_a_resumed_plan_loses_and_doubles_nothing(
    instrument: Instrument, stage: str
) -> None:
    _pause_at(instrument, stage)
    if stage != "configuring":
        assert instrument.is_safe()

    instrument.RE.resume()

    assert instrument.exit_statuses() == ["success"]
    _assert_each_burst_once(instrument, 2)
    _assert_usable(instrument)


@pytest.mark.parametrize(
    ("stage", "action", "exit_status"),
    [
        ("configuring", "abort", None),
        ("armed", "abort", "abort"),
        ("recording", "abort", "abort"),
        ("downloading", "abort", "abort"),
        ("between bursts", "abort", "abort"),
        ("armed", "stop", "success"),
        ("between bursts", "stop", "success"),
        ("playing back", "halt", "abort"),
    ],
)
def test_a_paused_plan_that_is_ended_leaves_a_usable_safe_instrument(
    instrument: Instrument, stage: str, action: str, exit_status: str | None
) -> None:
    _pause_at(instrument, stage)

    getattr(instrument.RE, action)()

    assert instrument.exit_statuses() == ([] if exit_status is None else [exit_status])
    assert len(instrument.named("event")) == (stage == "between bursts")
    _assert_usable(instrument)


@pytest.mark.parametrize("stage", ["armed", "downloading"])
def test_an_abort_in_the_middle_of_a_burst_leaves_a_usable_safe_instrument(
    instrument: Instrument, stage: str
) -> None:
    from xfusion_bluesky.plans import dual_burst, recover

    with meanwhile(instrument.bring_to(stage), instrument.RE.abort), _interrupted():
        instrument.RE(dual_burst(instrument.dual, instrument.shutter))
    instrument.no_faults()

    assert instrument.exit_statuses() == ["abort"]
    assert not instrument.named("event")
    if stage == "downloading":
        instrument.RE(recover(instrument.dual))
        assert len(instrument.named("event")) == 1
    _assert_usable(instrument)


def test_a_burst_stopped_from_elsewhere_fails_the_plan(instrument: Instrument) -> None:
    from bluesky.utils import FailedStatus

    from xfusion_bluesky.plans import dual_burst

    with (
        meanwhile(instrument.bring_to("armed"), instrument.dual.stop),
        pytest.raises(FailedStatus) as failure,
    ):
        instrument.RE(dual_burst(instrument.dual, instrument.shutter))
    instrument.no_faults()

    assert "Acquisition interrupted" in str(failure.value.__cause__)
    assert instrument.exit_statuses() == ["fail"]
    _assert_usable(instrument)


def test_a_burst_paused_at_any_message_is_taken_once(instrument: Instrument) -> None:
    from bluesky.utils import RunEngineInterrupted

    from xfusion_bluesky.plans import dual_burst

    commands: list[str] = []
    instrument.RE.msg_hook = lambda msg: commands.append(msg.command)
    try:
        instrument.RE(dual_burst(instrument.dual, instrument.shutter, bursts=2))
    finally:
        instrument.RE.msg_hook = None
    first, second = (k for k, command in enumerate(commands) if command == "checkpoint")
    messages_a_burst = second - first
    instrument.documents.clear()

    bursts = messages_a_burst
    burst, message = -1, 0

    def kth_message_of_kth_burst(msg: Any) -> bool:
        nonlocal burst, message
        if msg.command == "checkpoint":
            burst, message = burst + 1, 0
        else:
            message += 1
        return burst == message

    plan = dual_burst(instrument.dual, instrument.shutter, bursts=bursts)
    with _interrupted():
        instrument.RE(_pausing(plan, kth_message_of_kth_burst))
    pauses = 1
    while instrument.RE.state == "paused":
        try:
            instrument.RE.resume()
        except RunEngineInterrupted:
            pauses += 1

    assert pauses == bursts
    _assert_each_burst_once(instrument, bursts)
    assert instrument.is_safe()


def test_a_pause_while_the_sample_moves_does_not_spoil_the_flat(instrument: Instrument) -> None:
    from xfusion_bluesky.plans import dark_flat

    def moves() -> None:
        await_true(lambda: instrument.sample.moving, "the sample moves")

    plan = dark_flat(instrument.dual, instrument.shutter, instrument.sample, hr_last=1)
    with meanwhile(moves, instrument.RE.request_pause), _interrupted():
        instrument.RE(plan)
    assert instrument.is_safe()
    await_true(lambda: not instrument.sample.moving, "the sample stands still")
    # Ophyd ends the status of the move a moment later; nobody resumes as quickly as that.
    time.sleep(0.2)
    instrument.RE.resume()

    assert instrument.exit_statuses() == ["success", "success"]
    assert abs(instrument.sample.position) < 0.01
    _assert_usable(instrument)


def test_a_halted_plan_leaves_the_shutter_as_it_is_until_make_safe(instrument: Instrument) -> None:
    from xfusion_bluesky.plans import dual_burst, make_safe

    with meanwhile(instrument.bring_to("recording"), instrument.RE.halt), _interrupted():
        instrument.RE(dual_burst(instrument.dual, instrument.shutter))
    instrument.no_faults()

    assert instrument.exit_statuses() == ["abort"]
    assert instrument.shutter.readback.get(use_monitor=False) == "Open"
    instrument.RE(make_safe(instrument.dual, instrument.shutter))
    _assert_usable(instrument)
    instrument.RE(make_safe(instrument.dual, instrument.shutter))
    assert instrument.is_safe()


CTRL_C = """
import sys
from pathlib import Path
from bluesky.utils import RunEngineInterrupted
from xfusion_bluesky.beamline import connect_beamline
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.plans import dual_burst

devices = connect_beamline(Configuration().located(Path(sys.argv[1])))
RE = devices.RE
RE.subscribe(lambda name, document: print("STOP", document["exit_status"], flush=True), "stop")
print("READY", flush=True)
try:
    RE(dual_burst(devices.dual, devices.shutter, bursts=2))
except RunEngineInterrupted:
    print("STATE", RE.state, flush=True)
    RE.abort()
print("STATE", RE.state, flush=True)
"""


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_once_ends_after_the_burst_and_twice_at_once(
    instrument: Instrument, presses: int
) -> None:
    reached = instrument.bring_to("downloading" if presses == 2 else "armed")
    with subprocess.Popen(
        [sys.executable, "-u", "-c", CTRL_C, str(instrument.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        said: list[str] = []
        listener = threading.Thread(target=lambda: said.extend(iter(child.stdout.readline, "")))
        listener.start()
        try:
            await_true(lambda: "READY\n" in said, "the child is ready")
            reached()
            child.send_signal(signal.SIGINT)
            await_true(lambda: any("Deferred pause" in line for line in said), "a soft pause")
            if presses == 2:
                # The RunEngine takes presses within 0.1 s of each other for one.
                time.sleep(0.15)
                child.send_signal(signal.SIGINT)
            else:
                instrument.no_faults()
            child.wait(LIMIT_S)
        finally:
            child.kill()
            listener.join()
    states = [line.split()[1] for line in said if line.startswith("STATE")]
    assert states == ["paused", "idle"], said
    assert "STOP abort\n" in said
    assert child.returncode == 0
    instrument.no_faults()
    _assert_usable(instrument)
