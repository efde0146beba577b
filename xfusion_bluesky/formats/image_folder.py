"""A folder of images as the frames of a camera, read when they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.images import (
    IMAGE_SUFFIXES,
    ImageFormat,
    Pixels,
    read_format,
    read_image,
    read_pixels,
)
from xfusion_bluesky.formats.numbering import check_numbering, natural_order
from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["ImageFolder"]


@dataclass(frozen=True)
class ImageFolder:
    """Images of one size and depth, in the order of their names.

    Hidden files and folders in it are left alone.

    Parameters
    ----------
    path : Path
        The folder.
    files : tuple of Path
        Its images, in order.
    format : ImageFormat
        Of each image.
    """

    path: Path
    files: tuple[Path, ...]
    format: ImageFormat

    @classmethod
    def open(cls, path: Path) -> ImageFolder:
        """Look at the names in a folder, and at its first image.

        Raises
        ------
        FormatError
            There is no such folder, no image in it, a file that is none, or a number is missing.
        """
        try:
            found = [file for file in path.iterdir() if not file.name.startswith(".")]
            files = sorted(
                (file for file in found if not file.is_dir()),
                key=lambda file: natural_order(file.name),
            )
        except OSError as error:
            raise FormatError(
                f"The folder {path} cannot be read: {error.strerror}. Nothing was changed."
            ) from error
        if not files:
            raise FormatError(f"The folder {path} holds no image. Nothing was changed.")
        for file in files:
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                known = ", ".join(sorted(IMAGE_SUFFIXES))
                raise FormatError(
                    f"{file} is no image ({known}): take it out of the folder. Nothing was changed."
                )
        check_numbering([file.stem for file in files], f"The folder {path}")
        return cls(path, tuple(files), read_format(files[0]))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every image, px."""
        return self.format.shape

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, k: int) -> Float32Array:
        return self.frame(k)

    def frame(self, k: int) -> Float32Array:
        """Return image `k`, (H, W) float32 in [0, 1].

        Raises
        ------
        FormatError
            It cannot be read, or differs from the first in size or depth.
        """
        frame, kind = read_image(self.files[k])
        self._check_alike(k, kind)
        return frame

    def pixels(self, k: int) -> Pixels:
        """Return image `k` as it is stored, (H, W) uint8 or uint16.

        Raises
        ------
        FormatError
            As for `frame`.
        """
        pixels, kind = read_pixels(self.files[k])
        self._check_alike(k, kind)
        return pixels

    def _check_alike(self, k: int, kind: ImageFormat) -> None:
        if kind != self.format:
            raise FormatError(
                f"The image {self.files[k]} has {kind}, but {self.files[0].name} has "
                f"{self.format}: all images of a folder must be alike. Nothing was changed."
            )

    def check(self, on_image: Callable[[], object] = lambda: None) -> None:
        """Read every image once: a damaged one shall be found before work begins.

        Parameters
        ----------
        on_image : callable
            Called after each image.

        Raises
        ------
        FormatError
            As for `frame`.
        """
        for k in range(len(self)):
            self.frame(k)
            on_image()
