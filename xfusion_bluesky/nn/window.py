"""What a network that fuses windows of frames offers, and which frames a window holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.nn.alignment import FrameFeatures
from xfusion_bluesky.nn.fused import Fused

__all__ = ["Window", "WindowNetwork", "window_of"]


class WindowNetwork(Protocol):
    """A network in two parts: features of single frames, and their fusion.

    Attributes
    ----------
    lr_frames, hr_frames : int
        In a window; HR frames are 2 or 0.
    multiple_px : int
        Height and width of LR frames have to be multiples of this.
    tile_multiple_px : int
        Tiles of a frame have to begin at multiples of this.
    bytes_per_px : float
        About the memory taken for an LR pixel.
    """

    lr_frames: int
    hr_frames: int
    multiple_px: int
    tile_multiple_px: int
    bytes_per_px: float

    def lr_features(self, image: Tensor) -> FrameFeatures:
        """Return the features of LR frames (n, 1, h, w)."""

    def hr_features(self, image: Tensor) -> FrameFeatures:
        """Return the features of HR frames (n, 1, 4 h, 4 w)."""

    def fuse(self, frames: list[FrameFeatures], target: Tensor) -> Fused:
        """Fuse LR frames in the order of time, then the HR frames before and after.

        `target` is the LR frame in the middle, (n, 1, h, w).
        """


@dataclass(frozen=True)
class Window:
    """Frames from which a target is made.

    Parameters
    ----------
    target : int
        LR frame.
    lr : tuple of int
        LR frames around it.
    hr : tuple of int
        HR frame before and after; the same one twice where there is only one; empty for a network
        without HR frames.
    has_before, has_after : bool
        Whether there is an HR frame on that side.
    """

    target: int
    lr: tuple[int, ...]
    hr: tuple[int, ...]
    has_before: bool
    has_after: bool


def window_of(sequence: DualSequence, target: int, lr_frames: int, hr_frames: int) -> Window:
    """Return the window of a target.

    Beyond the ends of the sequence, and where an LR frame is not usable, the LR frame nearest to
    that place on the way to the target stands in.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    target : int
        LR frame.
    lr_frames, hr_frames : int
        As for `WindowNetwork`.
    """
    half = lr_frames // 2
    before, after = [target], [target]
    for step in range(1, half + 1):
        for side, place in ((before, target - step), (after, target + step)):
            usable = 0 <= place < sequence.n_lr and bool(sequence.lr_valid[place])
            side.append(place if usable and sequence.lr_mask(place).any() else side[-1])
    lr = (*reversed(before[1:]), target, *after[1:])
    near = sequence.neighbours(target)
    first = near.after if near.before is None else near.before
    last = near.before if near.after is None else near.after
    hr = () if hr_frames == 0 or first is None or last is None else (first, last)
    return Window(target, lr, hr, near.before is not None, near.after is not None)
