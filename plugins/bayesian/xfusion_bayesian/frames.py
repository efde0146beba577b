"""What both backends say in a fused frame: attention, and a frame that cannot be made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xfusion_bluesky.backends.contract import FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence, Neighbours

__all__ = ["attention", "masked_frame"]


def attention(near: Neighbours, shares: Sequence[float]) -> tuple[float, float, float]:
    """Return the shares of the HR frame before, the one after, and neither.

    Parameters
    ----------
    near : Neighbours
        HR frames used.
    shares : sequence of float
        One for each of them, in the order of time; at most 1 in sum.
    """
    before = shares[0] if near.before is not None else 0.0
    after = shares[-1] if near.after is not None else 0.0
    return before, after, max(0.0, 1 - before - after)


def masked_frame(sequence: DualSequence, target: int) -> FusedFrame:
    """Return the all-NaN frame that the contract asks for."""
    nothing = np.full(sequence.shape, np.nan, dtype=np.float32)
    diagnostics = {"tau": sequence.tau(target), "masked": 1.0}
    return FusedFrame(target, nothing, diagnostics=diagnostics)
