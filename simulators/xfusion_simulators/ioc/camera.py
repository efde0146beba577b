"""What both simulated cameras share: ADBase records, arming, and the transfer of a burst."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from caproto.server import PVGroup

from ..memory import CameraMemory
from ..phantom_camera import Region
from .file_plugin import FilePlugin
from .records import in_thread, pair, reading, setting

ARM_LAG_S = 0.2
BLOCK_BYTES = 16_000_000
BLOCK_FRAMES = 16
LOST_FRAMES = 2

DETECTOR_STATES = (
    "Idle",
    "Acquire",
    "Readout",
    "Correct",
    "Saving",
    "Aborting",
    "Error",
    "Waiting",
    "Initializing",
    "Disconnected",
    "Aborted",
)
ABORTED = ("Aborted", "Transfer aborted, memory kept")
FAULTS = ("None", "Refuse arm", "Drop frames", "Hang transfer", "Hang arming", "Miss trigger")
FAULT_CHECK_S = 0.02
logger = logging.getLogger(__name__)


class Phase(Enum):
    """What the camera is doing; it does one thing at a time."""

    IDLE = auto()
    ARMING = auto()
    ARMED = auto()
    RECORDING = auto()
    TRANSFER = auto()
    CORRECTING = auto()


class FaultSwitch(PVGroup):
    """``SIM:`` records: what the camera is told to do wrong, until it is set back to None."""

    fault = setting("Fault", "None", choices=FAULTS)


class CameraGroup(PVGroup):
    """ADBase subset of a burst camera, and the life of a burst: arm, record, transfer.

    A subclass shows the phases in its own records by the ``_show_...`` methods, and records.
    """

    has_region = True

    async def _put_acquire(self, value: str) -> str:
        if value == "Acquire":
            await self._arm()
        else:
            await self._stop()
        acquiring = self.phase in (Phase.ARMING, Phase.ARMED, Phase.RECORDING)
        return "Acquire" if acquiring else "Done"

    async def _put_size_x(self, value: int) -> int:
        await self._place(columns=int(value))
        return self.region.columns

    async def _put_size_y(self, value: int) -> int:
        await self._place(rows=int(value))
        return self.region.rows

    async def _put_min_x(self, value: int) -> int:
        await self._place(first_column=int(value))
        return self.region.first_column

    async def _put_min_y(self, value: int) -> int:
        await self._place(first_row=int(value))
        return self.region.first_row

    connected = reading("CONNECTED_RBV", "Connected", choices=("Not Connected", "Connected"))
    acquire = pair(
        "Acquire",
        "Done",
        choices=("Done", "Acquire"),
        readback_choices=("Done", "Acquiring"),
        on_put=_put_acquire,
    )
    detector_state = reading("DetectorState_RBV", "Idle", choices=DETECTOR_STATES)
    status_message = reading("StatusMessage_RBV", "Ready")
    max_size_x = reading("MaxSizeX_RBV", 1)
    max_size_y = reading("MaxSizeY_RBV", 1)
    size_x = pair("SizeX", 1, on_put=_put_size_x)
    size_y = pair("SizeY", 1, on_put=_put_size_y)
    min_x = pair("MinX", 0, on_put=_put_min_x)
    min_y = pair("MinY", 0, on_put=_put_min_y)
    array_size_x = reading("ArraySizeX_RBV", 1)
    array_size_y = reading("ArraySizeY_RBV", 1)
    data_type = reading("DataType_RBV", "UInt16", choices=("Int8", "UInt8", "Int16", "UInt16"))
    array_counter = reading("ArrayCounter_RBV", 0)

    def __init__(
        self,
        prefix: str,
        *,
        memory: CameraMemory,
        sensor: tuple[int, int],
        plugin: FilePlugin,
        faults: FaultSwitch,
        time_scale: float,
    ) -> None:
        super().__init__(prefix)
        self.memory = memory
        self.plugin = plugin
        self.faults = faults
        self.time_scale = time_scale
        self.phase = Phase.IDLE
        self.sensor = sensor
        self.region = Region(0, 0, *sensor)
        self._abort = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Show the sensor and what the memory holds, before any client can look."""
        rows, columns = self.sensor
        await self.max_size_x.write(columns)
        await self.max_size_y.write(rows)
        for setpoint, value in ((self.size_x, columns), (self.size_y, rows)):
            await setpoint.setpoint.write(value, verify_value=False)
        await self._show_region()
        await self._show_memory()

    async def _show_memory(self) -> None:
        """Show what the memory holds."""
        raise NotImplementedError

    @property
    def sees_trigger(self) -> bool:
        """Whether a trigger that comes now would start a recording."""
        return self.phase is Phase.ARMED and self.faults.fault.value != "Miss trigger"

    async def _show_armed(self) -> None:
        """Show that a trigger is awaited."""
        raise NotImplementedError

    async def _arm(self) -> None:
        if self.phase is not Phase.IDLE:
            await self.status_message.write("Arming refused: camera is busy")
            return
        if self.faults.fault.value == "Refuse arm":
            await self._report("Error", "Arming refused (SIM:Fault)")
            return
        await self._report("Initializing", "Arming")
        self._begin(Phase.ARMING, self._arming())

    async def _arming(self) -> None:
        if await self._pause(ARM_LAG_S * self.time_scale):
            return
        while self.faults.fault.value == "Hang arming":
            if await self._pause(FAULT_CHECK_S):
                return
        # A camera that waits for a trigger is already overwriting its memory.
        await in_thread(self.memory.clear)
        self.phase = Phase.ARMED
        await self._show_armed()
        await self._report("Waiting", "Waiting for trigger")

    async def _stop(self) -> None:
        if self.phase in (Phase.ARMING, Phase.ARMED):
            await self._abort_task()
            self.phase = Phase.IDLE
            await self._show_memory()
            await self._report("Idle", "Disarmed")

    async def _recording(self, record: Callable[[], object], duration_s: float) -> None:
        await self._report("Acquire", "Recording")
        await asyncio.sleep(duration_s * self.time_scale)
        await in_thread(record)
        await self._show_memory()
        self.phase = Phase.IDLE
        await self._report("Idle", "Burst is in camera memory")
        await self._show_done()

    async def _transfer(
        self, start: int, stop: int, duration_s: float, show_count: Callable[[int], Awaitable[None]]
    ) -> int | None:
        """Push frames ``start`` to ``stop - 1`` of the memory to the file plugin.

        Returns
        -------
        int or None
            Frames that were lost on the way; None when the transfer was aborted.
        """
        begin = asyncio.get_running_loop().time()
        counted = self.array_counter.value
        fault = self.faults.fault.value
        middle = (start + stop) // 2
        spans = [(start, stop)]
        if fault == "Drop frames":
            spans = [(start, middle), (min(middle + LOST_FRAMES, stop), stop)]
        elif fault == "Hang transfer":
            spans = [(start, middle)]
        await show_count(0)
        for first, last in self._blocks(spans):
            await self.plugin.receive(self.memory, first, last)
            await show_count(last - start)
            await self.array_counter.write(counted + last - start)
            due = begin + duration_s * self.time_scale * (last - start) / (stop - start)
            if await self._pause(due - asyncio.get_running_loop().time()):
                return None
        if fault == "Hang transfer":
            await self._abort.wait()
            return None
        return (stop - start) - sum(last - first for first, last in spans)

    def _blocks(self, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        frame_bytes = 2 * self.region.rows * self.region.columns
        size = min(BLOCK_FRAMES, max(1, BLOCK_BYTES // frame_bytes))
        for start, stop in spans:
            for first in range(start, stop, size):
                yield first, min(first + size, stop)

    def _begin(self, phase: Phase, work: Coroutine[Any, Any, None]) -> None:
        self.phase = phase
        self._abort.clear()
        self._task = asyncio.get_running_loop().create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("%s: the camera's work failed", self.prefix)
            self.phase = Phase.IDLE
            await self._show_memory()
            await self._report("Error", "Failed, see log of the IOC")
            await self._show_done()

    async def _abort_task(self) -> None:
        self._abort.set()
        if self._task is not None:
            await self._task

    async def _pause(self, seconds: float) -> bool:
        """Wait; True when the work is to be aborted."""
        if seconds > 0 and not self._abort.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._abort.wait(), seconds)
        return self._abort.is_set()

    async def _report(self, state: str, message: str) -> None:
        await self.status_message.write(message)
        await self.detector_state.write(state)

    async def _show_done(self) -> None:
        await self.acquire.setpoint.write("Done", verify_value=False)
        await self.acquire.readback.write("Done")

    async def _place(self, **changed: int) -> None:
        if not self.has_region or self.phase is not Phase.IDLE:
            return
        wanted = {**vars(self.region), **changed}
        rows, columns = self.sensor
        first_row = min(max(wanted["first_row"], 0), rows - 1)
        first_column = min(max(wanted["first_column"], 0), columns - 1)
        self.region = Region(
            first_row,
            first_column,
            min(max(wanted["rows"], 1), rows - first_row),
            min(max(wanted["columns"], 1), columns - first_column),
        )
        await self._show_region()

    async def _show_region(self) -> None:
        region = self.region
        await self.size_x.readback.write(region.columns)
        await self.size_y.readback.write(region.rows)
        await self.min_x.readback.write(region.first_column)
        await self.min_y.readback.write(region.first_row)
        await self.array_size_x.write(region.columns)
        await self.array_size_y.write(region.rows)
