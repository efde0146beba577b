"""What a network makes of a window of frames."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Fused"]


@dataclass(frozen=True, eq=False)
class Fused:
    """Images, and attention where the network has one.

    Parameters
    ----------
    image : (n, channels, 4 h, 4 w)
        Fused; not clipped.
    scores : (n, frames), optional
        Raw attention score of each frame of the window, in the network's order.
    shares : (n, frames), optional
        Share of each frame, sum 1.
    """

    image: Tensor
    scores: Tensor | None = None
    shares: Tensor | None = None
