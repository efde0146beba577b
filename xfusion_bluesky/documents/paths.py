"""Names that come from outside, in documents and metadata, and what they may point at.

Whoever writes documents can write any path and any uid into them. Nothing opens a file that such a
name leads to before it went through this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .raw import Burst

_SCHEMES = ("file://localhost/", "file:///")
_UID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_LONGEST_SHOWN = 200


class UnsafePath(ValueError, LookupError):
    """A name in a document leads where nothing may be read; the message says where and why."""


def path_of(uri: str) -> Path:
    """Return the path that a document's URI names, judged by its text alone.

    The URI is not percent-decoded, because Tiled does not decode it either: ``%2e%2e`` is a folder
    of that name.

    Parameters
    ----------
    uri : str
        ``file://localhost/...`` or ``file:///...``.

    Returns
    -------
    Path
        Absolute, without ``..``; symbolic links are not followed.

    Raises
    ------
    UnsafePath
        It names no file of this computer, or climbs with ``..``, or holds a NUL character.
    """
    for scheme in _SCHEMES:
        # A general parser would cut names at '#', '?' or '%'.
        if uri.startswith(scheme):
            path = Path("/" + uri.removeprefix(scheme).lstrip("/"))
            break
    else:
        raise _unsafe(uri, "it is no file of this computer (file://localhost/...)")
    if "\0" in uri:
        raise _unsafe(uri, "it holds a NUL character")
    if ".." in path.parts:
        raise _unsafe(uri, "it climbs with '..'")
    return path


def local_file(uri: str, roots: Iterable[Path]) -> Path:
    """Return the real path of a document's file, which lies inside one of the roots.

    Parameters
    ----------
    uri : str
        As for `path_of`.
    roots : iterable of Path
        Absolute folders from which files may be read: ``configuration.folders.raw_roots``.

    Returns
    -------
    Path
        With all symbolic links followed; the file need not exist.

    Raises
    ------
    UnsafePath
        As for `path_of`, or when the file lies outside every root.
    """
    return _inside(path_of(uri), roots)


def check_inside(burst: Burst, roots: Iterable[Path]) -> None:
    """Refuse a burst of which a file lies outside the roots; call it before a file is opened.

    Parameters
    ----------
    burst : Burst
        Of a raw run, or of one to correct with.
    roots : iterable of Path
        Absolute folders from which files may be read: ``configuration.folders.raw_roots``.

    Raises
    ------
    UnsafePath
        A file lies outside every root, symbolic links followed.
    """
    allowed = tuple(roots)
    for camera in (burst.phantom, burst.shimadzu):
        _inside(camera.file, allowed)


def checked_uid(uid: str) -> str:
    """Return a uid that may become part of a file name.

    Parameters
    ----------
    uid : str
        1 to 64 letters, digits and hyphens.

    Raises
    ------
    UnsafePath
        It is something else: a path, for instance.
    """
    if _UID.fullmatch(uid) is None:
        raise UnsafePath(
            f"The uid {_shown(uid)} was refused: a uid has 1 to 64 letters, digits and hyphens, "
            "and this could name any file. Correct it in the metadata of the run. Nothing was read."
        )
    return uid


def _inside(path: Path, roots: Iterable[Path]) -> Path:
    try:
        real = path.resolve()
        allowed = [root.resolve() for root in roots]
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: links in a circle; ValueError: no file can have such a name.
        raise _unsafe(
            str(path), f"it cannot be followed ({' '.join(str(error).split())})"
        ) from error
    if not any(real.is_relative_to(root) for root in allowed):
        folders = ", ".join(map(str, allowed)) or "none"
        to = f" (through a link to {real})" if real != path else ""
        raise _unsafe(str(path), f"it lies outside the readable folders{to}: {folders}")
    return real


def _unsafe(name: str, why: str) -> UnsafePath:
    return UnsafePath(
        f"The file {_shown(name)} of a document was refused: {why}. If it is one to be read, add "
        "its folder to 'readable' in [folders] of the configuration. Nothing was read; the data "
        "are as they were."
    )


def _shown(name: str) -> str:
    # ascii() keeps the message on one line whatever the name holds.
    return ascii(name[:_LONGEST_SHOWN])
