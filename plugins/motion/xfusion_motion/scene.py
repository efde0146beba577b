"""Everything about one sequence that its targets share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.backends.contract import FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.hr_frames import HRFrames
from xfusion_motion.interval import Image
from xfusion_motion.lr_video import LRVideo
from xfusion_motion.optical_flow import FlowSearch, SteadyMotion

__all__ = ["Scene", "masked_frame"]


@dataclass(frozen=True, eq=False)
class Scene:
    """A sequence, and what was found out about it so far.

    Parameters
    ----------
    sequence : DualSequence
        With at least one valid HR frame.
    frames : HRFrames
        Its HR frames.
    search : FlowSearch
        Finds motion.
    steady : SteadyMotion
        Motion seen by the HR frames alone.
    video : LRVideo
        LR frames without noise.
    """

    sequence: DualSequence
    frames: HRFrames
    search: FlowSearch
    steady: SteadyMotion
    video: LRVideo

    @classmethod
    def of(cls, sequence: DualSequence) -> Scene:
        """Look at the first frames of a sequence; the rest is found when it is wanted."""
        frames = HRFrames(sequence)
        search = FlowSearch(frames.low, frames.high)
        steady = SteadyMotion(sequence, frames, search)
        return cls(sequence, frames, search, steady, LRVideo(sequence, frames, steady))

    def flow(self, y: Image, j: int) -> Image:
        """Flow from an estimated LR frame to HR frame `j`, on the grid (2 h, 2 w).

        Both are seen through the LR camera, so that they differ by motion and not by detail.
        """
        return self.search.between_lr(y, self.frames.get(j).binned)


def masked_frame(sequence: DualSequence, target: int) -> FusedFrame:
    """Return the answer where the LR frame has no usable pixel."""
    nothing = np.full(sequence.shape, np.nan, dtype=np.float32)
    return FusedFrame(target, nothing, nothing, diagnostics={"masked": 1.0})
