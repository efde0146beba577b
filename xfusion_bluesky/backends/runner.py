"""Run a backend and hold every frame it gives against the contract."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from xfusion_bluesky.backends.contract import Backend, BackendInfo, FusedFrame
from xfusion_bluesky.fusion.operators import upsample_nearest
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["ContractViolation", "TimedFrame", "checked_frames"]

_ATTENTION_TOLERANCE = 1e-3


class ContractViolation(RuntimeError):
    """A backend gave something the contract does not allow.

    Parameters
    ----------
    backend : str
        Id of the backend.
    target : int or None
        LR frame it was working on; None when it is about the whole run.
    expected, got : str
        What the contract says, and what came.
    """

    def __init__(self, backend: str, target: int | None, expected: str, got: str) -> None:
        self.backend, self.target, self.expected, self.got = backend, target, expected, got
        where = "" if target is None else f" at LR frame {target}"
        super().__init__(
            f"backend {backend!r} broke its contract{where}: expected {expected}, got {got}; "
            f"use another backend and tell this one's author; the raw data are untouched"
        )


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A frame that keeps the contract.

    Parameters
    ----------
    frame : FusedFrame
        The frame.
    elapsed_ms : float
        Time the backend took for it, reading of camera frames included; ms.
    """

    frame: FusedFrame
    elapsed_ms: float


def checked_frames(
    backend: Backend, sequence: DualSequence, targets: Sequence[int]
) -> Iterator[TimedFrame]:
    """Yield a backend's frames one by one, each checked and timed.

    Parameters
    ----------
    backend : Backend
        From `Registry.create`.
    sequence : DualSequence
        The burst.
    targets : sequence of int
        LR frame indices.

    Yields
    ------
    TimedFrame
        One for each target, in order.

    Raises
    ------
    ContractViolation
        If a frame is missing, superfluous, out of order, of the wrong shape or dtype, holds
        non-finite pixels where the LR frame is usable, or carries impossible extras.
    IndexError
        If a target is not an LR frame of the sequence.
    Exception
        Whatever the backend raises.
    """
    info = backend.info
    for target in targets:
        if not 0 <= target < sequence.n_lr:
            raise IndexError(f"target {target} is not one of the LR frames 0..{sequence.n_lr - 1}")
    if info.scale != sequence.scale:
        raise ContractViolation(
            info.id, None, f"scale {sequence.scale}", f"a backend of scale {info.scale}"
        )
    begin = time.perf_counter()
    frames = _iterator(info, backend.reconstruct(sequence, targets))
    for target in targets:
        frame = next(frames, None)
        elapsed_ms = 1e3 * (time.perf_counter() - begin)
        if frame is None:
            raise ContractViolation(info.id, target, "a frame for every target", "the end")
        yield TimedFrame(_check(info, sequence, target, frame), elapsed_ms)
        begin = time.perf_counter()
    extra = next(frames, None)
    if extra is not None:
        raise ContractViolation(info.id, None, f"{len(targets)} frames", "more than that")


def _iterator(info: BackendInfo, frames: object) -> Iterator[object]:
    if isinstance(frames, Iterable):
        return iter(frames)
    raise ContractViolation(info.id, None, "an iterator of FusedFrame", type(frames).__name__)


def _check(info: BackendInfo, sequence: DualSequence, target: int, frame: object) -> FusedFrame:
    def fail(expected: str, got: str) -> ContractViolation:
        return ContractViolation(info.id, target, expected, got)

    if not isinstance(frame, FusedFrame):
        raise fail("a FusedFrame", type(frame).__name__)
    if frame.target != target:
        raise fail(f"the frame of target {target}", f"target {frame.target!r}")
    masked = _check_image(info, sequence, frame)
    _check_variance(info, sequence, frame, masked)
    _check_attention(info, frame, masked)
    for key, value in frame.diagnostics.items():
        if not isinstance(key, str) or not isinstance(value, Real | np.number):
            raise fail("diagnostics of names and numbers", f"{key!r}: {value!r}")
    return frame


def _check_image(info: BackendInfo, sequence: DualSequence, frame: FusedFrame) -> bool:
    """Check the image; True when the frame is wholly masked."""
    _check_array(info, sequence, frame.target, "image", frame.image)
    finite = np.isfinite(frame.image)
    if finite.all():
        return False
    needed = upsample_nearest(sequence.lr_mask(frame.target)) > 0
    missing = int(np.count_nonzero(needed & ~finite))
    if missing:
        raise ContractViolation(
            info.id,
            frame.target,
            "finite pixels wherever the LR frame is usable",
            f"{missing} pixels that are not finite",
        )
    return not finite.any()


def _check_variance(
    info: BackendInfo, sequence: DualSequence, frame: FusedFrame, masked: bool
) -> None:
    if frame.variance is None:
        if info.gives_variance and not masked:
            raise ContractViolation(info.id, frame.target, "a variance (gives_variance)", "None")
        return
    _check_array(info, sequence, frame.target, "variance", frame.variance)
    of_image = frame.variance[np.isfinite(frame.image)]
    bad = int(np.count_nonzero(~(of_image >= 0)))
    if bad:
        raise ContractViolation(
            info.id,
            frame.target,
            "a variance >= 0 wherever the image is finite",
            f"{bad} pixels that are negative or NaN",
        )


def _check_attention(info: BackendInfo, frame: FusedFrame, masked: bool) -> None:
    if frame.attention is None:
        if info.gives_attention and not masked:
            raise ContractViolation(info.id, frame.target, "attention (gives_attention)", "None")
        return
    shares = np.asarray(frame.attention, dtype=np.float64)
    in_range = shares.shape == (3,) and bool(
        np.all((shares >= -_ATTENTION_TOLERANCE) & (shares <= 1 + _ATTENTION_TOLERANCE))
    )
    if not in_range or abs(float(shares.sum()) - 1) > _ATTENTION_TOLERANCE:
        raise ContractViolation(
            info.id,
            frame.target,
            "attention on (before, after, neither) in [0, 1] with sum 1",
            f"{frame.attention!r}",
        )


def _check_array(
    info: BackendInfo, sequence: DualSequence, target: int, name: str, array: object
) -> None:
    if not isinstance(array, np.ndarray):
        got = type(array).__name__
    elif array.shape != sequence.shape or array.dtype != np.float32:
        got = f"{array.dtype} of shape {array.shape}"
    else:
        return
    raise ContractViolation(info.id, target, f"{name}: float32 of shape {sequence.shape}", got)
