"""The Shimadzu HPV-X2: an ADBase-shaped contract of our own, no public driver is known."""

from typing import Any

from ..scene import Beam
from ..shimadzu_camera import (
    BIT_SHIFT,
    FULL_PIXEL_FRAMES,
    HALF_PIXEL_FRAMES,
    ShimadzuCamera,
    ShimadzuSettings,
)
from ..truth import TrueGeometry
from .camera import ABORTED, CameraGroup, Phase
from .records import pair, reading, setting

QUANTUM_NS = 10
SHORTEST_INTERVAL_NS = {"FP": 200, "HP": 100}
MODE_FRAMES = {"FP": FULL_PIXEL_FRAMES, "HP": HALF_PIXEL_FRAMES}
FASTEST_PLAYBACK_HZ = 33.0
LONGEST_DELAY_NS = 10**9


class ShimadzuGroup(CameraGroup):
    """``HPVX2:CAM:`` records. In HP mode the grid of pixels stays; only the frames double."""

    has_region = False

    async def _accept_mode(self, value: str) -> str:
        await self.record_frames.write(self._frames_of(value))
        interval_ns = self.record_interval.readback.value
        if interval_ns < SHORTEST_INTERVAL_NS[value]:
            await self.record_interval.readback.write(SHORTEST_INTERVAL_NS[value])
        return value

    async def _accept_interval(self, value: int) -> int:
        shortest_ns = SHORTEST_INTERVAL_NS[self.record_mode.readback.value]
        interval_ns = max(round_up(value), shortest_ns)
        if self.exposure_time.readback.value > interval_ns:
            await self.exposure_time.readback.write(interval_ns)
        return interval_ns

    async def _accept_exposure(self, value: int) -> int:
        return min(max(round_up(value), QUANTUM_NS), int(self.record_interval.readback.value))

    async def _accept_delay(self, value: int) -> int:
        return min(max(round_up(value), 0), LONGEST_DELAY_NS)

    async def _accept_position(self, value: int) -> int:
        return min(max(int(value), 0), int(self.record_frames.value) - 1)

    async def _accept_rate(self, value: float) -> float:
        return min(max(value, 0.1), FASTEST_PLAYBACK_HZ)

    async def _put_playback(self, value: int) -> int:
        if not value:
            return int(self.phase is Phase.TRANSFER)
        if self.phase is not Phase.IDLE:
            await self.status_message.write("Playback refused: camera is busy")
            return int(self.phase is Phase.TRANSFER)
        if self.memory.burst is None:
            await self._report("Error", "Playback refused: nothing recorded")
            return 0
        self._begin(Phase.TRANSFER, self._playing(len(self.memory.burst.table)))
        return 1

    manufacturer = reading("Manufacturer_RBV", "Shimadzu")
    model = reading("Model_RBV", "HPV-X2 (simulated)")
    serial_number = reading("SerialNumber_RBV", "SIM-HPVX2-1")
    firmware = reading("FirmwareVersion_RBV", "sim 0.1")

    record_mode = pair("RecordMode", "FP", choices=("FP", "HP"), on_put=_accept_mode)
    record_interval = pair("RecordInterval", 1000, on_put=_accept_interval)
    exposure_time = pair("ExposureTime", 500, on_put=_accept_exposure)
    record_frames = reading("RecordFrames_RBV", FULL_PIXEL_FRAMES)
    trigger_delay = pair("TriggerDelay", 0, on_put=_accept_delay)
    trigger_edge = pair("TriggerEdge", "RISING", choices=("FALLING", "RISING"))
    trigger_position = pair("TriggerPosition", 0, on_put=_accept_position)
    arm_state = reading(
        "ArmState_RBV", "Idle", choices=("Idle", "Armed", "Recording", "Recorded", "Playback")
    )
    playback = setting("Playback", 0, on_put=_put_playback)
    playback_rate = pair("PlaybackRate", FASTEST_PLAYBACK_HZ, on_put=_accept_rate, precision=3)
    playback_count = reading("PlaybackCount_RBV", 0)
    frame_times = reading("FrameTimes_RBV", [0.0], max_length=HALF_PIXEL_FRAMES)
    bit_shift = reading("BitShift_RBV", BIT_SHIFT)
    data_lost = reading("DataLost_RBV", 0)
    clock_offset = reading("ClockOffset_RBV", 0.0)

    def __init__(self, prefix: str, *, camera: ShimadzuCamera, **shared: Any) -> None:
        super().__init__(prefix, memory=camera.memory, sensor=camera.shape, **shared)
        self.camera = camera
        self._settings = ShimadzuSettings()

    async def prepare(self) -> None:
        """Show the sensor and what the memory holds, before any client can look."""
        await super().prepare()
        await self.record_frames.write(self._frames_of("FP"))
        await self.clock_offset.write(self.camera.clock.offset_ns)

    def event_window_ns(self, trigger_ns: float) -> tuple[float, float] | None:
        """When the recording that a trigger would start lasts; None when none is awaited."""
        if not self.sees_trigger:
            return None
        return self._settings.window_ns(trigger_ns)

    async def trigger(
        self, trigger_ns: float, beam: Beam, shot: int, geometry: TrueGeometry | None = None
    ) -> None:
        """Take a trigger, if one is awaited.

        Parameters
        ----------
        trigger_ns : float
            True time after T0.
        beam : Beam
            What stands in the beam.
        shot : int
            Number of the shot.
        geometry : TrueGeometry, optional
            Where both cameras look.
        """
        if not self.sees_trigger:
            return
        settings = self._settings
        duration_s = settings.frames * settings.interval_ns / 1e9
        self._begin(
            Phase.RECORDING,
            self._recording(
                lambda: self.camera.record(trigger_ns, settings, beam, shot, geometry), duration_s
            ),
        )
        await self.arm_state.write("Recording")

    async def _show_armed(self) -> None:
        self._settings = ShimadzuSettings(
            frames=self.record_frames.value,
            interval_ns=float(self.record_interval.readback.value),
            exposure_ns=float(self.exposure_time.readback.value),
            trigger_delay_ns=float(self.trigger_delay.readback.value),
            frames_before_trigger=self.trigger_position.readback.value,
        )
        await self.frame_times.write([0.0])
        await self.arm_state.write("Armed")

    async def _show_memory(self) -> None:
        held = self.memory.burst
        times_ns = [0.0] if held is None else held.table.time_ns.tolist()
        await self.frame_times.write(times_ns)
        await self.arm_state.write("Idle" if held is None else "Recorded")

    async def _stop(self) -> None:
        await super()._stop()
        if self.phase is Phase.TRANSFER:
            await self._abort_task()

    def _frames_of(self, mode: str) -> int:
        return min(MODE_FRAMES[mode], self.camera.scene.n_frames)

    async def _playing(self, frames: int) -> None:
        await self.arm_state.write("Playback")
        await self._report("Readout", "Playing back")
        await self.data_lost.write(0)
        duration_s = frames / self.playback_rate.readback.value
        lost = await self._transfer(0, frames, duration_s, self.playback_count.write)
        await self.data_lost.write(lost or 0)
        self.phase = Phase.IDLE
        await self._report(*ABORTED if lost is None else ("Idle", "Playback done"))
        await self._show_memory()
        await self.playback.write(0, verify_value=False)


def round_up(time_ns: float) -> int:
    """Next multiple of the camera's 10 ns."""
    return -int(-time_ns // QUANTUM_NS) * QUANTUM_NS
