"""Grey images of 8 or 16 bits in files, as floats from 0 (black) to 1 (white)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFormat",
    "Pixels",
    "read_format",
    "read_image",
    "read_pixels",
    "write_image",
    "write_tiff",
]

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
"""Of files that are taken for images."""

_KINDS = "PNG, TIFF, JPEG and BMP images, grey, of 8 or 16 bits"
_GREY_BITS = {"L": 8, "I;16": 16, "I;16B": 16, "I;16L": 16}
_COLOUR = ("RGB", "RGBA", "LA", "P")
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True)
class ImageFormat:
    """What the images of a sequence have in common.

    Parameters
    ----------
    shape : (int, int)
        Height and width, px.
    bits : int
        8 or 16; white is ``2**bits - 1``.
    """

    shape: tuple[int, int]
    bits: int

    @property
    def white(self) -> int:
        """Largest pixel value."""
        return (1 << self.bits) - 1

    def __str__(self) -> str:
        return f"{self.shape[1]} x {self.shape[0]} px of {self.bits} bits"


def read_format(path: Path) -> ImageFormat:
    """Return size and depth of an image; its pixels are not read.

    Raises
    ------
    FormatError
        As for `read_image`.
    """
    with _opened(path) as image:
        return _format(path, image)


def read_image(path: Path) -> tuple[Float32Array, ImageFormat]:
    """Read a grey image; a colour image will do if all its channels are equal.

    Parameters
    ----------
    path : Path
        Image file.

    Returns
    -------
    image : (H, W) float32
        Pixels over white, in [0, 1].
    format : ImageFormat
        Of the file.

    Raises
    ------
    FormatError
        It is no image, damaged, or of another kind.
    """
    pixels, kind = read_pixels(path)
    return pixels.astype(np.float32) * np.float32(1 / kind.white), kind


def read_pixels(path: Path) -> tuple[Pixels, ImageFormat]:
    """Read a grey image as it is stored; a colour image will do if all its channels are equal.

    Parameters
    ----------
    path : Path
        Image file.

    Returns
    -------
    pixels : (H, W) uint8 or uint16
        In the byte order of this computer.
    format : ImageFormat
        Of the file.

    Raises
    ------
    FormatError
        As for `read_image`.
    """
    with _opened(path) as image:
        kind = _format(path, image)
        try:
            pixels = np.asarray(image.convert("RGB") if image.mode in _COLOUR else image)
        except Exception as error:  # readers of damaged files raise what they like
            raise _unreadable(path, error) from error
    if pixels.ndim == 3:
        if not (pixels == pixels[..., :1]).all():
            raise FormatError(
                f"The image {path} is in colour, its channels differ: convert it to grey. Nothing "
                "was changed."
            )
        pixels = pixels[..., 0]
    if kind.bits == 8:
        return pixels.astype(np.uint8, copy=False), kind
    return pixels.astype(np.uint16, copy=False), kind


def write_image(path: Path, image: Float32Array, bits: int) -> None:
    """Write a grey PNG file; it gets its name when it is complete.

    Parameters
    ----------
    path : Path
        The file; one that exists is replaced.
    image : (H, W) float32
        Clipped to [0, 1] and rounded half to even.
    bits : int
        8 or 16.

    Raises
    ------
    OSError
        The disk is full, or fails otherwise; no file is left.
    """
    white = ImageFormat((0, 0), bits).white
    scaled = np.rint(np.clip(image, 0, 1).astype(np.float64) * white)
    pixels: npt.NDArray[Any] = scaled.astype(np.uint8 if bits == 8 else np.uint16)
    draft = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(pixels).save(draft, format="png")
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_tiff(path: Path, pixels: npt.NDArray[np.uint16]) -> None:
    """Write a grey TIFF file of 16 bits, as cameras' software does.

    Parameters
    ----------
    path : Path
        The file; one that exists is replaced.
    pixels : (H, W) uint16
        Stored as they are.

    Raises
    ------
    OSError
        The disk is full, or fails otherwise.
    """
    Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint16)).save(path, format="tiff")


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except Exception as error:  # readers of damaged files raise what they like
        raise _unreadable(path, error) from error


def _format(path: Path, image: Image.Image) -> ImageFormat:
    if image.width * image.height > _MOST_PIXELS:
        raise FormatError(
            f"The image {path} has {image.width} x {image.height} px, more than any camera here: "
            "it is damaged, or no frame. Nothing was changed."
        )
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception as error:  # readers of damaged files raise what they like
        raise _unreadable(path, error) from error
    if frames != 1:
        raise FormatError(
            f"The file {path} holds more than one image: write each into a file of its own. "
            "Nothing was changed."
        )
    bits = 8 if image.mode in _COLOUR else _GREY_BITS.get(image.mode)
    if bits is None:
        raise FormatError(
            f"The image {path} has pixels of kind {image.mode!r}; known are {_KINDS}. Convert it. "
            "Nothing was changed."
        )
    return ImageFormat((image.height, image.width), bits)


def _unreadable(path: Path, error: Exception) -> FormatError:
    words = " ".join(str(error).replace(str(path), "").split())
    return FormatError(
        f"The image {path} cannot be read ({type(error).__name__}: {words}): it is damaged, or no "
        f"image; known are {_KINDS}. Copy it again or take it out. Nothing was changed."
    )
