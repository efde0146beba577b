"""Frames of a sequence as networks want them: in [0, 1], of a size they can take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.normalisation import UNIT, Normalisation
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["INTENSITIES", "NetworkFrames"]

INTENSITIES = ("percentiles", "unit")

_SAMPLED_FRAMES = 16


class NetworkFrames:
    """The frames of a sequence, scaled and padded.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    intensities : str
        ``"percentiles"``: the 0.35th and 99.65th percentile of each camera's frames become 0 and 1,
        as the published networks were trained, and intensities are clipped there. ``"unit"``:
        intensities are in [0, 1] already, as in XFusion's folders.
    multiple_px : int
        Height and width of LR frames become multiples of this, by reflection below and right.

    Attributes
    ----------
    shape : (int, int)
        Of a padded LR frame.
    """

    def __init__(self, sequence: DualSequence, intensities: str, multiple_px: int) -> None:
        self._sequence = sequence
        height, width = sequence.lr_shape
        self._more = (-height % multiple_px, -width % multiple_px)
        self.shape = (height + self._more[0], width + self._more[1])
        if intensities == "unit":
            self._lr_limits = self._hr_limits = UNIT
            return
        self._lr_limits = _limits(sequence.lr, np.flatnonzero(sequence.lr_valid))
        # Without HR frames, images come out on the scale of the LR frames.
        usable = np.flatnonzero(sequence.hr_valid)
        self._hr_limits = _limits(sequence.hr, usable) if usable.size else self._lr_limits

    def lr(self, i: int) -> Tensor:
        """LR frame `i`, (1, 1, h, w)."""
        return _tensor(_padded(self._lr_limits.apply(self._sequence.lr(i)), self._more))

    def hr(self, j: int) -> Tensor:
        """HR frame `j`, (1, 1, 4 h, 4 w)."""
        more = (SCALE * self._more[0], SCALE * self._more[1])
        return _tensor(_padded(self._hr_limits.apply(self._sequence.hr(j)), more))

    def image(self, fused: Tensor, *, of_hr: bool) -> Float32Array:
        """Return a fused (1, 1, 4 h, 4 w) image in the units of the sequence, without padding.

        Parameters
        ----------
        fused : Tensor
            From the network.
        of_hr : bool
            Whether it is on the scale of the HR frames, or of the LR frames.
        """
        height, width = self._sequence.shape
        limits = self._hr_limits if of_hr else self._lr_limits
        image = fused[0, 0, :height, :width].float().cpu().numpy()
        return limits.undo(image)


def _limits(frame: Callable[[int], Float32Array], valid: npt.NDArray[np.integer]) -> Normalisation:
    """Limits of one camera, from frames spread evenly over the sequence."""
    if not valid.size:
        return UNIT
    places = np.linspace(0, valid.size - 1, min(_SAMPLED_FRAMES, valid.size)).astype(int)
    frames = [frame(int(valid[place])) for place in places]
    try:
        return Normalisation.from_percentiles(frames)
    except ValueError:
        # Nothing is to be seen in a constant sequence: any limits do that its level fits between.
        seen = frames[0][np.isfinite(frames[0])]
        level = float(seen[0]) if seen.size else 0.0
        margin = max(abs(level), 1.0)
        return Normalisation(level - margin, level + margin)


def _padded(image: Float32Array, more: tuple[int, int]) -> Float32Array:
    if not any(more):
        return image
    reflects = all(added < side for added, side in zip(more, image.shape, strict=True))
    return np.pad(image, [(0, n) for n in more], mode="reflect" if reflects else "edge")


def _tensor(image: Float32Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None]
