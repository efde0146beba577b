"""One simulated beamline a test session: real IOCs on loopback, real devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline


@dataclass
class Instrument:
    """Devices connected to the simulated IOCs, and a RunEngine whose documents are kept."""

    RE: Any
    dual: Any
    shutter: Any
    sample: Any
    folder: Path
    documents: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [document for kind, document in self.documents if kind == name]


@pytest.fixture(scope="session")
def simulated_iocs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedBeamline]:
    folder = tmp_path_factory.mktemp("beamline")
    config = BeamlineConfig(memory_folder=folder / "memory")
    with SimulatedBeamline.start(config, log=folder / "sim.log") as beamline:
        os.environ.update(beamline.environment)
        yield beamline


@pytest.fixture(scope="session")
def devices(simulated_iocs: SimulatedBeamline, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from xfusion_bluesky.beamline import connect_beamline
    from xfusion_bluesky.configuration import Configuration

    folder = tmp_path_factory.mktemp("instrument")
    return connect_beamline(Configuration().located(folder))


@pytest.fixture
def instrument(devices: Any, tmp_path: Path) -> Iterator[Instrument]:
    from ophyd import EpicsSignal

    instrument = Instrument(devices.RE, devices.dual, devices.shutter, devices.sample, tmp_path)
    devices.dual.folder = tmp_path / "raw"
    for camera in (devices.dual.phantom, devices.dual.shimadzu):
        camera.margin_s = 3.0
    token = devices.RE.subscribe(
        lambda name, document: instrument.documents.append((name, document))
    )
    yield instrument
    devices.RE.unsubscribe(token)
    for prefix in ("PHANTOM", "HPVX2"):
        fault = EpicsSignal(f"XFSIM:{prefix}:SIM:Fault", name="fault")
        fault.wait_for_connection(timeout=5)
        fault.put(0, wait=True, timeout=5)
        fault.destroy()
