"""The cables: one process, one scene, every device, and what happens when T0 fires."""

from typing import Any

from ..configuration import SHIPPED_SCENE, BeamlineConfig
from ..memory import CameraMemory
from ..phantom_camera import PhantomCamera
from ..scene import Beam, ReplayScene
from ..shimadzu_camera import ShimadzuCamera
from .camera import FaultSwitch
from .delay_generator import DelayGeneratorGroup
from .file_plugin import FilePlugin
from .phantom import PhantomGroup
from .shimadzu import ShimadzuGroup
from .stage import SampleStage, Shutter

PHANTOM_OUTPUT = "A"
SHIMADZU_OUTPUT = "C"


class Beamline:
    """All devices of one simulated beamline.

    Output AB of the delay generator triggers the Phantom, CD the Shimadzu; the Shimadzu's
    recording gate goes to the Phantom's AUX1 pin.

    Parameters
    ----------
    config : BeamlineConfig
    """

    def __init__(self, config: BeamlineConfig) -> None:
        prefix = config.prefix
        self.scene = ReplayScene(
            config.scene or SHIPPED_SCENE,
            frames=config.frames,
            interval_ns=config.scene_interval_ns,
            start_ns=config.scene_start_ns,
            white_level=config.white_level,
        )
        self.shutter = Shutter(f"{prefix}SHUTTER:", config.time_scale)
        self.sample = SampleStage(f"{prefix}SAMPLE:", config.time_scale)
        self.delays = DelayGeneratorGroup(f"{prefix}DG645:", self.fire)
        self.phantom_file = FilePlugin(f"{prefix}PHANTOM:HDF1:")
        self.shimadzu_file = FilePlugin(f"{prefix}HPVX2:HDF1:")
        self.phantom_faults = FaultSwitch(f"{prefix}PHANTOM:SIM:")
        self.shimadzu_faults = FaultSwitch(f"{prefix}HPVX2:SIM:")
        self.phantom = PhantomGroup(
            f"{prefix}PHANTOM:CAM:",
            camera=PhantomCamera(
                self.scene,
                CameraMemory(config.memory_folder / "phantom.h5"),
                config.phantom_clock_offset_ns,
            ),
            get_beam=self.beam,
            plugin=self.phantom_file,
            faults=self.phantom_faults,
            time_scale=config.time_scale,
        )
        self.shimadzu = ShimadzuGroup(
            f"{prefix}HPVX2:CAM:",
            camera=ShimadzuCamera(
                self.scene,
                CameraMemory(config.memory_folder / "shimadzu.h5"),
                config.blank_photons,
                config.seed,
                config.shimadzu_clock_offset_ns,
            ),
            plugin=self.shimadzu_file,
            faults=self.shimadzu_faults,
            time_scale=config.time_scale,
        )

    @property
    def pvdb(self) -> dict[str, Any]:
        """Every PV by its full name."""
        groups = (
            self.phantom,
            self.phantom_file,
            self.phantom_faults,
            self.shimadzu,
            self.shimadzu_file,
            self.shimadzu_faults,
            self.delays,
            self.shutter,
            self.sample,
        )
        return {name: record for group in groups for name, record in group.pvdb.items()}

    async def prepare(self) -> None:
        """Bring every record to the state of its device, before any client can look."""
        await self.phantom.prepare()
        await self.shimadzu.prepare()
        await self.sample.prepare()

    def beam(self) -> Beam:
        """Say what stands in the beam now."""
        return Beam(shutter_open=self.shutter.is_open, sample_in=self.sample.sample_in)

    async def fire(self, shot: int) -> None:
        """Send T0 to whoever waits for it.

        Parameters
        ----------
        shot : int
            Number of the shot since the IOC started, from 1.
        """
        beam = self.beam()
        shimadzu_ns = self.delays.delays.time_ns(SHIMADZU_OUTPUT)
        phantom_ns = self.delays.delays.time_ns(PHANTOM_OUTPUT)
        event_window_ns = self.shimadzu.event_window_ns(shimadzu_ns)
        await self.phantom.trigger(phantom_ns, beam, event_window_ns)
        await self.shimadzu.trigger(shimadzu_ns, beam, shot)

    def shut_down(self) -> None:
        """Leave nothing half written behind."""
        self.phantom_file.shut_down()
        self.shimadzu_file.shut_down()
        self.scene.close()
