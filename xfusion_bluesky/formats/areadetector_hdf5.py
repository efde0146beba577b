"""HDF5 files of areaDetector's file plugin: the image stack, and what is known of each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.small_file import UNCHANGED

__all__ = ["ATTRIBUTES", "DATASET", "DetectorFile", "open_detector_file"]

DATASET = "/entry/data/data"
ATTRIBUTES = "/entry/instrument/NDAttributes"
_USUAL_PLACES = (DATASET, "/entry/instrument/detector/data", "/exchange/data")
_MOST_FRAME_BYTES = 1 << 28
_MOST_FRAMES = 10_000_000
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, eq=False)
class DetectorFile:
    """An open file; frames are read when they are wanted.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str
        Where the images are in it.
    shape : (int, int, int)
        Frames, rows, columns.
    attributes : mapping of str to array
        One value a frame, by the name of the NDAttribute, for instance ``NDArrayUniqueId``,
        ``NDArrayTimeStamp`` (s), or, in burst files of this software, ``FrameTimeNs``.
    """

    path: Path
    dataset: str
    shape: tuple[int, int, int]
    attributes: Mapping[str, npt.NDArray[Any]]
    _frames: Any

    def __len__(self) -> int:
        return self.shape[0]

    def frame(self, k: int) -> npt.NDArray[np.uint16]:
        """Return frame `k`, (H, W) uint16.

        Raises
        ------
        FormatError
            It cannot be read: the file is damaged, or packed in a way that is not known here.
        IndexError
            There is no such frame.
        """
        if not 0 <= k < len(self):
            raise IndexError(k)
        try:
            return np.asarray(self._frames[k]).astype(np.uint16, copy=False)
        except Exception as error:  # readers of damaged files raise what they like
            raise _wrong(self.path, f"frame {k} cannot be read ({_first_line(error)})") from error


@contextmanager
def open_detector_file(path: Path, dataset: str | None = None) -> Iterator[DetectorFile]:
    """Open a file and find its images; nothing is followed into other files.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str, optional
        Where the images are; by default the usual places, then the only stack in the file.

    Yields
    ------
    DetectorFile
        Open until the context ends.

    Raises
    ------
    FormatError
        It is no such file, damaged, or it is not clear where its images are.
    """
    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise _wrong(path, "there is no such file") from error
    except Exception as error:  # readers of damaged files raise what they like
        raise _wrong(path, f"it cannot be opened ({_first_line(error)})") from error
    with file:
        try:
            frames = _stack(path, file, dataset)
            attributes = _attributes(file, frames.shape[0])
        except FormatError:
            raise
        except Exception as error:  # readers of damaged files raise what they like
            raise _wrong(path, f"it is damaged ({_first_line(error)})") from error
        yield DetectorFile(path, frames.name, frames.shape, attributes, frames)


def _stack(path: Path, file: Any, wanted: str | None) -> Any:
    if wanted is not None:
        found = _inside(file, wanted)
        if found is None or not _is_stack(found):
            raise _wrong(path, f"{wanted} is no stack of images with up to 16 bits")
        return found
    for place in _USUAL_PLACES:
        found = _inside(file, place)
        if found is not None and _is_stack(found):
            return found
    stacks = [each for each in _datasets(path, file) if _is_stack(each)]
    if len(stacks) != 1:
        names = ", ".join(sorted(each.name for each in stacks[:4])) or "none"
        raise _wrong(path, f"it is not clear which dataset holds the images (found: {names})")
    return stacks[0]


def _inside(file: Any, name: str) -> Any:
    """Return a dataset of this very file, None where there is none."""
    place = file
    for part in name.strip("/").split("/"):
        if not isinstance(place, h5py.Group) or not _is_own(place, part):
            return None
        place = place[part]
    return place if isinstance(place, h5py.Dataset) else None


def _datasets(path: Path, file: Any) -> Iterator[Any]:
    waiting, seen = [file], {file.id}
    entries = 0
    while waiting:
        group = waiting.pop()
        for name in group:
            entries += 1
            if entries > _MOST_ENTRIES:
                raise _wrong(path, f"it has more than {_MOST_ENTRIES} entries")
            if not _is_own(group, name):
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield item
            elif isinstance(item, h5py.Group) and item.id not in seen:
                seen.add(item.id)
                waiting.append(item)


def _is_own(group: Any, name: str) -> bool:
    # An external link would open any file of this computer; a soft one may lead to such a link.
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _is_stack(data: Any) -> bool:
    return (
        data.ndim == 3
        and data.dtype.kind in "ui"
        and data.dtype.itemsize <= 2
        and 1 <= data.shape[0] <= _MOST_FRAMES
        and 1 <= math.prod(data.shape[1:]) * data.dtype.itemsize <= _MOST_FRAME_BYTES
        and not data.external
        and not data.is_virtual
    )


def _attributes(file: Any, frames: int) -> dict[str, npt.NDArray[Any]]:
    group = file
    for part in ATTRIBUTES.strip("/").split("/"):
        if not isinstance(group, h5py.Group) or not _is_own(group, part):
            return {}
        group = group[part]
    return {
        name: item[...]
        for name in group
        if _is_own(group, name)
        and isinstance(item := group[name], h5py.Dataset)
        and item.shape == (frames,)
        and item.dtype.kind in "uif"
        and not item.external
        and not item.is_virtual
    }


def _first_line(error: Exception) -> str:
    words = " ".join(str(error).split())[:150]
    return f"{type(error).__name__}: {ascii(words)[1:-1]}"


def _wrong(path: Path, why: str) -> FormatError:
    return FormatError(f"The HDF5 file {path} cannot be used: {why}. {UNCHANGED}")
