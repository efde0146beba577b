"""Both cameras and their trigger as one detector: armed together, triggered once, read as one."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal

from .camera import BurstCamera
from .delay_generator import DelayGenerator
from .faults import DeviceFault, data_are
from .phantom import PhantomCamera
from .progress import BurstStatus
from .shimadzu import ShimadzuCamera
from .work import Work

_SPACE_FACTOR = 1.2
_IN_MEMORY = "the burst is in camera memory until the next arm; RE(recover(dual)) fetches it"


class DualCamera(Device):
    """Phantom and Shimadzu as one Bluesky detector; one trigger is one burst of both.

    Parameters
    ----------
    phantom : PhantomCamera
        HR camera, triggered by output AB (channel A).
    shimadzu : ShimadzuCamera
        LR camera, triggered by output CD (channel C).
    delay_generator : DelayGenerator
        The common T0.
    folder : Path
        Where bursts are written, one subfolder a run; the same path for the IOCs, this computer
        and the Tiled server.
    name : str
        Device name.
    """

    planned_bursts = Cpt(Signal, value=1, kind=Kind.omitted)
    """Bursts that the next run is to take; staging checks the disk for all of them."""

    from_memory = Cpt(Signal, value=False, kind=Kind.omitted)
    """Whether the next run fetches the burst in camera memory instead of taking one."""

    def __init__(
        self,
        phantom: PhantomCamera,
        shimadzu: ShimadzuCamera,
        delay_generator: DelayGenerator,
        *,
        folder: Path,
        name: str = "dual",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("labels", {"detectors", "cameras"})
        super().__init__("", name=name, **kwargs)
        self.phantom = phantom
        self.shimadzu = shimadzu
        self.delay_generator = delay_generator
        self.folder = folder
        self._cameras: tuple[BurstCamera, ...] = (phantom, shimadzu)
        self._devices: tuple[Device, ...] = (phantom, shimadzu, delay_generator)
        self._work: Work | None = None
        self._run_folder = folder
        self._triggers = 0
        self._failed = False

    def wait_for_connection(self, all_signals: bool = False, timeout: float = 5.0) -> None:
        """Wait until every PV of the three devices answers."""
        for device in self._devices:
            device.wait_for_connection(all_signals=all_signals, timeout=timeout)

    def stage(self) -> list[Any]:
        """Configure both cameras, check the disk, make this run's folder; nothing is armed yet."""
        self._failed = True
        self.delay_generator.prepare()
        for camera in self._cameras:
            camera.disarm()
            camera.prepare_run(from_memory=bool(self.from_memory.get()))
        self._triggers = 0
        self._run_folder = self._make_run_folder()
        self._failed = False
        return list(super().stage())

    def unstage(self) -> list[Any]:
        """Disarm both cameras and inhibit the trigger; short, and safe to repeat.

        Raises
        ------
        DeviceFault
            When one of them cannot be made safe and nothing had failed before: the first error
            is the one to report.
        """
        try:
            self._make_safe(withdrawn=True)
        except DeviceFault as fault:
            if not self._failed:
                raise
            self.log.error("After an earlier failure: %s", fault)
        finally:
            unstaged = list(super().unstage())
        return unstaged

    def stop(self, *, success: bool = False) -> None:
        """End a burst in progress, which then fails, and make the instrument safe."""
        self._make_safe(withdrawn=False)

    def pause(self) -> None:
        """Take back a burst in progress and make the instrument safe.

        The RunEngine calls this when it pauses. On resuming it goes back to its checkpoint and
        triggers again.
        """
        try:
            self._make_safe(withdrawn=True)
        except DeviceFault as fault:
            # An error raised here would end the plan without its clean-up.
            self.log.error("Paused, but not everything is safe: %s", fault)

    def trigger(self) -> BurstStatus:
        """Take one burst with both cameras.

        Returns
        -------
        BurstStatus
            Done when both files are closed, counted and checksummed.
        """
        if self._work is not None:
            self._work.end(withdrawn=True)
        self._triggers += 1
        self._failed = True
        status = BurstStatus(self, frames=sum(camera.frames for camera in self._cameras))
        fetch_only = bool(self.from_memory.get())

        def burst(stop: threading.Event) -> None:
            try:
                for camera in self._cameras:
                    camera.prepare_burst()
                if not fetch_only:
                    self._record(stop)
                with data_are(_IN_MEMORY):
                    self._transfer(stop, status.report)
            except Exception:
                self._make_safe_quietly()
                raise
            self._failed = False

        self._work = Work(status, burst, name=f"{self.name}-burst")
        return status

    def _record(self, stop: threading.Event) -> None:
        with data_are("no trigger was sent, nothing was recorded"):
            self._check_space(self._run_folder, bursts=1)
            for camera in self._cameras:
                camera.arm()
            for camera in self._cameras:
                camera.wait_ready(stop)
            for camera in self._cameras:
                if not camera.ready():
                    raise DeviceFault(
                        "A camera fell out of its armed state",
                        where=camera.name,
                        why="it was ready, and is not any more",
                        action="look for another trigger source, then run the plan again",
                        data="",
                    )
            self.delay_generator.allow_triggers()
        with data_are(
            "the trigger was sent, so the cameras may hold this burst until they are armed again; "
            "RE(recover(dual)) fetches it if both do"
        ):
            self.delay_generator.fire()
            for camera in self._cameras:
                camera.wait_recorded(stop)

    def _transfer(self, stop: threading.Event, report: Callable[[int], None]) -> None:
        sent = dict.fromkeys(self._cameras, 0)

        def transfer(camera: BurstCamera) -> None:
            def on_frame(frames: int) -> None:
                sent[camera] = int(frames)
                report(sum(sent.values()))

            # A burst that is taken again must not meet the file of its first attempt.
            stem = f"{camera.name}_{self._triggers - 1:04d}"
            camera.transfer(self._run_folder, stem, stop, on_frame)

        with ThreadPoolExecutor(len(self._cameras), thread_name_prefix="transfer") as pool:
            transfers = [pool.submit(transfer, camera) for camera in self._cameras]
        for future in transfers:
            future.result()

    def _make_run_folder(self) -> Path:
        folder = self.folder / uuid.uuid4().hex[:12]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_space(self.folder, bursts=int(self.planned_bursts.get()))
            folder.mkdir()
        except OSError as error:
            raise DeviceFault(
                "The folder for the burst files cannot be made",
                where=str(folder),
                why=str(error),
                action="check the folder, its permissions and its disk; nothing was armed",
                data="nothing was recorded by this command",
            ) from error
        return folder

    def _check_space(self, folder: Path, bursts: int) -> None:
        burst_bytes = sum(camera.burst_bytes for camera in self._cameras)
        needed = int(_SPACE_FACTOR * bursts * burst_bytes)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DeviceFault(
                f"Too little disk for {bursts} burst{'s' if bursts > 1 else ''}",
                where=str(folder),
                why=f"{free / 1e9:.3g} GB free, {needed / 1e9:.3g} GB needed",
                action="free space or choose another folder; nothing was armed",
                data="nothing was recorded by this command",
            )

    def _make_safe(self, *, withdrawn: bool) -> None:
        faults = []
        actions: list[Callable[[], None]] = [self.delay_generator.inhibit_triggers]
        if self._work is not None:
            actions.append(partial(self._work.end, withdrawn=withdrawn))
        actions += [camera.disarm for camera in self._cameras]
        for action in actions:
            try:
                action()
            except DeviceFault as fault:
                faults.append(fault)
        if faults:
            raise faults[0]

    def _make_safe_quietly(self) -> None:
        try:
            self._make_safe(withdrawn=False)
        except DeviceFault as fault:
            # The first error is the one to report; this one says what else to look at.
            self.log.error("After an earlier failure: %s", fault)

    # Bluesky: what a run says of the pair

    def describe(self) -> dict[str, Any]:
        """Describe the data of both cameras."""
        return {key: value for camera in self._cameras for key, value in camera.describe().items()}

    def read(self) -> dict[str, Any]:
        """Return the facts of the last burst of both cameras."""
        return {key: value for camera in self._cameras for key, value in camera.read().items()}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe the configuration of the cameras and the delay generator."""
        keys: dict[str, Any] = {}
        for device in self._devices:
            keys.update(device.describe_configuration())
        for camera, channel in (("phantom", "A"), ("shimadzu", "C")):
            source = f"{self.delay_generator.prefix}{channel}DelayAI"
            keys[f"{camera}_trigger_delay_ns"] = {
                "source": source,
                "dtype": "number",
                "shape": [],
                "units": "ns",
            }
        return keys

    def read_configuration(self) -> dict[str, Any]:
        """Return the configuration of the cameras and the delay generator."""
        values: dict[str, Any] = {}
        for device in self._devices:
            values.update(device.read_configuration())
        for camera, channel in (("phantom", "a"), ("shimadzu", "c")):
            values[f"{camera}_trigger_delay_ns"] = {
                "value": self.delay_generator.trigger_delay_ns(channel),
                "timestamp": values[f"{self.delay_generator.name}_delay_{channel}_s"]["timestamp"],
            }
        return values

    @property
    def hints(self) -> dict[str, Any]:
        """Show the frame counts of both cameras."""
        return {"fields": [field for camera in self._cameras for field in camera.hints["fields"]]}

    def get_index(self) -> int:
        """Return the number of bursts that both cameras have completed."""
        return min(camera.get_index() for camera in self._cameras)

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        """Yield the documents of the finished files of both cameras."""
        end = self.get_index() if index is None else index
        for camera in self._cameras:
            yield from camera.collect_asset_docs(end)
