"""The HR frames a target is estimated from, and the LR frames taken at the same times."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence, Neighbours, NoHRFrameError

__all__ = ["Anchor", "Anchors", "intensity_unit", "require_hr"]

_SAME_TIME = 0.25
_KEPT = 6
_PERCENTILES = (0.35, 99.65)


@dataclass(frozen=True, eq=False)
class Anchor:
    """One HR frame with what belongs to it.

    Parameters
    ----------
    index : int
        HR frame.
    image : (H, W) float32
        The frame on the fused grid.
    mask : (H, W) bool
        True = seen by the HR camera.
    binned : (h, w) float32
        Its block mean.
    lr_index : int or None
        Usable LR frame taken at the same time, within a quarter of the LR interval.
    """

    index: int
    image: Float32Array
    mask: BoolArray
    binned: Float32Array
    lr_index: int | None


class Anchors:
    """The anchors of a sequence, each made once while it stays among the last few used."""

    def __init__(self, sequence: DualSequence) -> None:
        self._sequence = sequence
        self._kept: OrderedDict[int, Anchor] = OrderedDict()

    def get(self, j: int) -> Anchor:
        """Return the anchor of HR frame `j`."""
        if j not in self._kept:
            self._kept[j] = self._make(j)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(j)
        return self._kept[j]

    def of(self, near: Neighbours) -> tuple[Anchor, ...]:
        """Return the anchors of one or two HR frames, in the order of time."""
        return tuple(self.get(j) for j in (near.before, near.after) if j is not None)

    def paired(self, near: Neighbours) -> tuple[Anchor, ...]:
        """Return those of the HR frames that have an LR frame of their time.

        When neither has, the nearest HR frame that does stands in: gain and noise belong to the
        camera, not to the moment. Empty when no HR frame of the sequence does.
        """
        own = tuple(anchor for anchor in self.of(near) if anchor.lr_index is not None)
        if own:
            return own
        here = near.before if near.before is not None else near.after
        usable = [int(j) for j in np.flatnonzero(self._sequence.hr_valid)]
        for j in sorted(usable, key=lambda j: abs(j - (here or 0))):
            if self._partner(j) is not None:
                return (self.get(j),)
        return ()

    def _make(self, j: int) -> Anchor:
        image = self._sequence.hr(j)
        return Anchor(
            index=j,
            image=image,
            mask=self._sequence.hr_mask(j),
            binned=block_mean(image),
            lr_index=self._partner(j),
        )

    def _partner(self, j: int) -> int | None:
        time_ns, times = float(self._sequence.hr_time_ns[j]), self._sequence.lr_time_ns
        nearest = int(np.argmin(np.abs(times - time_ns)))
        interval_ns = self._sequence.lr_interval_ns
        allowed_ns = 0.0 if math.isnan(interval_ns) else _SAME_TIME * interval_ns
        if abs(float(times[nearest]) - time_ns) > allowed_ns:
            return None
        return nearest if self._sequence.lr_mask(nearest).any() else None


def intensity_unit(anchors: Sequence[Anchor]) -> float:
    """Range of intensities that the floors of variances refer to, in the units of the sequence.

    Parameters
    ----------
    anchors : sequence of Anchor
        Of one interval; at least one.

    Returns
    -------
    float
        Between the percentiles 0.35 and 99.65 of the binned frames; of a constant scene its
        level, of an empty one 1.
    """
    values = np.concatenate([anchor.binned.ravel() for anchor in anchors])
    low, high = np.percentile(values, _PERCENTILES)
    level = float(np.abs(values).max())
    spread = float(high - low)
    if spread > 1e-4 * level:
        return spread
    return level if level > 0 else 1.0


def require_hr(backend: str, sequence: DualSequence) -> None:
    """Refuse a sequence without a valid HR frame.

    Raises
    ------
    NoHRFrameError
        If there is none.
    """
    if not sequence.hr_valid.any():
        raise NoHRFrameError(
            f"backend {backend!r} needs at least one valid HR frame; none of the {sequence.n_hr} "
            f"of this sequence is valid: use 'bicubic', which needs none"
        )
