import os
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from caproto import ChannelType
from caproto.threading.client import Context
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline
from xfusion_simulators.scene import ReplayScene

LIMIT_S = 10.0


class Client:
    """A Channel Access client that waits for values, never for time."""

    def __init__(self, prefix: str, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        self._prefix = prefix
        self._context = Context()
        self._pvs = {}

    def pv(self, name):
        if name not in self._pvs:
            (self._pvs[name],) = self._context.get_pvs(self._prefix + name)
        self._pvs[name].wait_for_connection(timeout=LIMIT_S)
        return self._pvs[name]

    def put(self, name, value):
        pv = self.pv(name)
        names_a_state = isinstance(value, str) and pv.channel.native_data_type == ChannelType.ENUM
        kind = ChannelType.STRING if names_a_state else None
        pv.write(value, data_type=kind, wait=True, timeout=LIMIT_S)

    def get(self, name):
        data = self.pv(name).read(timeout=LIMIT_S).data
        return data[0].item() if len(data) == 1 else data

    def text(self, name):
        """Name of an enumeration's state, or a short or long string."""
        pv = self.pv(name)
        if pv.channel.native_data_type == ChannelType.CHAR:
            return bytes(pv.read(timeout=LIMIT_S).data).split(b"\0")[0].decode()
        return pv.read(data_type=ChannelType.STRING, timeout=LIMIT_S).data[0].decode()

    def wait_for(self, name, wanted):
        """Return when a subscription brings the wanted value (str: of an enumeration)."""
        arrived, seen = threading.Event(), []
        kind = ChannelType.STRING if isinstance(wanted, str) else None

        def look(_, response):
            value = response.data[0]
            seen.append(value.decode() if isinstance(value, bytes) else value)
            if seen[-1] == wanted:
                arrived.set()

        subscription = self.pv(name).subscribe(data_type=kind)
        token = subscription.add_callback(look)
        try:
            if not arrived.wait(LIMIT_S):
                raise TimeoutError(f"{name} never became {wanted!r}, it went {seen[-10:]}")
        finally:
            subscription.remove_callback(token)

    def close(self):
        self._context.disconnect()


class Operator(Client):
    """What one does at the beamline, in words."""

    def light(self, *, shutter="Open", sample_mm=0.0):
        self.put("SAMPLE:X", sample_mm)
        self.wait_for("SAMPLE:X.DMOV", 1)
        self.put("SHUTTER:Open" if shutter == "Open" else "SHUTTER:Close", 1)
        self.wait_for("SHUTTER:Status_RBV", shutter)

    def arm(self):
        self.put("PHANTOM:CAM:Acquire", 1)
        self.put("HPVX2:CAM:Acquire", 1)
        self.wait_for("PHANTOM:CAM:C1:StateRaw", 4 | 256)
        self.wait_for("HPVX2:CAM:ArmState_RBV", "Armed")

    def fire(self):
        self.put("DG645:TriggerDelayBO", 1)
        self.wait_for("PHANTOM:CAM:C1:StateRaw", 2)
        self.wait_for("HPVX2:CAM:ArmState_RBV", "Recorded")

    def capture(self, camera, folder, name, frames):
        hdf = f"{camera}:HDF1:"
        self.put(f"{hdf}CreateDirectory", -1)
        self.put(f"{hdf}FilePath", str(folder))
        self.put(f"{hdf}FileName", name)
        self.put(f"{hdf}NumCapture", frames)
        self.put(f"{hdf}Capture", 1)

    def choose_frames(self, first, last):
        self.put("PHANTOM:CAM:DownloadStartFrame", first)
        self.put("PHANTOM:CAM:DownloadEndFrame", last)

    def download(self, folder, name, first=-8, last=7):
        """Download a range of the Phantom into a file, and give the file."""
        self.capture("PHANTOM", folder, name, last - first + 1)
        self.choose_frames(first, last)
        self.put("PHANTOM:CAM:Download", 1)
        self.wait_for("PHANTOM:HDF1:Capture_RBV", "Done")
        self.wait_for("PHANTOM:CAM:Download", 0)
        return Path(self.text("PHANTOM:HDF1:FullFileName_RBV"))

    def play_back(self, folder, name):
        """Play the Shimadzu's memory into a file, and give the file."""
        self.capture("HPVX2", folder, name, self.get("HPVX2:CAM:RecordFrames_RBV"))
        self.put("HPVX2:CAM:Playback", 1)
        self.wait_for("HPVX2:HDF1:Capture_RBV", "Done")
        self.wait_for("HPVX2:CAM:Playback", 0)
        return Path(self.text("HPVX2:HDF1:FullFileName_RBV"))

    def calm_down(self):
        """Bring everything back to where a test may begin."""
        for camera in ("PHANTOM", "HPVX2"):
            self.put(f"{camera}:SIM:Fault", "None")
            self.put(f"{camera}:CAM:Acquire", 0)
            self.put(f"{camera}:HDF1:Capture", 0)
        self.put("PHANTOM:CAM:AbortDownload", 1)
        self.put("PHANTOM:CAM:PostTrigFrames", 8)
        self.put("PHANTOM:CAM:Aux1PinMode", "EVENT")
        for channel in ("A", "C"):
            self.put(f"DG645:{channel}DelayAO", 0.0)
        self.put("DG645:TriggerInhibitMO", "Off")


@pytest.fixture(scope="session")
def beamline(tmp_path_factory) -> Iterator[SimulatedBeamline]:
    before = dict(os.environ)
    config = BeamlineConfig(
        memory_folder=tmp_path_factory.mktemp("memory"),
        frames=41,
        time_scale=0.01,
        phantom_clock_offset_ns=120.0,
        shimadzu_clock_offset_ns=-40.0,
    )
    with SimulatedBeamline.start(config) as running:
        yield running
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def client(beamline) -> Iterator[Operator]:
    client = Operator(beamline.config.prefix, beamline.environment)
    yield client
    client.close()


@pytest.fixture
def operator(client) -> Operator:
    client.calm_down()
    return client


@pytest.fixture
def scene(tmp_path) -> Iterator[ReplayScene]:
    path = tmp_path / "scene.h5"
    frames = np.arange(6 * 9 * 14, dtype=np.uint16).reshape(6, 9, 14) % 1000
    with h5py.File(path, "w") as file:
        file["frames"] = frames
        file["frames"].attrs["white_level"] = 1000.0
    with ReplayScene(path) as scene:
        yield scene
