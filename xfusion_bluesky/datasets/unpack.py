"""Unpack a zip archive that a stranger made: into a new folder, and nowhere else."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from xfusion_bluesky.datasets.errors import BadArchive

__all__ = ["unpack"]

_BLOCK_BYTES = 1 << 18
_MOST_MEMBERS = 20_000
_MB = 1_000_000
_JUNK = ("__MACOSX",)


def unpack(
    archive: Path,
    folder: Path,
    largest_bytes: int,
    on_bytes: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Write the files of an archive into a folder that does not exist yet.

    Every name is looked at before the first file is written. Hidden files and what macOS adds are
    left out. Sizes are counted while unpacking: an archive may lie about them.

    Parameters
    ----------
    archive : Path
        The zip file.
    folder : Path
        Is made; removed again when something is wrong.
    largest_bytes : int
        More than that is not unpacked.
    on_bytes : callable
        Told how many bytes of how many are written.

    Raises
    ------
    BadArchive
        It is damaged, encrypted, too large, or holds a link, an absolute name, a name with
        ``..``, or a name twice.
    OSError
        The disk is full, or fails otherwise.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = _members(archive, source.infolist())
            total = sum(member.file_size for member, _ in members)
            _refuse_too_large(archive, folder, total, largest_bytes)
            folder.mkdir()
            try:
                _write(archive, source, members, folder, total, largest_bytes, on_bytes)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: a method of compression that is not known.
        raise BadArchive(
            f"{archive} cannot be unpacked ({error}): it is damaged, or no zip archive. Remove it "
            "and fetch it again. Nothing was unpacked."
        ) from error


def _members(
    archive: Path, infos: list[zipfile.ZipInfo]
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    if len(infos) > _MOST_MEMBERS:
        raise _hostile(archive, f"it holds {len(infos)} files")
    chosen, seen = [], set()
    for info in infos:
        # The name as it was written: zipfile cuts it at a NUL and turns separators round.
        name = info.orig_filename
        path = PurePosixPath(name)
        if "\\" in name or any(ord(character) < 32 for character in name):
            raise _hostile(archive, f"a name holds forbidden characters: {name!r}")
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise _hostile(archive, f"a name leads elsewhere: {name!r}")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _hostile(archive, f"{name!r} is a link or a device")
        if info.is_dir() or not path.parts or _is_junk(path):
            continue
        if str(path).casefold() in seen:
            raise _hostile(archive, f"{name!r} is there twice")
        seen.add(str(path).casefold())
        chosen.append((info, path))
    return chosen


def _is_junk(path: PurePosixPath) -> bool:
    return any(part in _JUNK or part.startswith(".") for part in path.parts)


def _refuse_too_large(archive: Path, folder: Path, total: int, largest_bytes: int) -> None:
    if total > largest_bytes:
        raise _hostile(
            archive, f"it would become {total / _MB:.0f} MB, more than {largest_bytes / _MB:.0f} MB"
        )
    free = shutil.disk_usage(folder.parent).free
    if free < total:
        raise BadArchive(
            f"{archive} becomes {total / _MB:.0f} MB, the disk of {folder.parent} has "
            f"{free / _MB:.0f} MB free: make room. Nothing was unpacked."
        )


def _write(
    archive: Path,
    source: zipfile.ZipFile,
    members: list[tuple[zipfile.ZipInfo, PurePosixPath]],
    folder: Path,
    total: int,
    largest_bytes: int,
    on_bytes: Callable[[int, int], object],
) -> None:
    done = 0
    for info, path in members:
        file = folder.joinpath(*path.parts)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stream = file.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise _hostile(archive, f"{path} is a file and a folder") from error
        with stream, source.open(info) as packed:
            while block := packed.read(_BLOCK_BYTES):
                done += len(block)
                if done > largest_bytes:
                    raise _hostile(archive, f"it is larger than {largest_bytes / _MB:.0f} MB")
                stream.write(block)
        on_bytes(done, total)


def _hostile(archive: Path, why: str) -> BadArchive:
    return BadArchive(
        f"{archive} is not unpacked: {why}. No honest data set is like that; nothing was unpacked."
    )
