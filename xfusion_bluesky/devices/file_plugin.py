"""The areaDetector HDF5 file plugin, as far as a burst needs it."""

from __future__ import annotations

import threading
from pathlib import Path

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV, Kind

from .faults import DeviceFault
from .waiting import put, put_and_confirm, read, wait_until


class BurstFilePlugin(Device):
    """NDFileHDF5 in capture mode: one burst, one file, closed before anybody hears of it."""

    enable_callbacks = Cpt(EpicsSignalWithRBV, "EnableCallbacks", string=True, kind=Kind.omitted)
    create_directory = Cpt(EpicsSignalWithRBV, "CreateDirectory", kind=Kind.omitted)
    auto_increment = Cpt(EpicsSignalWithRBV, "AutoIncrement", string=True, kind=Kind.omitted)
    file_path = Cpt(EpicsSignalWithRBV, "FilePath", string=True, kind=Kind.omitted)
    file_path_exists = Cpt(EpicsSignalRO, "FilePathExists_RBV", kind=Kind.omitted)
    file_name = Cpt(EpicsSignalWithRBV, "FileName", string=True, kind=Kind.omitted)
    file_template = Cpt(EpicsSignalWithRBV, "FileTemplate", string=True, kind=Kind.omitted)
    full_file_name = Cpt(EpicsSignalRO, "FullFileName_RBV", string=True, kind=Kind.omitted)
    write_mode = Cpt(EpicsSignalWithRBV, "FileWriteMode", string=True, kind=Kind.omitted)
    num_capture = Cpt(EpicsSignalWithRBV, "NumCapture", kind=Kind.omitted)
    num_captured = Cpt(EpicsSignalRO, "NumCaptured_RBV", kind=Kind.omitted)
    capture = Cpt(EpicsSignal, "Capture_RBV", write_pv="Capture", kind=Kind.omitted)
    write_status = Cpt(EpicsSignalRO, "WriteStatus", string=True, kind=Kind.omitted)
    write_message = Cpt(EpicsSignalRO, "WriteMessage", string=True, kind=Kind.omitted)

    def open(self, folder: Path, stem: str, frames: int) -> None:
        """Prepare the plugin for one burst and open the file.

        Parameters
        ----------
        folder : Path
            Folder as the IOC sees it.
        stem : str
            File name without suffix.
        frames : int
            Number of frames after which the IOC closes the file.

        Raises
        ------
        DeviceFault
            When the IOC refuses the folder or the capture.
        """
        put_and_confirm(self.enable_callbacks, "Enable")
        put_and_confirm(self.auto_increment, "No")
        put(self.create_directory, -3)
        put(self.file_path, f"{folder}/")
        if not read(self.file_path_exists):
            raise self._refused(f"the IOC cannot see the folder {folder}")
        put(self.file_name, stem)
        put(self.file_template, "%s%s.h5")
        put_and_confirm(self.write_mode, "Capture")
        put_and_confirm(self.num_capture, frames)
        put(self.capture, 1, wait=False)
        try:
            wait_until(self.capture, bool, limit_s=5.0, what="Opening the burst file")
        except DeviceFault as error:
            why = str(read(self.write_message)) if self.connected else ""
            raise self._refused(why or error.why) from error

    def wait_closed(self, *, limit_s: float, stop: threading.Event) -> Path:
        """Wait until the IOC has closed the file and return its path."""
        wait_until(
            self.capture,
            lambda capturing: not capturing,
            limit_s=limit_s,
            what="Closing the burst file",
            stop=stop,
        )
        if read(self.write_status) == "Write error":
            raise self._refused(str(read(self.write_message)))
        return Path(str(read(self.full_file_name)))

    def abandon(self) -> None:
        """Close an unfinished file; what was recorded stays in camera memory."""
        if read(self.capture):
            put(self.capture, 0, wait=False)

    def _refused(self, why: str) -> DeviceFault:
        return DeviceFault(
            "The burst file cannot be written",
            where=self.prefix,
            why=why,
            action="check the folder, its permissions and free space on the IOC's computer",
            data="a recorded burst stays in camera memory until the next arm",
        )
