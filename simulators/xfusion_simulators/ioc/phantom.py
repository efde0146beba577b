"""The Phantom as ADPhantom shows it."""

from collections.abc import Callable
from typing import Any

from ..memory import Burst
from ..phantom_camera import PRE_TRIGGER_FRAMES, PhantomCamera, PhantomSettings, Region
from ..scene import Beam
from ..truth import TrueGeometry
from .camera import ABORTED, CameraGroup, Phase
from .records import in_thread, long_text_reading, pair, reading, setting

STORED, WAITING, TRIGGERED, DEFINED, ACTIVE = 2, 4, 8, 32, 256
CAPACITY_FRAMES = 1024
FULL_HEIGHT_ROWS = 800
FULL_HEIGHT_PERIOD_S = 1 / 76e3
SHORTEST_PERIOD_S = 1 / 1.75e6
SHORTEST_EXPOSURE_S = 1e-7
LINK_BYTES_PER_S = {"1 Gb/s": 118e6, "10 Gb/s": 1.18e9}
CSR_S = 1.0

OFF_ON = ("Off", "On")
PIN_MODES = (
    "FSYNCIO",
    "STROBE",
    "EVENT",
    "MEMGATE",
    "READY",
    "TCOUT",
    "PRETRIG",
    "AUXTRIG",
    "MSTROBE",
    "AUTOTRIG",
    "SWTRIG",
    "RECORDING",
)
PIXEL_FORMATS = ("8", "8R", "P16", "P16R", "P10", "P12L")


