"""Small files from elsewhere: read whole, unless they are larger than they should be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xfusion_bluesky.formats.errors import FormatError

__all__ = ["UNCHANGED", "check_name", "entries", "read_small", "refuse_outside"]

UNCHANGED = "Nothing was changed."
"""What every refusal of a reader ends with."""


def read_small(path: Path, most_bytes: int) -> bytes:
    """Return what a file holds.

    Parameters
    ----------
    path : Path
        A regular file; a pipe or a device would never end.
    most_bytes : int
        A larger file is not read.

    Raises
    ------
    FormatError
        It cannot be read, is no file, or is larger.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody who writes.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{path} is no file. {UNCHANGED}")
            if status.st_size > most_bytes:
                raise FormatError(
                    f"The file {path} has {status.st_size / 1e6:.1f} MB, where at most "
                    f"{most_bytes / 1e6:.1f} MB make sense: is it the right file? {UNCHANGED}"
                )
            return file.read(most_bytes)
    except (OSError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        why = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"The file {path} cannot be read: {why}. {UNCHANGED}") from error


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, without hidden files, by name.

    Raises
    ------
    FormatError
        The folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"The folder {folder} cannot be read: {why}. {UNCHANGED}") from error


def refuse_outside(root: Path, path: Path) -> None:
    """Refuse a file or folder that is a link to a place outside of the folder it was found in.

    Parameters
    ----------
    root : Path
        The folder that somebody named.
    path : Path
        What was found in it.

    Raises
    ------
    FormatError
        It leads elsewhere, or in a circle.
    """
    try:
        inside = path.resolve(strict=True).is_relative_to(root.resolve(strict=True))
    except (OSError, RuntimeError) as error:
        raise FormatError(
            f"{path} cannot be followed: {' '.join(str(error).split())}. {UNCHANGED}"
        ) from error
    if not inside:
        raise FormatError(
            f"{path} is a link that leads out of {root}: copy the files into the folder. "
            f"{UNCHANGED}"
        )


def check_name(name: str, what: str) -> None:
    """Refuse a name that would make a file elsewhere than in its folder.

    Parameters
    ----------
    name : str
        Of a file or folder to be written.
    what : str
        For the message.

    Raises
    ------
    FormatError
        It is empty, is or begins with a dot, or holds a separator or a control character.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        raise FormatError(
            f"{what} {name[:100]!a} cannot be part of a file name: use letters, digits, '-' "
            f"and '_'. {UNCHANGED}"
        )
