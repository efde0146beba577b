"""What an inference works on: sequences in files, and which of their frames are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.normalisation import Normalisation
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.inference.frames import FramePass

__all__ = ["FrameSet"]


class FrameSet(Protocol):
    """LR and HR images in files, with the rule that says which frames a backend makes of them.

    LR frames are named by their number, from 0.
    """

    @property
    def path(self) -> Path:
        """Folder of the images."""

    @property
    def title(self) -> str:
        """Name of the results."""

    @property
    def score_file(self) -> str:
        """Name of the file with all scores."""

    @property
    def bits(self) -> int:
        """Bits of HR images, and so of results: 8 or 16."""

    @property
    def image_count(self) -> int:
        """How many images `check` reads."""

    @property
    def limits(self) -> Normalisation:
        """Intensities that become 0 and 1 in scores."""

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked for and found, for the file of settings; JSON values."""

    def passes(self) -> tuple[FramePass, ...]:
        """Return the runs of the backend that together make every target once.

        Raises
        ------
        ValueError
            There is nothing to make.
        """

    def sequence(self, frames: FramePass) -> DualSequence:
        """Return what a backend gets in a run; images are read when they are wanted."""

    def truth(self, number: int) -> Float32Array | None:
        """Return what the frame of an LR image should be, (H, W); None where nobody knows."""

    def stem(self, number: int) -> str:
        """Return the name of an LR image without suffix."""

    def is_given(self, number: int, frames: FramePass) -> bool:
        """Whether one of the HR images of a run is itself what an LR frame should become."""

    def check(self, on_image: Callable[[], object]) -> None:
        """Read every image once.

        Raises
        ------
        FormatError
            One is damaged, or differs from the others.
        """
