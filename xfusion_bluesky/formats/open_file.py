"""A large binary file from elsewhere, read in parts that are checked before they are used."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.small_file import UNCHANGED

__all__ = ["BinaryPart", "open_binary"]


@dataclass(frozen=True, eq=False)
class BinaryPart:
    """An open file of which nothing beyond its end is asked for.

    Parameters
    ----------
    path : Path
        For messages.
    stream : BinaryIO
        The open file.
    size : int
        Its length, bytes.
    """

    path: Path
    stream: BinaryIO
    size: int

    def read(self, offset: int, count: int, what: str) -> bytes:
        """Return `count` bytes from `offset` on.

        Raises
        ------
        FormatError
            The file ends before; `what` says in the message what was to be read.
        """
        data = b""
        if offset >= 0 and count >= 0 and offset + count <= self.size:
            self.stream.seek(offset)
            data = self.stream.read(count)
        if len(data) != count:
            raise self.wrong(
                f"{what} would be at bytes {offset} to {offset + count}, but the file has "
                f"{self.size}: it was cut short, or is damaged"
            )
        return data

    def values(self, offset: int, layout: str, what: str) -> tuple[Any, ...]:
        """Return the values of a `struct` layout at `offset`; raises as `read`."""
        return struct.unpack(layout, self.read(offset, struct.calcsize(layout), what))

    def wrong(self, why: str) -> FormatError:
        """Return the error that says why the file cannot be used."""
        return FormatError(
            f"The file {self.path} cannot be used: {why}. Copy or export it again. {UNCHANGED}"
        )


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryPart]:
    """Open a regular file for reading.

    Raises
    ------
    FormatError
        It cannot be opened, or read; or is no file.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{path} is no file. {UNCHANGED}")
            yield BinaryPart(path, stream, status.st_size)
    except OSError as error:
        raise FormatError(
            f"The file {path} cannot be read: {error.strerror}. {UNCHANGED}"
        ) from error
