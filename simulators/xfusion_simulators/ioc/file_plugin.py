"""HDF1: the file plugin that turns transferred frames into a burst file."""

import asyncio
from pathlib import Path
from typing import Any

from caproto.server import PVGroup

from ..burst_file import BurstFile
from ..memory import CameraMemory
from .records import (
    LONG_STRING,
    in_thread,
    long_text_pair,
    long_text_reading,
    pair,
    reading,
    setting,
)

MODES = ("Single", "Capture", "Stream")


class FilePlugin(PVGroup):
    """NDFileHDF5 names; frames come in by :meth:`receive`."""

    async def _accept_path(self, value: str) -> str:
        path = Path(value)
        levels = int(self.create_directory.readback.value)
        if path.is_absolute() and levels and not path.is_dir():
            missing = [p for p in (path, *path.parents) if not p.exists()]
            if levels > 0 or len(missing) <= -levels:
                try:
                    path.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    await self._complain(f"Cannot make {path}: {error}")
        await self.file_path_exists.write("Yes" if path.is_dir() else "No")
        return value if value.endswith("/") else f"{value}/"

    async def _put_capture(self, value: str) -> str:
        async with self._lock:
            if value == "Done":
                await self._drop("Capture was stopped; what had arrived is deleted")
            elif self._file is None:
                await self._open()
            return "Done" if self._file is None else "Capture"

    async def _accept_capacity(self, value: int) -> int:
        return max(1, int(value))

    enable_callbacks = pair("EnableCallbacks", "Enable", choices=("Disable", "Enable"))
    create_directory = pair("CreateDirectory", 0)
    file_path = long_text_pair("FilePath", on_put=_accept_path)
    file_path_exists = reading("FilePathExists_RBV", "No", choices=("No", "Yes"))
    file_name = long_text_pair("FileName")
    file_number = pair("FileNumber", 0)
    auto_increment = pair("AutoIncrement", "Yes", choices=("No", "Yes"))
    file_template = long_text_pair("FileTemplate", "%s%s_%6.6d.h5")
    full_file_name = long_text_reading("FullFileName_RBV")
    file_write_mode = pair("FileWriteMode", "Stream", choices=MODES)
    num_capture = pair("NumCapture", 1, on_put=_accept_capacity)
    num_captured = reading("NumCaptured_RBV", 0)
    capture = pair(
        "Capture",
        "Done",
        choices=("Done", "Capture"),
        readback_choices=("Done", "Capturing"),
        on_put=_put_capture,
    )
    write_status = reading("WriteStatus", "Write OK", choices=("Write OK", "Write error"))
    write_message = long_text_reading("WriteMessage")
    queue_size = setting("QueueSize", 1000)
    dropped_arrays = reading("DroppedArrays_RBV", 0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file: BurstFile | None = None
        self._lock = asyncio.Lock()

    async def receive(self, memory: CameraMemory, start: int, stop: int) -> None:
        """Take frames ``start`` to ``stop - 1`` of a camera's memory, if capturing.

        The file is closed, synced and named before ``Capture_RBV`` goes to 0.
        """
        async with self._lock:
            file = self._file
            if file is None or self.enable_callbacks.readback.value == "Disable":
                return
            try:
                await in_thread(_copy, memory, start, stop, file)
                await self.num_captured.write(file.captured)
                if file.full:
                    await in_thread(file.finish)
            except (OSError, RuntimeError) as error:
                await self._complain(f"Writing {file.target} failed: {error}")
                await self._drop(None)
                return
            if file.full:
                self._file = None
                await self._finished()

    def shut_down(self) -> None:
        """Delete an unfinished file when the IOC ends."""
        if self._file is not None:
            self._file.discard()

    async def _open(self) -> None:
        try:
            target = self._target()
            self._file = await in_thread(BurstFile, target, self.num_capture.readback.value)
        except (OSError, ValueError) as error:
            await self._complain(f"Capture refused: {error}")
            return
        await self.num_captured.write(0)
        await self.full_file_name.write(str(target))
        await self.write_status.write("Write OK")
        await self.write_message.write("")

    def _target(self) -> Path:
        folder, name, number, template = (
            p.readback.value
            for p in (self.file_path, self.file_name, self.file_number, self.file_template)
        )
        if self.file_write_mode.readback.value == "Single":
            raise ValueError("FileWriteMode is Single; set Capture or Stream")
        if not Path(folder).is_absolute() or not Path(folder).is_dir():
            raise ValueError(f"FilePath '{folder}' is no folder; make it or set CreateDirectory")
        for arguments in ((folder, name, number), (folder, name)):
            try:
                target = Path(template % arguments)
            except (TypeError, ValueError):
                continue
            if len(str(target)) >= LONG_STRING:
                raise ValueError(f"the full file name exceeds {LONG_STRING - 1} characters")
            return target
        raise ValueError(
            f"FileTemplate '{template}' takes neither path, name, number nor path, name"
        )

    async def _drop(self, message: str | None) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        await in_thread(file.discard)
        if message is not None:
            await self.write_message.write(message)
        await self._show_idle()

    async def _finished(self) -> None:
        if self.auto_increment.readback.value == "Yes":
            await self.file_number.readback.write(self.file_number.readback.value + 1)
        await self._show_idle()

    async def _show_idle(self) -> None:
        await self.capture.setpoint.write("Done", verify_value=False)
        await self.capture.readback.write("Done")

    async def _complain(self, message: str) -> None:
        await self.write_message.write(message[: LONG_STRING - 1])
        await self.write_status.write("Write error")


def _copy(memory: CameraMemory, start: int, stop: int, file: BurstFile) -> None:
    burst = memory.burst
    if burst is None:
        raise RuntimeError("the camera memory is empty")
    file.append(memory.read(start, stop), burst.table.part(start, stop), burst)
