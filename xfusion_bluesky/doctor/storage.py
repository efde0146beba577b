"""Folders and disks: whether they can be written, keep the time, and hold some bursts."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..configuration import Configuration, Folders
from .finding import Finding, fail, ok, warn

_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "lustre", "gpfs", "beegfs")
_MOST_DRIFT_S = 1.0
# Pixels of a usual burst: 128 frames of the Shimadzu, 24 of the Phantom, 2 bytes each ...
_RAW_BYTES = 2 * (128 * 250 * 400 + 24 * 800 * 1280)
# ... and one fused frame, 4 bytes a pixel, for each frame of the Shimadzu.
_FUSED_BYTES = 4 * 128 * 800 * 1280
_ROOM = 1.2
_FEW_BURSTS = 20


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Look at each folder, then at the disks they are on.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    ended : threading.Event
        Set when nobody listens any more.
    """
    folders = configuration.folders
    for name, path in folders:
        yield written_folder(name, path)
    for path in folders.readable:
        yield read_folder(path)
    yield from room(folders, max(1, len(configuration.reconstruction.backends)))


def written_folder(name: str, path: Path) -> Finding:
    """Look whether a folder can be written, by writing a file and removing it again.

    Parameters
    ----------
    name : str
        Its key in the configuration.
    path : Path
        The folder.
    """
    if not path.exists():
        present = next(part for part in path.parents if part.exists())
        if not os.access(present, os.W_OK):
            return _unwritable(name, path, f"is not there, and {present} cannot be written")
        return warn(
            name,
            f"{path} is not there yet",
            "nothing: the first burst or the processing service makes it; if data should be "
            f"there, correct '{name}' in [folders], or mount its disk",
        )
    before_s = time.time()
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
            written_s = os.fstat(probe.fileno()).st_mtime
    except OSError as error:
        if error.errno == errno.EROFS:
            return _unwritable(name, path, "is mounted read-only")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _unwritable(name, path, "is full")
        return _unwritable(name, path, f"cannot be written: {error.strerror}")
    drift_s = max(before_s - written_s, written_s - time.time(), 0.0)
    if drift_s > _MOST_DRIFT_S:
        return warn(
            name,
            f"the clock of the disk under {path} is {drift_s:.1f} s off this computer's",
            "let both follow the same time server (NTP): times of files tell what came first",
        )
    kind = _file_system(path)
    if name == "state" and kind.startswith(_NETWORK):
        return warn(
            name,
            f"{path} is on a network disk ({kind}), where databases and locks are not safe",
            "choose a local folder for 'state' in [folders]",
        )
    return ok(name, f"{path} can be written ({kind}, of {_owner(path)})")


def read_folder(path: Path) -> Finding:
    """Look whether a further folder with stored bursts can be read.

    Parameters
    ----------
    path : Path
        One of ``readable`` in the configuration.
    """
    try:
        os.listdir(path)
    except OSError as error:
        return fail(
            "readable",
            f"{path} cannot be read: {error.strerror}",
            "mount it, or take it out of 'readable' in [folders]",
        )
    return ok("readable", f"{path} can be read (of {_owner(path)})")


def room(folders: Folders, backends: int) -> Iterator[Finding]:
    """Look how many bursts fit on the disks of raw and fused frames.

    Parameters
    ----------
    folders : Folders
        Absolute.
    backends : int
        How many of them reconstruct each burst.
    """
    needs = {"raw": _RAW_BYTES, "processed": backends * _FUSED_BYTES}
    disks: dict[int, list[str]] = {}
    present = {name: _present(path) for name, path in folders if name in needs}
    for name, path in present.items():
        disks.setdefault(path.stat().st_dev, []).append(name)
    for names in disks.values():
        subject = f"disk of {' and '.join(names)}"
        burst_bytes = sum(needs[name] for name in names)
        free_bytes = shutil.disk_usage(present[names[0]]).free
        bursts = int(free_bytes / (_ROOM * burst_bytes))
        found = (
            f"{free_bytes / 1e9:.1f} GB free, room for about {bursts} bursts of "
            f"{burst_bytes / 1e9:.2f} GB"
        )
        action = f"make room, or choose another disk for '{names[0]}' in [folders]"
        if bursts < 1:
            yield fail(subject, found, action)
        elif bursts < _FEW_BURSTS:
            yield warn(subject, found, action)
        else:
            yield ok(subject, found)


def _present(path: Path) -> Path:
    return next(part for part in (path, *path.parents) if part.exists())


def _unwritable(name: str, path: Path, why: str) -> Finding:
    me = pwd.getpwuid(os.geteuid()).pw_name
    return fail(
        name,
        f"{path} {why}",
        f"let {me} write there (it is of {_owner(_present(path))}), or choose another folder for "
        f"'{name}' in [folders]",
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _file_system(path: Path) -> str:
    real = path.resolve()
    best, kind = Path("/"), "disk"
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        _, where, type_name, *_ = line.split(" ")
        # Blanks in the names of mounts are written as octal numbers.
        mount = Path(where.replace("\\040", " "))
        if real.is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, kind = mount, type_name
    return kind
