"""The devices of a beamline, in one process or in two, and what happens when T0 fires."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..camera_pair import CameraPair
from ..configuration import BeamlineConfig, Part
from ..scene import Beam
from .cables import Shot, listen, send
from .camera import FaultSwitch
from .delay_generator import DelayGeneratorGroup
from .file_plugin import FilePlugin
from .phantom import PhantomGroup
from .shimadzu import ShimadzuGroup
from .stage import MeshStage, SampleStage, Shutter, SlitBlades

PHANTOM_OUTPUT = "A"
SHIMADZU_OUTPUT = "C"


class BeamDevices:
    """Shutter, slits, mesh stage, sample stage and delay generator.

    Parameters
    ----------
    config : BeamlineConfig
    on_shot : coroutine function
        Told of every T0.
    """

    def __init__(self, config: BeamlineConfig, on_shot: Callable[[Shot], Awaitable[None]]) -> None:
        prefix = config.prefix
        self._on_shot = on_shot
        self.shutter = Shutter(f"{prefix}SHUTTER:", config.time_scale)
        self.sample = SampleStage(f"{prefix}SAMPLE:", config.time_scale)
        self.mesh = MeshStage(f"{prefix}MESH:", config.mesh, config.seed, config.time_scale)
        self.slits = SlitBlades(f"{prefix}SLITS:", config.time_scale)
        self.delays = DelayGeneratorGroup(f"{prefix}DG645:", self._fire)
        self.groups = (self.delays, self.shutter, self.slits, self.mesh, self.sample)

    async def prepare(self) -> None:
        """Bring every record to the state of its device, before any client can look."""
        for group in (self.sample, self.mesh, self.slits):
            await group.prepare()

    def beam(self) -> Beam:
        """Say what stands in the beam now."""
        return Beam(
            shutter_open=self.shutter.is_open,
            sample_in=self.sample.sample_in,
            mesh=self.mesh.pose,
            slits=self.slits.opening,
        )

    async def _fire(self, number: int) -> None:
        time_ns = self.delays.delays.time_ns
        await self._on_shot(
            Shot(number, time_ns(PHANTOM_OUTPUT), time_ns(SHIMADZU_OUTPUT), self.beam())
        )


class Cameras:
    """Both cameras on one scene.

    Output AB of the delay generator triggers the Phantom, CD the Shimadzu; the Shimadzu's
    recording gate goes to the Phantom's AUX1 pin.

    Parameters
    ----------
    config : BeamlineConfig
    get_beam : callable, optional
        Says what stands in the beam when the Phantom gets a software trigger. Default: what
        stood there at the last T0.
    """

    def __init__(self, config: BeamlineConfig, get_beam: Callable[[], Beam] | None = None) -> None:
        prefix = config.prefix
        self._last_beam = Beam(shutter_open=False)
        self.pair = CameraPair.of(config)
        self.phantom_file = FilePlugin(f"{prefix}PHANTOM:HDF1:")
        self.shimadzu_file = FilePlugin(f"{prefix}HPVX2:HDF1:")
        phantom_faults = FaultSwitch(f"{prefix}PHANTOM:SIM:")
        shimadzu_faults = FaultSwitch(f"{prefix}HPVX2:SIM:")
        self.phantom = PhantomGroup(
            f"{prefix}PHANTOM:CAM:",
            camera=self.pair.phantom,
            geometry=self.pair.geometry,
            get_beam=get_beam or (lambda: self._last_beam),
            plugin=self.phantom_file,
            faults=phantom_faults,
            time_scale=config.time_scale,
        )
        self.shimadzu = ShimadzuGroup(
            f"{prefix}HPVX2:CAM:",
            camera=self.pair.shimadzu,
            plugin=self.shimadzu_file,
            faults=shimadzu_faults,
            time_scale=config.time_scale,
        )
        self.groups = (
            self.phantom,
            self.phantom_file,
            phantom_faults,
            self.shimadzu,
            self.shimadzu_file,
            shimadzu_faults,
        )

    async def prepare(self) -> None:
        """Bring every record to the state of its device, before any client can look."""
        await self.phantom.prepare()
        await self.shimadzu.prepare()

    async def take(self, shot: Shot) -> None:
        """Give T0 to the cameras that wait for it."""
        self._last_beam = shot.beam
        event_window_ns = self.shimadzu.event_window_ns(shot.shimadzu_ns)
        geometry = self.pair.geometry(self.phantom.region)
        await self.phantom.trigger(shot.phantom_ns, shot.beam, event_window_ns, shot.number)
        await self.shimadzu.trigger(shot.shimadzu_ns, shot.beam, shot.number, geometry)

    def shut_down(self) -> None:
        """Leave nothing half written behind."""
        self.phantom_file.shut_down()
        self.shimadzu_file.shut_down()
        self.pair.scene.close()


class Beamline:
    """What one IOC process serves: all devices, the beam's or the cameras.

    Parameters
    ----------
    config : BeamlineConfig
    """

    def __init__(self, config: BeamlineConfig) -> None:
        self._cable_port = config.cable_port
        self._cable: asyncio.DatagramTransport | None = None
        self._beam = None if config.part is Part.CAMERAS else BeamDevices(config, self._shot)
        get_beam = None if self._beam is None else self._beam.beam
        self._cameras = None if config.part is Part.BEAM else Cameras(config, get_beam)

    @property
    def pvdb(self) -> dict[str, Any]:
        """Every PV by its full name."""
        groups: list[Any] = []
        for part in (self._cameras, self._beam):
            groups += [] if part is None else part.groups
        return {name: record for group in groups for name, record in group.pvdb.items()}

    async def prepare(self) -> None:
        """Bring every record to the state of its device, before any client can look."""
        if self._beam is not None:
            await self._beam.prepare()
        if self._cameras is not None:
            await self._cameras.prepare()
            if self._cable_port:
                self._cable = await listen(self._cable_port, self._cameras.take)

    async def _shot(self, shot: Shot) -> None:
        if self._cameras is None:
            send(shot, self._cable_port)
        else:
            await self._cameras.take(shot)

    def shut_down(self) -> None:
        """Leave nothing half written behind."""
        if self._cable is not None:
            self._cable.close()
        if self._cameras is not None:
            self._cameras.shut_down()
