"""Which frames of a virtual experiment a backend gets, and which it has to make.

XFusion's rule for N images of each camera, numbered from 0, and HR images every D frames: target t
gets the HR images ``D floor(t / D)`` and ``min(N - 1, D floor(t / D) + D)``, and the LR images
``t - s``, ``t`` and ``t + s``. Frame 0 is no target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FramePass", "Mode", "frame_passes"]


class Mode(StrEnum):
    """How a sequence is gone through."""

    CONTINUOUS = "continuous"
    """Every LR frame but the first is a target, between the HR frames around it."""
    DOUBLE = "double"
    """Every HR frame is a target, between the HR frames before and after it; it is left out."""


@dataclass(frozen=True)
class FramePass:
    """One run of the backend; all numbers are places in the folders, from 0.

    Parameters
    ----------
    lr, hr : tuple of int
        Frames that the backend gets.
    targets : tuple of int
        Frames it makes, each of them in `lr`.
    """

    lr: tuple[int, ...]
    hr: tuple[int, ...]
    targets: tuple[int, ...]


def frame_passes(
    n: int, mode: Mode, lr_separation: int, hr_separation: int
) -> tuple[FramePass, ...]:
    """Return the runs that together make every target once.

    With LR frames `lr_separation` = s apart there are s runs, one for each remainder of t / s: then
    the LR frames next to t are t - s and t + s.

    Parameters
    ----------
    n : int
        Images of each camera.
    mode : Mode
        How they are gone through.
    lr_separation : int
        s, 1 to 3.
    hr_separation : int
        D, 2 to n - 1; the last image is always an HR frame, as XFusion's rule for targets after
        the last multiple of D needs it.

    Raises
    ------
    ValueError
        A number is out of range, or `double` finds fewer than three HR frames.
    """
    if n < 3:
        raise ValueError(f"a virtual experiment needs at least 3 images of each camera, found {n}")
    if not 1 <= lr_separation <= 3:
        raise ValueError(f"the LR separation must be 1, 2 or 3, got {lr_separation}")
    if not 2 <= hr_separation <= n - 1:
        raise ValueError(
            f"the HR separation must be 2 to {n - 1} for {n} images, got {hr_separation}; "
            f"{n - 1} keeps the first and the last one"
        )
    hr = tuple(sorted({*range(0, n, hr_separation), n - 1}))
    if mode is Mode.DOUBLE and len(hr) < 3:
        raise ValueError(
            f"mode 'double' needs at least 3 HR frames, a separation of {hr_separation} leaves "
            f"{len(hr)} of {n} images"
        )
    passes = _double if mode is Mode.DOUBLE else _continuous
    return tuple(each for each in passes(n, hr, lr_separation) if each.targets)


def _continuous(n: int, hr: tuple[int, ...], separation: int) -> Iterator[FramePass]:
    for phase in range(separation):
        lr = tuple(range(phase, n, separation))
        yield FramePass(lr, hr, tuple(frame for frame in lr if frame > 0))


def _double(n: int, hr: tuple[int, ...], separation: int) -> Iterator[FramePass]:
    for parity in (0, 1):
        for phase in range(separation):
            held = tuple(frame for frame in hr[parity::2] if frame % separation == phase)
            yield FramePass(tuple(range(phase, n, separation)), hr[1 - parity :: 2], held)
