"""One experiment of XFusion: a folder with what Shimadzu and Phantom software exported.

::

    case/
      burst.ini              times of the Shimadzu images
      TIFF16/any name/       *.tiff, Shimadzu, 16 bits
      any name/              img_000000.tif ..., Phantom, 16 bits, and one .xml with their times
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.image_folder import ImageFolder
from xfusion_bluesky.formats.images import IMAGE_SUFFIXES, read_format
from xfusion_bluesky.formats.numbering import check_numbering, natural_order
from xfusion_bluesky.formats.phantom_xml import PhantomXml, read_phantom_xml
from xfusion_bluesky.formats.shimadzu_ini import ShimadzuIni, read_shimadzu_ini
from xfusion_bluesky.formats.small_file import UNCHANGED, entries, refuse_outside
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["LR_FOLDER", "ExperimentCase", "list_cases", "open_case"]

LR_FOLDER = "TIFF16"
"""Folder that marks a case; the Shimadzu images are in the one folder inside of it."""

_EPOCH = datetime(1970, 1, 1)
_TIFF = (".tif", ".tiff")
_FRAMES_WITHOUT_TIMES = 18
UInt16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class ExperimentCase:
    """A case whose images are read when they are wanted. Images are as recorded: HR is mirrored.

    Times of both cameras have one zero, because XFusion takes the first Phantom frame that saw
    the event input for the moment of Shimadzu image 1.

    Parameters
    ----------
    path : Path
        The folder.
    name : str
        Its name.
    lr, hr : ImageFolder
        Images of the Shimadzu and of the Phantom.
    lr_time_ns : (n_lr,) float64
        After Shimadzu image 1; empty in a calibration case without .ini file.
    hr_time_ns : (n_hr,) float64
        After the first Phantom frame with event flag; empty in a calibration case without .xml.
    hr_event_flag : (n_hr,) bool
        Frames in which the Phantom saw its event input; empty without .xml.
    lr_interval_ns, hr_interval_ns : float
        From frame to frame as set; 0 when not known.
    recorded : datetime or None
        Zero of the times by the wall clock of the Phantom; None without .xml.
    """

    path: Path
    name: str
    lr: ImageFolder
    hr: ImageFolder
    lr_time_ns: Float64Array
    hr_time_ns: Float64Array
    hr_event_flag: BoolArray
    lr_interval_ns: float
    hr_interval_ns: float
    recorded: datetime | None = None

    @property
    def lr_shape(self) -> tuple[int, int]:
        """Height and width of LR images, px."""
        return self.lr.shape

    @property
    def hr_shape(self) -> tuple[int, int]:
        """Height and width of HR images, px."""
        return self.hr.shape

    @property
    def n_lr(self) -> int:
        """Number of LR images."""
        return len(self.lr)

    @property
    def n_hr(self) -> int:
        """Number of HR images."""
        return len(self.hr)

    def lr_frame(self, k: int) -> UInt16Array:
        """Return LR image `k`, (h, w) uint16 as stored.

        Raises
        ------
        FormatError
            It is damaged, or differs from the first in size or depth.
        """
        return self.lr.pixels(k).astype(np.uint16, copy=False)

    def hr_frame(self, k: int) -> UInt16Array:
        """Return HR image `k`, (H, W) uint16 as stored; raises as `lr_frame`."""
        return self.hr.pixels(k).astype(np.uint16, copy=False)

    def lr_average(self) -> Float32Array:
        """Return the mean of all LR images but the first, which differs, (h, w) float32.

        As XFusion does for calibration; raises as `lr_frame`.
        """
        chosen = range(1, self.n_lr) if self.n_lr > 1 else range(1)
        return _mean(self.lr_frame(k) for k in chosen)

    def hr_average(self) -> Float32Array:
        """Return the mean of the HR images of the burst, (H, W) float32.

        Those with event flag; without times 18 images from ``min(n // 2 + 1, n - 18)`` on, as
        XFusion does. Raises as `lr_frame`.
        """
        if self.hr_event_flag.any():
            chosen: Iterable[int] = np.flatnonzero(self.hr_event_flag).tolist()
        else:
            first = max(0, min(self.n_hr // 2 + 1, self.n_hr - _FRAMES_WITHOUT_TIMES))
            chosen = range(first, min(self.n_hr, first + _FRAMES_WITHOUT_TIMES))
        return _mean(self.hr_frame(k) for k in chosen)


def list_cases(root: Path) -> tuple[Path, ...]:
    """Return the folders of the cases in `root`, in natural order; `root` itself if it is one.

    Parameters
    ----------
    root : Path
        XFusion's ``input_dir``, or one case.

    Raises
    ------
    FormatError
        There is no case.
    """
    if (root / LR_FOLDER).is_dir():
        return (root,)
    found = [path for path in entries(root) if (path / LR_FOLDER).is_dir()]
    if not found:
        raise FormatError(
            f"The folder {root} holds no case: a case is a folder with a folder {LR_FOLDER} in it. "
            f"{UNCHANGED}"
        )
    for path in found:
        refuse_outside(root, path)
    return tuple(sorted(found, key=lambda path: natural_order(path.name)))


def open_case(folder: Path, *, calibration: bool = False) -> ExperimentCase:
    """Look at the files of a case, read its times, and the heads of its first images.

    Parameters
    ----------
    folder : Path
        The case.
    calibration : bool
        Whether it is one of the calibration mesh, which needs neither .ini nor .xml.

    Raises
    ------
    FormatError
        A file or folder is missing, there twice, damaged, or leads out of the case; or images and
        times do not match. The message names it.
    """
    folder = folder.absolute()
    content = entries(folder)
    ini_file = _one(folder, [path for path in content if path.suffix.lower() == ".ini"], ".ini")
    lr_folder = _one(
        folder / LR_FOLDER, [path for path in entries(folder / LR_FOLDER) if path.is_dir()], "/"
    )
    hr_folder = _one(
        folder, [path for path in content if path.is_dir() and path.name != LR_FOLDER], "/"
    )
    if lr_folder is None or hr_folder is None:
        place = folder / LR_FOLDER if lr_folder is None else folder
        camera = "Shimadzu" if lr_folder is None else "Phantom"
        raise FormatError(f"{place} has no folder with the {camera} images. {UNCHANGED}")
    for path in (lr_folder, hr_folder):
        refuse_outside(folder, path)
    xml_files = [path for path in [*content, *entries(hr_folder)] if path.suffix.lower() == ".xml"]
    xml_file = _one(hr_folder, xml_files, ".xml")
    for file in (ini_file, xml_file):
        if file is not None:
            refuse_outside(folder, file)
    if not calibration:
        for camera, suffix, missing in (
            ("Shimadzu", ".ini", ini_file is None),
            ("Phantom", ".xml", xml_file is None),
        ):
            if missing:
                raise FormatError(
                    f"The case {folder} has no {suffix} file with the times of the {camera} "
                    f"images: copy it into the case. {UNCHANGED}"
                )
    lr, hr = _images(folder, lr_folder), _images(folder, hr_folder)
    ini = None if ini_file is None else read_shimadzu_ini(ini_file)
    xml = None if xml_file is None else read_phantom_xml(xml_file)
    for times, images, times_file in ((ini, lr, ini_file), (xml, hr, xml_file)):
        if times is not None and len(times) != len(images):
            raise FormatError(
                f"{times_file} has times of {len(times)} images, but {images.path} holds "
                f"{len(images)}: copy what is missing, or export them again together. {UNCHANGED}"
            )
    return ExperimentCase(
        folder,
        folder.name,
        lr,
        hr,
        np.empty(0) if ini is None else _lr_time_ns(ini),
        np.empty(0) if xml is None else _hr_time_ns(xml, xml_file, calibration),
        np.array([] if xml is None else xml.event_flag, dtype=np.bool_),
        0.0 if ini is None else float(ini.interval_ns),
        0.0 if xml is None else 1e9 / xml.frame_rate_hz,
        None if xml is None else _EPOCH + timedelta(microseconds=_zero_ns(xml) // 1000),
    )


def _lr_time_ns(ini: ShimadzuIni) -> Float64Array:
    return np.array([time - ini.relative_ns[0] for time in ini.relative_ns], dtype=np.float64)


def _hr_time_ns(xml: PhantomXml, file: Path | None, calibration: bool) -> Float64Array:
    if not any(xml.event_flag) and not calibration:
        raise FormatError(
            f"No frame in {file} has the event flag E: without it nothing says when the Shimadzu "
            "recorded. Was its trigger signal connected to the event input of the Phantom? "
            f"{UNCHANGED}"
        )
    # Whole numbers until here: floats since 1970 would be good to 256 ns only.
    zero_ns = _zero_ns(xml)
    return np.array([time - zero_ns for time in xml.time_ns], dtype=np.float64)


def _zero_ns(xml: PhantomXml) -> int:
    return xml.time_ns[xml.event_flag.index(True) if any(xml.event_flag) else 0]


def _one(folder: Path, found: list[Path], kind: str) -> Path | None:
    if len(found) > 1:
        what = "folder" if kind == "/" else f"{kind} file"
        names = ", ".join(ascii(path.name) for path in found[:4])
        raise FormatError(
            f"{folder} has more than one {what} ({names}): leave the one that belongs to the case. "
            f"{UNCHANGED}"
        )
    return found[0] if found else None


def _images(case: Path, folder: Path) -> ImageFolder:
    files = [path for path in entries(folder) if path.suffix.lower() in _TIFF]
    strange = [
        path
        for path in entries(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and path not in files
    ]
    if not files or strange:
        why = f"holds {strange[0].name}" if strange else "holds no TIFF image"
        raise FormatError(
            f"The folder {folder} {why}; cameras' software exports .tif or .tiff. {UNCHANGED}"
        )
    files.sort(key=lambda path: natural_order(path.name))
    for path in files:
        if path.is_symlink():
            refuse_outside(case, path)
    check_numbering([path.stem for path in files], f"The folder {folder}")
    kind = read_format(files[0])
    if kind.bits != 16:
        raise FormatError(
            f"The image {files[0]} has {kind}, not 16: export the images with all their bits. "
            f"{UNCHANGED}"
        )
    return ImageFolder(folder, tuple(files), kind)


def _mean(frames: Iterable[UInt16Array]) -> Float32Array:
    total: Any = np.float64(0)
    number = 0
    for frame in frames:
        total, number = total + frame, number + 1
    mean: Float32Array = np.asarray(total / number, dtype=np.float32)
    return mean
