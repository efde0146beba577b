"""What the interpolating backends share: the line between two HR frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.sequence import DualSequence, NoHRFrameError

__all__ = ["between", "require_hr"]

Image = npt.NDArray[np.float32]


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


def between(before: Image | None, after: Image | None, tau: float) -> Image:
    """Point `tau` on the line from one image to the other; the only one when one is missing.

    Equal images give exactly that image, which ``(1 - tau) a + tau b`` would not.
    """
    if before is None or after is None:
        only = after if before is None else before
        if only is None:
            raise ValueError("an interval needs at least one image")
        return only
    difference = after - before
    difference *= np.float32(tau)
    difference += before
    return difference
