"""Both cameras and their trigger as one detector: armed together, triggered once, read as one."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ophyd import Device

from .camera import BurstCamera
from .delay_generator import DelayGenerator
from .faults import DeviceFault
from .phantom import PhantomCamera
from .progress import BurstStatus
from .shimadzu import ShimadzuCamera

_SPACE_FACTOR = 1.2


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
        self._stop_requested = threading.Event()
        self._worker: threading.Thread | None = None
        self._run_folder = folder

    def wait_for_connection(self, all_signals: bool = False, timeout: float = 5.0) -> None:
        """Wait until every PV of the three devices answers."""
        for device in self._devices:
            device.wait_for_connection(all_signals=all_signals, timeout=timeout)

    def stage(self) -> list[Any]:
        """Configure both cameras, check the disk, make this run's folder; nothing is armed yet."""
        self._stop_requested.clear()
        self.delay_generator.prepare()
        for camera in self._cameras:
            camera.disarm()
            camera.prepare_run()
        self._run_folder = self.folder / uuid.uuid4().hex[:12]
        self._run_folder.mkdir(parents=True)
        return list(super().stage())

    def unstage(self) -> list[Any]:
        """Disarm both cameras and inhibit the trigger; short, and safe to repeat."""
        self._make_safe()
        return list(super().unstage())

    def stop(self, *, success: bool = False) -> None:
        """End a burst in progress and make the instrument safe."""
        self._make_safe()

    def trigger(self) -> BurstStatus:
        """Take one burst with both cameras.

        Returns
        -------
        BurstStatus
            Done when both files are closed, counted and checksummed.
        """
        status = BurstStatus(self, frames=sum(camera.frames for camera in self._cameras))

        def burst() -> None:
            try:
                self._burst(status.report)
            except Exception as error:  # noqa: BLE001 - the plan hears of whatever went wrong
                self._make_safe_quietly()
                status.set_exception(error)
            else:
                status.set_finished()

        self._worker = threading.Thread(target=burst, name=f"{self.name}-burst", daemon=True)
        self._worker.start()
        return status

    def _burst(self, report: Callable[[int], None]) -> None:
        stop = self._stop_requested
        self._check_space()
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
                    data="no trigger was sent",
                )
        self.delay_generator.fire()
        for camera in self._cameras:
            camera.wait_recorded(stop)
        sent = dict.fromkeys(self._cameras, 0)

        def transfer(camera: BurstCamera) -> None:
            def on_frame(frames: int) -> None:
                sent[camera] = int(frames)
                report(sum(sent.values()))

            stem = f"{camera.name}_{camera.get_index():04d}"
            camera.transfer(self._run_folder, stem, stop, on_frame)

        with ThreadPoolExecutor(len(self._cameras), thread_name_prefix="transfer") as pool:
            transfers = [pool.submit(transfer, camera) for camera in self._cameras]
        for future in transfers:
            future.result()

    def _check_space(self) -> None:
        needed = int(_SPACE_FACTOR * sum(camera.burst_bytes for camera in self._cameras))
        free = shutil.disk_usage(self._run_folder).free
        if free < needed:
            raise DeviceFault(
                "Too little disk for this burst",
                where=str(self._run_folder),
                why=f"{free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed",
                action="free space or choose another folder; nothing was armed",
                data="nothing was recorded by this command",
            )

    def _make_safe(self) -> None:
        self._stop_requested.set()
        worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            worker.join(timeout=5.0)
        self._disarm_all()

    def _make_safe_quietly(self) -> None:
        try:
            self._disarm_all()
        except DeviceFault as fault:
            # The first error is the one to report; this one says what else to look at.
            self.log.error("After a failed burst: %s", fault)

    def _disarm_all(self) -> None:
        faults = []
        actions = [self.delay_generator.inhibit_triggers]
        actions += [camera.disarm for camera in self._cameras]
        for action in actions:
            try:
                action()
            except DeviceFault as fault:
                faults.append(fault)
        if faults:
            raise faults[0]

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
