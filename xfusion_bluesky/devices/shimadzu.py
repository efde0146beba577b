"""The fast, coarse camera: a Shimadzu HPV-X2 behind the PVs of docs/reference."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from ophyd import Component as Cpt
from ophyd import EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV, Kind

from .camera import TRIGGER_LOST, BurstCamera
from .waiting import put, read, wait_until


class ShimadzuCamera(BurstCamera):
    """Records 128 (FP) or 256 (HP) frames from a trigger on, and plays them back afterwards."""

    record_mode = Cpt(EpicsSignalWithRBV, "CAM:RecordMode", string=True, kind=Kind.config)
    record_interval_ns = Cpt(EpicsSignalWithRBV, "CAM:RecordInterval", kind=Kind.config)
    exposure_ns = Cpt(EpicsSignalWithRBV, "CAM:ExposureTime", kind=Kind.config)
    record_frames = Cpt(EpicsSignalRO, "CAM:RecordFrames_RBV", kind=Kind.config)
    trigger_edge = Cpt(EpicsSignalWithRBV, "CAM:TriggerEdge", string=True, kind=Kind.config)
    trigger_position = Cpt(EpicsSignalWithRBV, "CAM:TriggerPosition", kind=Kind.config)
    camera_delay_ns = Cpt(EpicsSignalWithRBV, "CAM:TriggerDelay", kind=Kind.config)
    playback_rate_hz = Cpt(EpicsSignalWithRBV, "CAM:PlaybackRate", kind=Kind.config)
    bit_shift = Cpt(EpicsSignalRO, "CAM:BitShift_RBV", kind=Kind.config)
    arm_state = Cpt(EpicsSignalRO, "CAM:ArmState_RBV", string=True, kind=Kind.omitted)
    frame_times_ns = Cpt(EpicsSignalRO, "CAM:FrameTimes_RBV", kind=Kind.omitted)
    playback = Cpt(EpicsSignal, "CAM:Playback", kind=Kind.omitted)
    playback_count = Cpt(EpicsSignalRO, "CAM:PlaybackCount_RBV", kind=Kind.omitted)
    data_lost = Cpt(EpicsSignalRO, "CAM:DataLost_RBV", kind=Kind.omitted)

    def configure_burst(self) -> int:
        """Nothing to write: the camera always records its whole memory."""
        return int(read(self.record_frames))

    def held_burst(self) -> tuple[int, int, int] | None:
        """Return (frames, rows, columns) of the burst in memory, whatever the mode is now."""
        if read(self.arm_state) != "Recorded":
            return None
        frames = np.size(read(self.frame_times_ns))
        return int(frames), int(read(self.rows)), int(read(self.columns))

    @property
    def record_s(self) -> float:
        """Time of the whole recording, in s."""
        return float(read(self.record_frames)) * float(read(self.record_interval_ns)) * 1e-9

    @property
    def transfer_s(self) -> float:
        """Time of the playback, in s."""
        return self.frames / max(float(read(self.playback_rate_hz)), 1e-3)

    def ready(self) -> bool:
        """Whether the camera is armed."""
        return bool(read(self.arm_state) == "Armed")

    def wait_recorded(self, stop: threading.Event) -> None:
        """Wait until the memory is full."""
        wait_until(
            self.arm_state,
            lambda state: state == "Recorded",
            limit_s=2 * self.record_s + self.margin_s,
            what=f"The recording of {self.name}",
            action=TRIGGER_LOST,
            stop=stop,
        )

    def _state_signal(self) -> Any:
        return self.arm_state

    def _start_transfer(self) -> None:
        put(self.playback, 1)

    def _transfer_signals(self) -> tuple[Any, Any, Any]:
        return self.playback_count, self.playback, self.data_lost

    def _abort_transfer(self) -> None:
        """Nothing of its own: Acquire = 0 ends a playback."""
