"""The slow, sharp camera: a Phantom TMX7510 through the areaDetector driver ADPhantom."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component as Cpt
from ophyd import EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV, Kind, Signal

from .camera import TRIGGER_LOST, BurstCamera
from .waiting import put, put_and_confirm, read, wait_until

# Bits of StateRaw, ADPhantom.h.
_STORED = 2
_WAITING = 4
_LINK_BYTES_PER_S = 1e8


class PhantomCamera(BurstCamera):
    """Records around a trigger and hands over the frames `first_frame` to `last_frame`.

    Frame 0 is the first after the trigger; earlier ones have negative numbers. Set the two soft
    signals before staging; rate and exposure are the camera's own settings.
    """

    first_frame = Cpt(Signal, value=0, kind=Kind.config)
    last_frame = Cpt(Signal, value=3, kind=Kind.config)
    acquire_time = Cpt(EpicsSignalWithRBV, "CAM:AcquireTime", kind=Kind.config)
    acquire_period = Cpt(EpicsSignalWithRBV, "CAM:AcquirePeriod", kind=Kind.config)
    post_trigger_frames = Cpt(EpicsSignalWithRBV, "CAM:PostTrigFrames", kind=Kind.config)
    aux1_pin_mode = Cpt(EpicsSignalWithRBV, "CAM:Aux1PinMode", string=True, kind=Kind.config)
    ext_sync_type = Cpt(EpicsSignalWithRBV, "CAM:ExtSyncType", string=True, kind=Kind.config)
    trigger_edge = Cpt(EpicsSignalWithRBV, "CAM:TriggerEdge", string=True, kind=Kind.config)
    memory_frames = Cpt(EpicsSignalRO, "CAM:MaxFrameCount_RBV", kind=Kind.omitted)
    download_speed = Cpt(EpicsSignalWithRBV, "CAM:DownloadSpeed", string=True, kind=Kind.omitted)
    state_bits = Cpt(EpicsSignalRO, "CAM:StateRaw", kind=Kind.omitted)
    stored_first = Cpt(EpicsSignalRO, "CAM:C1:FirstFrame_RBV", kind=Kind.omitted)
    stored_last = Cpt(EpicsSignalRO, "CAM:C1:LastFrame_RBV", kind=Kind.omitted)
    stored_rows = Cpt(EpicsSignalRO, "CAM:C1:Height_RBV", kind=Kind.omitted)
    stored_columns = Cpt(EpicsSignalRO, "CAM:C1:Width_RBV", kind=Kind.omitted)
    download_start = Cpt(EpicsSignalWithRBV, "CAM:DownloadStartFrame", kind=Kind.omitted)
    download_end = Cpt(EpicsSignalWithRBV, "CAM:DownloadEndFrame", kind=Kind.omitted)
    download = Cpt(EpicsSignal, "CAM:Download", kind=Kind.omitted)
    abort_download = Cpt(EpicsSignal, "CAM:AbortDownload", kind=Kind.omitted)
    download_count = Cpt(EpicsSignalRO, "CAM:DownloadCount_RBV", kind=Kind.omitted)
    dropped_packets = Cpt(EpicsSignalRO, "CAM:DroppedPackets_RBV", kind=Kind.omitted)

    def configure_burst(self) -> int:
        """Make the camera keep enough frames after the trigger."""
        first, last = int(self.first_frame.get()), int(self.last_frame.get())
        if last < first:
            raise self._fault("The HR range is empty", f"first {first}, last {last}")
        put_and_confirm(self.post_trigger_frames, max(last + 1, 1))
        return last - first + 1

    def held_burst(self) -> tuple[int, int, int] | None:
        """Return (frames, rows, columns) of the wanted range of the stored cine."""
        if not int(read(self.state_bits)) & _STORED:
            return None
        first, last = self._check_range()
        return last - first + 1, int(read(self.stored_rows)), int(read(self.stored_columns))

    @property
    def record_s(self) -> float:
        """Time the post-trigger frames take, in s."""
        return float(read(self.post_trigger_frames)) * float(read(self.acquire_period))

    @property
    def transfer_s(self) -> float:
        """Time of a download over the slowest link, in s."""
        return self.burst_bytes / _LINK_BYTES_PER_S

    def ready(self) -> bool:
        """Whether the current cine waits for its trigger."""
        return bool(int(read(self.state_bits)) & _WAITING)

    def wait_recorded(self, stop: threading.Event) -> None:
        """Wait until the cine is stored, and check that it holds the wanted range."""
        wait_until(
            self.state_bits,
            lambda bits: bool(int(bits) & _STORED),
            limit_s=2 * self.record_s + self.margin_s,
            what=f"The recording of {self.name}",
            action=TRIGGER_LOST,
            stop=stop,
        )
        self._check_range()

    def _check_range(self) -> tuple[int, int]:
        stored = int(read(self.stored_first)), int(read(self.stored_last))
        wanted = int(self.first_frame.get()), int(self.last_frame.get())
        if not stored[0] <= wanted[0] <= wanted[1] <= stored[1]:
            raise self._fault(
                f"The cine does not hold frames {wanted[0]} to {wanted[1]}",
                f"it holds {stored[0]} to {stored[1]}",
            )
        return wanted

    def _state_signal(self) -> Any:
        return self.state_bits

    def _start_transfer(self) -> None:
        put_and_confirm(self.download_start, int(self.first_frame.get()))
        put_and_confirm(self.download_end, int(self.last_frame.get()))
        put(self.download, 1)

    def _transfer_signals(self) -> tuple[Any, Any, Any]:
        return self.download_count, self.download, self.dropped_packets

    def _abort_transfer(self) -> None:
        put(self.abort_download, 1, wait=False)
