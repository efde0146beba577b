"""XFusion's folder of a virtual experiment: ``LR`` and ``HR``, images of the same moments."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.image_folder import ImageFolder
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.normalisation import UNIT, Normalisation
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.inference.frames import FramePass, Mode, frame_passes

__all__ = ["VirtualFrames", "VirtualSet"]

_LEVEL = re.compile(r"_b0_([0-9]+(?:\.[0-9]+)?)$")
_FRAME_INTERVAL_NS = 20_000.0
"""The folders do not tell; only ratios of times matter here."""


@dataclass(frozen=True)
class VirtualSet:
    """As many LR as HR images, the HR images four times as high and wide.

    Parameters
    ----------
    folder : Path
        Holds ``LR`` and ``HR``.
    lr, hr : ImageFolder
        They.
    """

    folder: Path
    lr: ImageFolder
    hr: ImageFolder

    @classmethod
    def open(cls, folder: Path) -> VirtualSet:
        """Look at the folders; only the first image of each is opened.

        Raises
        ------
        FormatError
            A folder is missing or no sequence of images, or the two do not fit.
        """
        for path in (folder, folder / "LR", folder / "HR"):
            if not path.is_dir():
                raise FormatError(f"There is no folder {path}{_hint(folder)}. Nothing was changed.")
        lr, hr = ImageFolder.open(folder / "LR"), ImageFolder.open(folder / "HR")
        if len(lr) != len(hr):
            raise FormatError(
                f"{lr.path} holds {len(lr)} images and {hr.path} {len(hr)}: every LR image needs "
                "the HR image of its moment. Nothing was changed."
            )
        if hr.shape != (SCALE * lr.shape[0], SCALE * lr.shape[1]):
            raise FormatError(
                f"{lr.files[0]} has {lr.format} and {hr.files[0]} {hr.format}: HR images must be "
                f"{SCALE} times as wide and high as LR images. Nothing was changed."
            )
        return cls(folder, lr, hr)

    def __len__(self) -> int:
        return len(self.lr)

    @property
    def noise_level(self) -> str:
        """The ``n`` of a folder ``<name>_b0_<n>``, ``"0"`` where the name does not say."""
        found = _LEVEL.search(self.folder.resolve().name)
        return found[1] if found else "0"

    def check(self, on_image: Callable[[], object] = lambda: None) -> None:
        """Read every image once; see `ImageFolder.check`."""
        self.lr.check(on_image)
        self.hr.check(on_image)

    def sequence(
        self, frames: FramePass, blank_photons: float | None = None, seed: int = 0
    ) -> DualSequence:
        """Return what a backend gets; images are read when they are wanted.

        Parameters
        ----------
        frames : FramePass
            Which.
        blank_photons : float, optional
            b0: photon noise is added to the LR images, clipped to [0, 1] as XFusion does. Without
            it the noise model is the noise-free one, although there may be noise in the files.
        seed : int
            Of the noise; that of a frame depends on seed and frame alone.
        """
        photons = blank_photons
        return DualSequence(
            _Images(self.lr, frames.lr, photons, seed),
            _Images(self.hr, frames.hr, None, seed),
            _FRAME_INTERVAL_NS * np.array(frames.lr),
            _FRAME_INTERVAL_NS * np.array(frames.hr),
            noise=NoiseModel() if photons is None else NoiseModel.from_blank_photons(photons),
        )


@dataclass(frozen=True)
class VirtualFrames:
    """A virtual experiment and what is made of it (a FrameSet).

    Parameters
    ----------
    images : VirtualSet
        The folders.
    title : str
        Name of the results.
    mode, lr_separation, hr_separation
        As for `frames.frame_passes`.
    blank_photons, seed
        As for `VirtualSet.sequence`.
    """

    images: VirtualSet
    title: str
    mode: Mode
    lr_separation: int
    hr_separation: int
    blank_photons: float | None
    seed: int

    @property
    def path(self) -> Path:
        """Folder of the set."""
        return self.images.folder

    @property
    def score_file(self) -> str:
        """Name of the file with all scores, as XFusion has it."""
        return f"error_{self.title}.csv"

    @property
    def bits(self) -> int:
        """Bits of HR images."""
        return self.images.hr.format.bits

    @property
    def image_count(self) -> int:
        """How many images `check` reads."""
        return 2 * len(self.images)

    @property
    def limits(self) -> Normalisation:
        """White is 1."""
        return UNIT

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked for and found."""
        return {
            "set": str(self.path.resolve()),
            "images": len(self.images),
            "lr": str(self.images.lr.format),
            "hr": str(self.images.hr.format),
            "mode": str(self.mode),
            "lr_separation": self.lr_separation,
            "hr_separation": self.hr_separation,
            "blank_photons": self.blank_photons,
            "seed": self.seed,
        }

    def passes(self) -> tuple[FramePass, ...]:
        """Return the runs of the backend; see `frames.frame_passes`."""
        return frame_passes(len(self.images), self.mode, self.lr_separation, self.hr_separation)

    def sequence(self, frames: FramePass) -> DualSequence:
        """Return what a backend gets in a run."""
        return self.images.sequence(frames, self.blank_photons, self.seed)

    def truth(self, number: int) -> Float32Array:
        """Return the HR image of the moment."""
        return self.images.hr.frame(number)

    def stem(self, number: int) -> str:
        """Return the name of an LR image without suffix."""
        return self.images.lr.files[number].stem

    def is_given(self, number: int, frames: FramePass) -> bool:
        """Whether the HR image of the moment is among those of a run."""
        return number in frames.hr

    def check(self, on_image: Callable[[], object]) -> None:
        """Read every image once; see `ImageFolder.check`."""
        self.images.check(on_image)


@dataclass(frozen=True, eq=False)
class _Images:
    """Some images of a folder, as a FrameSource."""

    folder: ImageFolder
    chosen: tuple[int, ...]
    photons: float | None
    seed: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.folder.shape

    def __len__(self) -> int:
        return len(self.chosen)

    def frame(self, k: int) -> Float32Array:
        number = self.chosen[k]
        clean = self.folder.frame(number)
        if self.photons is None:
            return clean
        rng = np.random.default_rng((self.seed, number))
        return np.minimum(poisson(clean, self.photons, rng), np.float32(1))

    def mask(self, k: int) -> BoolArray:
        return np.ones(self.shape, dtype=np.bool_)


def _hint(folder: Path) -> str:
    """Name the set where the folder around it was given, as happens after unzipping."""
    if folder.is_dir():
        inside = sorted(each for each in folder.glob("*/LR") if (each.parent / "HR").is_dir())
        if inside:
            return f"; did you mean {inside[0].parent}?"
    return ": a set is a folder with the folders LR and HR in it"