class PhantomGroup(CameraGroup):
    """``PHANTOM:CAM:`` records. One cine; its memory is that of the camera model."""

    async def _accept_exposure(self, value: float) -> float:
        return min(max(value, SHORTEST_EXPOSURE_S), float(self.acquire_period.readback.value))

    async def _accept_period(self, value: float) -> float:
        period_s = max(value, self._shortest_period_s())
        if self.acquire_time.readback.value > period_s:
            await self.acquire_time.readback.write(period_s)
        return period_s

    async def _accept_post_trigger(self, value: int) -> int:
        return min(max(int(value), 1), int(self.max_frame_count.value) - PRE_TRIGGER_FRAMES)

    async def _accept_partition(self, value: int) -> int:
        cines = min(max(int(value), 1), CAPACITY_FRAMES // 64)
        await self.max_frame_count.write(CAPACITY_FRAMES // cines)
        await self.cine_count.write(cines)
        post_trigger = await self._accept_post_trigger(self.post_trigger_frames.readback.value)
        await self.post_trigger_frames.readback.write(post_trigger)
        return cines

    async def _put_download(self, value: int) -> int:
        if not value:
            return int(self.phase is Phase.TRANSFER)
        if self.phase is not Phase.IDLE:
            await self.status_message.write("Download refused: camera is busy")
            return int(self.phase is Phase.TRANSFER)
        first = self.download_start_frame.readback.value
        last = self.download_end_frame.readback.value
        held = self.memory.burst
        if held is None:
            await self._report("Error", "Download refused: no cine is stored")
            return 0
        if not held.table.number[0] <= first <= last <= held.table.number[-1]:
            await self._report("Error", "Download refused: frames not in cine")
            return 0
        row = first - int(held.table.number[0])
        self._begin(Phase.TRANSFER, self._downloading(held, row, row + last - first + 1))
        return 1

    async def _put_abort_download(self, value: int) -> int:
        if value and self.phase is Phase.TRANSFER:
            await self._abort_task()
        return int(value)

    async def _put_delete(self, value: int) -> int:
        if value and self.phase is Phase.IDLE:
            await in_thread(self.memory.clear)
            await self._show_memory()
            await self._report("Idle", "Cine deleted")
        return 0

    async def _put_software_trigger(self, value: int) -> int:
        if value:
            await self.trigger(0.0, self._get_beam(), None)
        return int(value)

    async def _put_csr(self, value: int) -> int:
        if value and self.phase is Phase.IDLE:
            self._begin(Phase.CORRECTING, self._correcting())
        return int(value)

    manufacturer = reading("Manufacturer_RBV", "Vision Research")
    model = reading("Model_RBV", "Phantom TMX 7510 (simulated)")
    serial_number = reading("SerialNumber_RBV", "SIM-TMX-1")
    firmware = reading("FirmwareVersion_RBV", "sim 0.1")

    acquire_time = pair("AcquireTime", 500e-9, on_put=_accept_exposure, precision=9)
    acquire_period = pair("AcquirePeriod", 20e-6, on_put=_accept_period, precision=9)
    partition_cines = pair("PartitionCines", 1, on_put=_accept_partition)
    cine_count = reading("CineCount_RBV", 1)
    max_frame_count = reading("MaxFrameCount_RBV", CAPACITY_FRAMES)
    post_trigger_frames = pair("PostTrigFrames", 32, on_put=_accept_post_trigger)
    total_frame_count = reading("TotalFrameCount_RBV", 0)
    selected_cine = pair("SelectedCine", 1)
    cine_frame_count = reading("CineFrameCount_RBV", 0)
    cine_first_frame = reading("CineFirstFrame_RBV", 0)
    cine_last_frame = reading("CineLastFrame_RBV", 0)
    state_raw = reading("StateRaw", DEFINED)
    state = reading("State_RBV", DEFINED)

    c1_name = long_text_reading("C1:Name_RBV")
    c1_width = reading("C1:Width_RBV", 0)
    c1_height = reading("C1:Height_RBV", 0)
    c1_frame_count = reading("C1:FrameCount_RBV", 0)
    c1_first_frame = reading("C1:FirstFrame_RBV", 0)
    c1_last_frame = reading("C1:LastFrame_RBV", 0)
    c1_record_start = reading("C1:RecordStart_RBV", 0)
    c1_record_end = reading("C1:RecordEnd_RBV", 0)
    c1_record_count = reading("C1:RecordCount_RBV", 0)
    c1_state_raw = reading("C1:StateRaw", DEFINED)
    c1_state = reading("C1:State_RBV", DEFINED)

    download_start_frame = pair("DownloadStartFrame", 0)
    download_end_frame = pair("DownloadEndFrame", 0)
    download_start_cine = pair("DownloadStartCine", 1)
    download_end_cine = pair("DownloadEndCine", 1)
    download_frame_mode = pair(
        "DownloadFrameMode", "Universal", choices=("First and Last", "Universal")
    )
    download_speed = pair("DownloadSpeed", "10 Gb/s", choices=tuple(LINK_BYTES_PER_S))
    download = setting("Download", 0, on_put=_put_download)
    abort_download = setting("AbortDownload", 0, on_put=_put_abort_download)
    download_count = reading("DownloadCount_RBV", 0)
    dropped_packets = reading("DroppedPackets_RBV", 0)
    mark_cine_saved = pair("MarkCineSaved", "No", choices=("No", "Yes"))
    delete_start_cine = pair("DeleteStartCine", 1)
    delete_end_cine = pair("DeleteEndCine", 1)
    delete = setting("Delete", 0, on_put=_put_delete)
    send_software_trigger = setting("SendSoftwareTrigger", 0, on_put=_put_software_trigger)
    perform_csr = setting("PerformCSR", 0, on_put=_put_csr)
    csr_count = reading("CSRCount_RBV", 0)

    auto_advance = pair("AutoAdvance", "Off", choices=OFF_ON)
    auto_save = pair("AutoSave", "Off", choices=OFF_ON)
    auto_restart = pair("AutoRestart", "Off", choices=OFF_ON)
    auto_bref = pair("AutoBref", "Off", choices=OFF_ON)
    ext_sync_type = pair("ExtSyncType", "FREE-RUN", choices=("FREE-RUN", "FSYNC", "IRIG", "VIDEO"))
    frame_delay = pair("FrameDelay", 0)
    trigger_edge = pair("TriggerEdge", "RISING", choices=("FALLING", "RISING"))
    trigger_filter = pair("TriggerFilter", 0)
    ready_signal = pair("ReadySignal", "RECORDING", choices=("RECORDING", "TRIGGER"))
    aux1_pin_mode = pair("Aux1PinMode", "EVENT", choices=PIN_MODES)
    aux2_pin_mode = pair("Aux2PinMode", "READY", choices=PIN_MODES)
    aux4_pin_mode = pair("Aux4PinMode", "STROBE", choices=PIN_MODES)
    quiet_fan = pair("QuietFan", "Fan On", choices=("Fan On", "Fan Quiet"))
    edr = pair("EDR", 0)
    pixel_format = pair("SelectPixelDataFormat", "P12L", choices=PIXEL_FORMATS)
    sensor_temperature = reading("SensorTemp_RBV", 38)
    thermo_power = reading("ThermoPower_RBV", 40)
    camera_temperature = reading("CameraTemp_RBV", 41)
    fan_power = reading("FanPower_RBV", 60)

    def __init__(
        self,
        prefix: str,
        *,
        camera: PhantomCamera,
        get_beam: Callable[[], Beam],
        geometry: Callable[[Region], TrueGeometry],
        **shared: Any,
    ) -> None:
        super().__init__(prefix, memory=camera.memory, sensor=camera.shape, **shared)
        self.camera = camera
        self._geometry = geometry
        self._get_beam = get_beam
        self._settings = PhantomSettings(region=self.region)
        self._sees_event = True

    async def trigger(
        self,
        trigger_ns: float,
        beam: Beam,
        event_window_ns: tuple[float, float] | None,
        shot: int = 0,
    ) -> None:
        """Take a trigger, if one is awaited.

        Parameters
        ----------
        trigger_ns : float
            True time after T0.
        beam : Beam
            What stands in the beam.
        event_window_ns : (start, end), optional
            When the cable to the AUX1 pin is high, true times after T0.
        shot : int
            Number of the shot.
        """
        if not self.sees_trigger:
            return
        window = event_window_ns if self._sees_event else None
        settings = self._settings
        geometry = self._geometry(settings.region)
        duration_s = settings.post_trigger_frames * settings.period_ns / 1e9
        self._begin(
            Phase.RECORDING,
            self._recording(
                lambda: self.camera.record(trigger_ns, settings, beam, window, shot, geometry),
                duration_s,
            ),
        )
        await self._show_state(TRIGGERED | ACTIVE)

    async def _show_armed(self) -> None:
        self._settings = PhantomSettings(
            region=self.region,
            period_ns=self.acquire_period.readback.value * 1e9,
            exposure_ns=self.acquire_time.readback.value * 1e9,
            post_trigger_frames=self.post_trigger_frames.readback.value,
        )
        self._sees_event = self.aux1_pin_mode.readback.value == "EVENT"
        await self.mark_cine_saved.setpoint.write("No")
        await self._show_cine()
        await self._show_state(WAITING | ACTIVE)

    async def _show_memory(self) -> None:
        await self._show_cine()
        await self._show_state(DEFINED if self.memory.burst is None else STORED)

    async def _show_state(self, bits: int) -> None:
        for record in (self.state_raw, self.state, self.c1_state, self.c1_state_raw):
            await record.write(bits)

    async def _show_cine(self) -> None:
        held = self.memory.burst
        height, width = (0, 0) if held is None else held.shape
        number = [0] if held is None else held.table.number
        count = 0 if held is None else len(number)
        for record in (
            self.c1_frame_count,
            self.c1_record_count,
            self.cine_frame_count,
            self.total_frame_count,
        ):
            await record.write(count)
        for record in (self.c1_first_frame, self.c1_record_start, self.cine_first_frame):
            await record.write(int(number[0]))
        for record in (self.c1_last_frame, self.c1_record_end, self.cine_last_frame):
            await record.write(int(number[-1]))
        await self.c1_width.write(width)
        await self.c1_height.write(height)

    async def _show_region(self) -> None:
        await super()._show_region()
        period_s = await self._accept_period(self.acquire_period.readback.value)
        await self.acquire_period.readback.write(period_s)

    def _shortest_period_s(self) -> float:
        return max(SHORTEST_PERIOD_S, FULL_HEIGHT_PERIOD_S * self.region.rows / FULL_HEIGHT_ROWS)

    async def _downloading(self, held: Burst, start: int, stop: int) -> None:
        await self._report("Readout", "Downloading cine 1")
        rate = LINK_BYTES_PER_S[self.download_speed.readback.value]
        duration_s = (stop - start) * 2 * held.shape[0] * held.shape[1] / rate
        await self.dropped_packets.write(0)
        lost = await self._transfer(start, stop, duration_s, self.download_count.write)
        await self.dropped_packets.write(lost or 0)
        self.phase = Phase.IDLE
        await self._report(*ABORTED if lost is None else ("Idle", "Download done"))
        await self.download.write(0, verify_value=False)

    async def _correcting(self) -> None:
        await self._report("Correct", "Current session reference")
        await self._pause(CSR_S * self.time_scale)
        await self.csr_count.write(self.csr_count.value + 1)
        self.phase = Phase.IDLE
        await self._report("Idle", "Ready")
