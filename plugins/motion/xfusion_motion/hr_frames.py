"""HR frames with what all targets want to know of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.backends.kept import LastUsed
from xfusion_bluesky.fusion.arrays import BoolArray
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.interval import Image
from xfusion_motion.noise_floor import HRNoise
from xfusion_motion.resampling import upsample_cubic

__all__ = ["HRFrame", "HRFrames"]

_KEPT = 10
_SAMPLED_PAIRS = 3
_PERCENTILES = (0.5, 99.5)
_MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class HRFrame:
    """One HR frame, split into what the LR grid carries and the rest.

    Parameters
    ----------
    image : (H, W) float32
        The frame, x.
    binned : (h, w) float32
        Hx.
    detail : (H, W) float32
        ``x - U3 H x``.
    usable : (h, w) bool, or None
        LR pixels with only usable HR pixels; None when all are.
    """

    image: Image
    binned: Image
    detail: Image
    usable: BoolArray | None


class HRFrames:
    """The valid HR frames of a sequence, made when wanted and kept while in use.

    Parameters
    ----------
    sequence : DualSequence
        With at least one valid HR frame.

    Attributes
    ----------
    valid : list of int
        Indices of the valid HR frames.
    sampled : list of int
        Up to three pairs of neighbours spread over the sequence.
    noise : HRNoise
        Measured on those.
    low, high : float
        Range of intensities with a margin; high > low.
    """

    def __init__(self, sequence: DualSequence) -> None:
        self._sequence = sequence
        self._kept: LastUsed[int, HRFrame] = LastUsed(self._make, _KEPT)
        self.valid: list[int] = np.flatnonzero(sequence.hr_valid).tolist()
        self.sampled = self._sampled()
        sampled = [self._kept.get(j) for j in self.sampled]
        self.noise = HRNoise.measure([f.image for f in sampled], [f.detail for f in sampled])
        limits = np.array([np.percentile(frame.binned, _PERCENTILES) for frame in sampled])
        low, high = float(limits[:, 0].min()), float(limits[:, 1].max())
        # A constant scene has no range of its own; any will do that its level fits in.
        margin = _MARGIN * (high - low) or max(abs(high), 1.0)
        self.low, self.high = low - margin, high + margin

    @property
    def tiny(self) -> np.float32:
        """A variance too small to matter: that of 1/30000 of the range."""
        return np.float32(1e-9 * (self.high - self.low) ** 2)

    def get(self, j: int) -> HRFrame:
        """Return HR frame `j`."""
        return self._kept.get(j)

    def nearest(self, time_ns: float, n: int) -> list[int]:
        """Return the `n` valid HR frames nearest in time, the nearest first."""
        time = self._sequence.hr_time_ns
        return sorted(self.valid, key=lambda j: (abs(float(time[j]) - time_ns), j))[:n]

    def coincident(self, i: int) -> int | None:
        """Return the valid HR frame taken at the very time of LR frame `i`, if there is one."""
        before = self._sequence.neighbours(i).before
        if before is None:
            return None
        same = self._sequence.hr_time_ns[before] == self._sequence.lr_time_ns[i]
        return before if same else None

    def _sampled(self) -> list[int]:
        """Up to three pairs of neighbours, in the order of time."""
        last = len(self.valid) - 1
        if last < 2 * _SAMPLED_PAIRS:
            return self.valid
        starts = np.linspace(0, last - 1, _SAMPLED_PAIRS).astype(int)
        return [self.valid[k] for start in starts for k in (start, start + 1)]

    def _make(self, j: int) -> HRFrame:
        image, mask = self._sequence.hr(j), self._sequence.hr_mask(j)
        binned = block_mean(image)
        usable = None if mask.all() else block_mean(mask) == 1
        return HRFrame(image, binned, image - upsample_cubic(binned), usable)
