"""What a backend prints, kept within bounds."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

_ROTATE_AT_BYTES = 8 << 20
_TAIL_BYTES = 16 << 10


class BackendLog:
    """A log file that neither a talkative backend nor a long life fills the disk with.

    Of each job the beginning is kept, up to a limit, and the last 16 kB. When the file has 8 MB it
    becomes ``<name>.1``, in place of the one before.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    limit_mb : float
        Most that is kept of a job, MB.
    """

    def __init__(self, path: Path, limit_mb: float) -> None:
        self.path = path
        self._limit_bytes = int(limit_mb * 1e6)
        self._file: BinaryIO | None = None
        self._kept_bytes = self._dropped_bytes = 0
        self._tail = b""

    def begin(self, title: str) -> None:
        """Begin the log of a job."""
        self.end()
        # A log that cannot be written costs nothing but itself.
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > _ROTATE_AT_BYTES:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._file = self.path.open("ab", buffering=0)
        self._write(f"--- {title}\n".encode())

    def take(self, data: bytes) -> None:
        """Take what the backend has printed."""
        kept = data[: max(0, self._limit_bytes - self._kept_bytes)]
        self._kept_bytes += len(kept)
        self._write(kept)
        if rest := data[len(kept) :]:
            self._dropped_bytes += len(rest)
            self._tail = (self._tail + rest)[-_TAIL_BYTES:]

    def end(self) -> None:
        """End the log of a job."""
        if self._dropped_bytes:
            left_out = self._dropped_bytes - len(self._tail)
            self._write(f"\n--- {left_out} bytes more were printed and are not kept\n".encode())
            self._write(self._tail + b"\n")
        self._kept_bytes = self._dropped_bytes = 0
        self._tail = b""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(data)
