"""Videos from files: HDF5, TIFF stacks, folders of images, NumPy arrays and films."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
FILMS = {".mp4", ".avi", ".mov", ".mkv"}

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey, ITU-R BT.601."""

_PGM = re.compile(rb"P5\s+(\d+)\s+(\d+)\s+255\s")

Frames = npt.NDArray[np.generic]


class VideoError(ValueError):
    """A file is no video that can be used."""


def read_video(path: Path, first: int | None = None) -> Frames:
    """Read grey frames into memory, in the type of the file.

    Parameters
    ----------
    path : Path
        HDF5 file (data set ``frames``, or the only one with three axes), TIFF stack, ``.npy``
        array, film, or folder of images in the order of their names.
    first : int, optional
        Read only the first so many frames.

    Returns
    -------
    (n, H, W) array

    Raises
    ------
    VideoError
        If the file cannot be read, its frames differ in shape, or there are fewer than three.
    """
    if not path.exists():
        raise VideoError(f"video {path} does not exist; nothing was computed")
    try:
        frames = _read(path, first)
    except VideoError:
        raise
    except Exception as error:  # readers of damaged files raise what they like
        raise VideoError(f"video {path} cannot be read: {error}; nothing was computed") from error
    if frames.ndim != 3 or len(frames) < 3:
        raise VideoError(
            f"video {path} must hold at least 3 grey frames, found an array of {frames.shape}"
        )
    return frames


def fingerprint(frames: Frames | Sequence[npt.ArrayLike]) -> str:
    """Tell one video from another: the beginning of a hash over its length and some frames."""
    digest = hashlib.sha256(f"{len(frames)} {np.shape(frames[0])}".encode())
    for k in sorted({0, len(frames) // 2, len(frames) - 1}):
        digest.update(np.ascontiguousarray(frames[k]).tobytes())
    return digest.hexdigest()[:12]


def _read(path: Path, first: int | None) -> Frames:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _stack(path, _images(path, first))
    if suffix in {".h5", ".hdf5", ".hdf", ".nxs"}:
        return _hdf5(path, first)
    if suffix in {".tif", ".tiff"}:
        import tifffile

        with tifffile.TiffFile(path) as file:
            stack = file.asarray(key=slice(0, first)) if len(file.pages) > 1 else file.asarray()
        return _grey_stack(stack)[:first]
    if suffix == ".npy":
        return _grey_stack(np.load(path, mmap_mode="r", allow_pickle=False)[:first])
    if suffix in FILMS:
        return _stack(path, _film(path, first))
    raise VideoError(
        f"video {path} is of no known kind; known are HDF5, TIFF, .npy, a folder of images, and "
        f"{', '.join(sorted(FILMS))}"
    )


def _hdf5(path: Path, first: int | None) -> Frames:
    with h5py.File(path, "r") as file:
        stacks: dict[str, h5py.Dataset] = {}

        def collect(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim == 3:
                stacks[name] = item

        file.visititems(collect)
        if "frames" in stacks:
            chosen = stacks["frames"]
        elif len(stacks) == 1:
            chosen = next(iter(stacks.values()))
        else:
            found = ", ".join(sorted(stacks)) or "none"
            raise VideoError(
                f"{path} needs one data set of three axes or one named 'frames'; found: {found}"
            )
        return np.asarray(chosen[:first])


def _images(folder: Path, first: int | None) -> Iterator[Frames]:
    from imageio.v3 import imread

    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGES and not file.name.startswith(".")
    )
    for file in files[:first]:
        yield _grey(np.asarray(imread(file)))


def _film(path: Path, first: int | None) -> Iterator[Frames]:
    import imageio_ffmpeg

    count = [] if first is None else ["-frames:v", str(first)]
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    images = ["-f", "image2pipe", "-c:v", "pgm", "-pix_fmt", "gray", "-"]
    done = subprocess.run(
        [*program, "-i", str(path), *count, *images], capture_output=True, check=False
    )
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())
        raise VideoError(f"film {path} cannot be decoded: {words}; nothing was computed")
    place = 0
    while header := _PGM.match(done.stdout, place):
        width, height = int(header[1]), int(header[2])
        yield np.frombuffer(
            done.stdout, dtype=np.uint8, count=width * height, offset=header.end()
        ).reshape(height, width)
        place = header.end() + width * height


def _stack(path: Path, frames: Iterator[Frames]) -> Frames:
    kept: list[Frames] = []
    for k, frame in enumerate(frames):
        if kept and frame.shape != kept[0].shape:
            raise VideoError(
                f"frame {k} of {path} has shape {frame.shape}, frame 0 has {kept[0].shape}"
            )
        kept.append(frame)
    return np.stack(kept) if kept else np.empty((0, 0, 0), dtype=np.uint8)


def _grey_stack(stack: Frames) -> Frames:
    colour = stack.ndim == 4 and stack.shape[-1] in (3, 4)
    return np.stack([_grey(frame) for frame in stack]) if colour else stack


def _grey(image: Frames) -> Frames:
    if image.ndim == 2:
        return image
    if image.ndim == 3 and image.shape[-1] in (3, 4):
        return (image[..., :3].astype(np.float32) @ _LUMA).astype(image.dtype)
    raise VideoError(f"an image of shape {image.shape} is neither grey nor colour")
