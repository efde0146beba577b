"""The simulated instrument as tests use it: its IOCs, its devices, and their faults."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from xfusion_simulators.launch import SimulatedBeamline

LIMIT_S = 20.0


def await_true(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Return when a condition holds; a test that waits in vain says for what."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"This never happened: {what}")
        time.sleep(0.005)


@dataclass(frozen=True)
class SimulatedIocs:
    """Two IOC processes, as at a beamline: the beam's devices, and the cameras."""

    beam: SimulatedBeamline
    cameras: SimulatedBeamline

    @property
    def memory(self) -> Path:
        """Folder with the memory of both cameras."""
        return self.cameras.config.memory_folder


@dataclass
class Instrument:
    """Devices connected to the simulated IOCs, and a RunEngine whose documents are kept."""

    RE: Any
    dual: Any
    shutter: Any
    sample: Any
    mesh: Any
    folder: Path
    iocs: SimulatedIocs
    documents: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def named(self, name: str) -> list[dict[str, Any]]:
        """Documents of one kind."""
        return [document for kind, document in self.documents if kind == name]

    def exit_statuses(self) -> list[str]:
        """How the runs ended."""
        return [stop["exit_status"] for stop in self.named("stop")]

    def put(self, pv: str, value: Any) -> None:
        """Write a PV that is no part of the devices."""
        signal_ = _signal(pv, string=isinstance(value, str))
        signal_.put(value, wait=True, timeout=LIMIT_S, connection_timeout=LIMIT_S)

    def get(self, pv: str) -> Any:
        """Read a PV that is no part of the devices."""
        return _signal(pv).get(timeout=LIMIT_S, connection_timeout=LIMIT_S, use_monitor=False)

    def set_fault(self, camera: str, fault: str) -> None:
        """Make a camera (PHANTOM, HPVX2) misbehave; ``None`` as text ends it."""
        self.put(f"{camera}:SIM:Fault", fault)

    def shots(self) -> int:
        """Triggers sent since the delay generator's IOC started."""
        return int(self.get("DG645:SIM:ShotCount_RBV"))

    def is_safe(self) -> bool:
        """Whether the shutter is shut, the trigger inhibited, and neither camera does anything."""
        dual = self.dual
        now = {"use_monitor": False}
        return (
            self.shutter.readback.get(**now) == "Closed"
            and dual.delay_generator.inhibit.get(**now) == "Triggers"
            and not any(camera.ready() for camera in (dual.phantom, dual.shimadzu))
            and not any(camera.acquire.get(**now) for camera in (dual.phantom, dual.shimadzu))
            and not dual.phantom.download.get(**now)
            and not dual.shimadzu.playback.get(**now)
        )

    def bring_to(self, phase: str) -> Callable[[], None]:
        """Set the faults that hold the next burst in a phase; return the wait for that phase.

        Parameters
        ----------
        phase : str
            ``armed`` (one camera is, the other never gets there), ``recording`` (one camera has
            recorded, the other missed the trigger), ``downloading`` or ``playing back`` (the
            transfer of that camera hangs half way).
        """
        phantom, shimadzu = self.dual.phantom, self.dual.shimadzu
        shots = self.shots()
        camera, fault, condition = {
            "armed": (
                "HPVX2",
                "Hang arming",
                lambda: phantom.ready() and shimadzu.detector_state.get() == "Initializing",
            ),
            "recording": (
                "PHANTOM",
                "Miss trigger",
                # Before it is armed, the camera still shows that it holds the last burst.
                lambda: shimadzu.arm_state.get() == "Recorded" and self.shots() > shots,
            ),
            "downloading": (
                "PHANTOM",
                "Hang transfer",
                lambda: phantom.download.get() and phantom.download_count.get() > 0,
            ),
            "playing back": (
                "HPVX2",
                "Hang transfer",
                lambda: shimadzu.playback.get() and shimadzu.playback_count.get() > 0,
            ),
        }[phase]
        self.set_fault(camera, fault)
        return lambda: await_true(condition, f"the burst is {phase}")

    def restart(self, ioc: SimulatedBeamline) -> None:
        """Start an IOC again, whatever became of it, and wait until the devices have noticed."""
        from ophyd import EpicsSignalRO

        ioc.restart()
        # A search for a new name makes the client look for the lost ones now, not seconds later.
        EpicsSignalRO(f"XFSIM:NOBODY:{ioc.pid}", name="nobody").destroy()
        for device in (self.dual, self.shutter, self.sample, self.mesh):
            device.wait_for_connection(timeout=LIMIT_S)

    def no_faults(self) -> None:
        """Let both cameras work again."""
        for camera in ("PHANTOM", "HPVX2"):
            self.set_fault(camera, "None")


@cache
def _signal(pv: str, string: bool = False) -> Any:
    from ophyd import EpicsSignal

    return EpicsSignal(f"XFSIM:{pv}", name="pv", string=string)


def kill(ioc: SimulatedBeamline) -> None:
    """End an IOC as a power cut does."""
    os.kill(ioc.pid, signal.SIGKILL)


@contextmanager
def meanwhile(*steps: Callable[[], Any]) -> Iterator[None]:
    """Do the steps in a thread while the body runs; what goes wrong in them fails the test."""
    errors: list[Exception] = []

    def do() -> None:
        try:
            for step in steps:
                step()
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=do, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(2 * LIMIT_S)
        if errors:
            raise errors[0]
