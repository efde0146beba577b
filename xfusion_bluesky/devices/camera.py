"""What both burst cameras have in common: one burst, one closed file, one set of documents."""

from __future__ import annotations

import threading
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from event_model import compose_stream_resource
from ophyd import Component as Cpt
from ophyd import Device, EpicsSignalRO, EpicsSignalWithRBV, Kind

from .burst_file import DATASET, BurstFile
from .faults import DeviceFault
from .file_plugin import BurstFilePlugin
from .waiting import PUT_LIMIT_S, put, read, wait_until

TRIGGER_LOST = "look at its trigger cable and input: the delay generator did send the trigger"
_CHUNK_FRAMES = 16


class BurstCamera(Device):
    """A camera that records a burst into its own memory and hands it over afterwards.

    Parameters
    ----------
    prefix : str
        PV prefix of the camera, ending before ``CAM:`` and ``HDF1:``.
    name : str
        Name of the device; the first word of its data keys.
    margin_s : float
        Added to every time limit that is computed from the burst, in s.
    """

    connected_to_camera = Cpt(EpicsSignalRO, "CAM:CONNECTED_RBV", string=True, kind=Kind.omitted)
    manufacturer = Cpt(EpicsSignalRO, "CAM:Manufacturer_RBV", string=True, kind=Kind.config)
    model = Cpt(EpicsSignalRO, "CAM:Model_RBV", string=True, kind=Kind.config)
    serial_number = Cpt(EpicsSignalRO, "CAM:SerialNumber_RBV", string=True, kind=Kind.config)
    firmware = Cpt(EpicsSignalRO, "CAM:FirmwareVersion_RBV", string=True, kind=Kind.config)
    acquire = Cpt(EpicsSignalWithRBV, "CAM:Acquire", kind=Kind.omitted)
    detector_state = Cpt(EpicsSignalRO, "CAM:DetectorState_RBV", string=True, kind=Kind.omitted)
    status_message = Cpt(EpicsSignalRO, "CAM:StatusMessage_RBV", string=True, kind=Kind.omitted)
    columns = Cpt(EpicsSignalRO, "CAM:ArraySizeX_RBV", kind=Kind.config)
    rows = Cpt(EpicsSignalRO, "CAM:ArraySizeY_RBV", kind=Kind.config)
    first_column = Cpt(EpicsSignalRO, "CAM:MinX_RBV", kind=Kind.config)
    first_row = Cpt(EpicsSignalRO, "CAM:MinY_RBV", kind=Kind.config)
    file = Cpt(BurstFilePlugin, "HDF1:", kind=Kind.omitted)

    def __init__(self, prefix: str, *, name: str, margin_s: float = 10.0, **kwargs: Any) -> None:
        kwargs.setdefault("labels", {"detectors", "cameras"})
        super().__init__(prefix, name=name, **kwargs)
        self.margin_s = margin_s
        self._shape = (0, 0, 0)
        self._settings: dict[str, Any] = {}
        self._bursts: list[BurstFile] = []
        self._documented = 0

    @abstractmethod
    def configure_burst(self) -> int:
        """Write what the next bursts need to the camera; return their number of frames."""

    @abstractmethod
    def held_burst(self) -> tuple[int, int, int] | None:
        """Return (frames, rows, columns) to fetch from camera memory; None when it is empty."""

    @property
    @abstractmethod
    def record_s(self) -> float:
        """Expected time from trigger to the end of the recording, in s."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the camera would record if a trigger came now."""

    @abstractmethod
    def wait_recorded(self, stop: threading.Event) -> None:
        """Wait until the burst is complete in camera memory."""

    @abstractmethod
    def _state_signal(self) -> Any:
        """Return the signal that `ready` looks at."""

    @abstractmethod
    def _start_transfer(self) -> None:
        """Tell the camera to send the burst to its file plugin; return when it has begun."""

    @abstractmethod
    def _transfer_signals(self) -> tuple[Any, Any, Any]:
        """Return the signals (frames sent, still sending, frames lost)."""

    @abstractmethod
    def _abort_transfer(self) -> None:
        """Stop sending; what is in memory stays there."""

    @property
    @abstractmethod
    def transfer_s(self) -> float:
        """Expected time of the transfer, in s."""

    @property
    def frames(self) -> int:
        """Number of frames in each burst of this run."""
        return self._shape[0]

    @property
    def burst_bytes(self) -> int:
        """Size of the pixels of one burst, in bytes."""
        return int(np.prod(self._shape)) * 2

    def prepare_run(self, *, from_memory: bool = False) -> None:
        """Configure the camera for the bursts of one run and forget those of the last.

        Parameters
        ----------
        from_memory : bool
            Only fetch the burst that the camera holds; nothing that touches it is written.

        Raises
        ------
        DeviceFault
            When the camera is not connected, or has no burst to fetch.
        """
        if read(self.connected_to_camera) != "Connected":
            raise self._fault("The camera is not connected", "CONNECTED_RBV says so")
        if from_memory:
            held = self.held_burst()
            if held is None:
                raise self._fault(
                    f"The memory of {self.name} is empty",
                    "it was armed or cleared since it last recorded",
                    action="take the burst again; there is nothing to recover",
                )
            self._shape = held
        else:
            frames = self.configure_burst()
            self._shape = (frames, int(read(self.rows)), int(read(self.columns)))
        self._settings = self._read_settings()
        self._bursts = []
        self._documented = 0

    def prepare_burst(self) -> None:
        """Check that the run's documents still describe the camera; forget an unwanted burst.

        A burst whose event was never made, because the plan went back to its checkpoint, must not
        enter the documents of the next one.

        Raises
        ------
        DeviceFault
            When a setting changed since the run began, for instance because the IOC restarted.
        """
        del self._bursts[self._documented :]
        now = self._read_settings()
        changed = [
            f"{name} was {before}, is {now[name]}"
            for name, before in self._settings.items()
            if now[name] != before
        ]
        if changed:
            raise self._fault(
                f"The settings of {self.name} changed during the run",
                "; ".join(changed),
                action="start a new run; its documents will hold the new settings",
            )

    def _read_settings(self) -> dict[str, Any]:
        return {name: read(getattr(self, name)) for name in self.configuration_attrs}

    def arm(self) -> None:
        """Tell the camera to get ready; `wait_ready` says when it is."""
        put(self.acquire, 1, wait=False)

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until the camera would record at a trigger.

        Raises
        ------
        DeviceFault
            When the camera refuses to arm or takes too long.
        """

        def is_ready(_: Any) -> bool:
            if self.ready():
                return True
            if read(self.detector_state) == "Error" and not read(self.acquire):
                raise self._fault("The camera refused to arm", str(read(self.status_message)))
            return False

        wait_until(
            self._state_signal(),
            is_ready,
            limit_s=self.margin_s,
            what=f"Arming {self.name}",
            stop=stop,
        )

    def transfer(
        self, folder: Path, stem: str, stop: threading.Event, on_frame: Callable[[int], None]
    ) -> None:
        """Move the recorded burst from camera memory into a file and prove that it is whole.

        A transfer that lost frames is repeated once: the burst is still in camera memory.

        Parameters
        ----------
        folder : Path
            Folder as both the IOC and this computer see it.
        stem : str
            File name without suffix.
        stop : threading.Event
            Ends the transfer early when set.
        on_frame : callable
            Told the number of frames sent so far.
        """
        lost = self._transfer_once(folder, stem, stop, on_frame)
        if lost:
            lost = self._transfer_once(folder, f"{stem}-again", stop, on_frame)
        if lost:
            raise self._fault(
                f"{lost} frames were lost twice on the way", "the camera counted more than arrived"
            )

    def _transfer_once(
        self, folder: Path, stem: str, stop: threading.Event, on_frame: Callable[[int], None]
    ) -> int:
        count, sending, _ = self._transfer_signals()
        limit_s = 2 * self.transfer_s + self.margin_s
        try:
            self.file.open(folder, stem, self.frames)
            self._start_transfer()
            wait_until(
                count,
                lambda _: not read(sending),
                limit_s=limit_s,
                what=f"The transfer from {self.name}",
                stop=stop,
                on_value=on_frame,
            )
            captured = int(read(self.file.num_captured))
            if captured < self.frames and read(self.file.capture):
                if not captured:
                    raise self._fault(
                        f"{self.name} did not start to send", str(read(self.status_message))
                    )
                self.file.abandon()
                return self.frames - captured
            path = self.file.wait_closed(limit_s=limit_s, stop=stop)
        except DeviceFault:
            with suppress(DeviceFault):
                self.file.abandon()
            raise
        self._bursts.append(BurstFile.verify(path, self._shape))
        return 0

    def disarm(self) -> None:
        """Make sure that no trigger starts a recording and nothing is being sent.

        Raises
        ------
        DeviceFault
            When the camera does not become idle within 5 s.
        """
        _, sending, _ = self._transfer_signals()
        if read(sending):
            self._abort_transfer()
        put(self.acquire, 0, wait=False)
        for signal in (sending, self.acquire):
            wait_until(
                signal, lambda on: not on, limit_s=PUT_LIMIT_S, what=f"Disarming {self.name}"
            )

    # Bluesky: what a run says of this camera

    def describe(self) -> dict[str, Any]:
        """Describe the burst image and its per-frame facts."""
        frames = self.frames
        source = f"{self.prefix}HDF1:FullFileName_RBV"

        def array(dtype: str) -> dict[str, Any]:
            key = {"source": source, "dtype": "array", "shape": [frames], "dtype_numpy": dtype}
            return dict(key)

        name = self.name
        image = {
            "source": source,
            "dtype": "array",
            "shape": list(self._shape),
            "dtype_numpy": "<u2",
            "external": "STREAM:",
        }
        count = {"source": source, "dtype": "integer", "shape": [], "dtype_numpy": "<i8"}
        checksum = {"source": source, "dtype": "string", "shape": []}
        return {
            **super().describe(),
            f"{name}_image": image,
            f"{name}_frame_time_ns": {**array("<i8"), "units": "ns"},
            f"{name}_event_flag": array("|u1"),
            f"{name}_valid": array("|u1"),
            f"{name}_frames": count,
            f"{name}_sha256": checksum,
        }

    def read(self) -> dict[str, Any]:
        """Return the facts of the last burst; its pixels stay in the file."""
        burst = self._bursts[-1]
        now = burst.path.stat().st_mtime
        valid = np.ones(len(burst.frame_number), dtype=np.uint8)
        values = {
            f"{self.name}_frame_time_ns": np.rint(burst.frame_time_ns).astype(np.int64),
            f"{self.name}_event_flag": burst.event_flag,
            f"{self.name}_valid": valid,
            f"{self.name}_frames": int(valid.sum()),
            f"{self.name}_sha256": burst.sha256,
        }
        return {
            **super().read(),
            **{key: {"value": value, "timestamp": now} for key, value in values.items()},
        }

    @property
    def hints(self) -> dict[str, Any]:
        """Show the number of usable frames; images do not go into tables."""
        return {"fields": [f"{self.name}_frames"]}

    def get_index(self) -> int:
        """Return the number of bursts whose files are complete."""
        return len(self._bursts)

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        """Yield one StreamResource and one StreamDatum a burst, for closed files only."""
        end = len(self._bursts) if index is None else min(index, len(self._bursts))
        for position in range(self._documented, end):
            burst = self._bursts[position]
            bundle = compose_stream_resource(
                mimetype="application/x-hdf5",
                # Tiled does not decode percent signs, so the path goes in as it is.
                uri=f"file://localhost{burst.path}",
                data_key=f"{self.name}_image",
                parameters={
                    "dataset": DATASET,
                    "chunk_shape": [1, min(_CHUNK_FRAMES, burst.shape[0]), *burst.shape[1:]],
                    "join_method": "stack",
                },
                uid=str(uuid.uuid4()),
            )
            yield "stream_resource", bundle.stream_resource_doc
            yield (
                "stream_datum",
                bundle.compose_stream_datum({"start": position, "stop": position + 1}),
            )
        self._documented = end

    def _fault(self, what: str, why: str, *, action: str | None = None) -> DeviceFault:
        return DeviceFault(
            what,
            where=f"{self.name}, {self.prefix}CAM:",
            why=why,
            action=action or "look at the camera's status message, then run the plan again",
            data="nothing was recorded by this command",
        )
