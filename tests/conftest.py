"""One simulated instrument a test session: real IOCs on loopback, real devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_instrument import LIMIT_S, Instrument, SimulatedIocs
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline


@pytest.fixture(scope="session")
def simulated_iocs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedIocs]:
    config = BeamlineConfig(memory_folder=tmp_path_factory.mktemp("beamline") / "memory")
    beam, cameras = SimulatedBeamline.start_apart(config)
    with beam, cameras:
        os.environ.update(beam.environment)
        yield SimulatedIocs(beam, cameras)


@pytest.fixture(scope="session")
def devices(simulated_iocs: SimulatedIocs, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from xfusion_bluesky.beamline import connect_beamline
    from xfusion_bluesky.configuration import Configuration

    folder = tmp_path_factory.mktemp("instrument")
    return connect_beamline(Configuration().located(folder))


@pytest.fixture
def instrument(devices: Any, simulated_iocs: SimulatedIocs, tmp_path: Path) -> Iterator[Instrument]:
    instrument = Instrument(
        devices.RE,
        devices.dual,
        devices.shutter,
        devices.sample,
        devices.mesh,
        tmp_path,
        simulated_iocs,
    )
    devices.dual.folder = tmp_path / "raw"
    for camera in (devices.dual.phantom, devices.dual.shimadzu):
        camera.margin_s = 3.0
    token = devices.RE.subscribe(
        lambda name, document: instrument.documents.append((name, document))
    )
    yield instrument
    devices.RE.unsubscribe(token)
    for device in (devices.dual, devices.shutter, devices.sample, devices.mesh):
        device.wait_for_connection(timeout=LIMIT_S)
    instrument.no_faults()
