"""Motion between frames, by dense inverse search on a grid of half the HR resolution."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.backends.kept import LastUsed
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.hr_frames import HRFrames
from xfusion_motion.interval import Image
from xfusion_motion.resampling import halve, smooth, upsample_cubic, warp

__all__ = ["FlowSearch", "SteadyMotion"]

_SMOOTHING_PX = 1.0
_PATCH_PX = 8
_PATCH_STRIDE_PX = 4
_SMALLEST_SIDE_PX = 2 * _PATCH_PX
_INVERSIONS = 3
_KEPT = 12


class FlowSearch:
    """Optical flow between images of one range of intensities.

    Parameters
    ----------
    low, high : float
        Intensities that become 0 and 255; the search works on 8 bits.

    References
    ----------
    T. Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low, self._gain = np.float32(low), np.float32(255 / (high - low))

    def between_lr(self, start: Image, end: Image) -> Image:
        """Flow from `start` to `end`, both (h, w), on the grid (2 h, 2 w).

        Returns
        -------
        (2 h, 2 w, 2) float32
            ``start(p) = end(p + flow(p))``, displacements in pixels of that grid.
        """
        return self._search(upsample_cubic(start, 2), upsample_cubic(end, 2))

    def between_hr(self, start: Image, end: Image) -> Image:
        """Flow from `start` to `end`, both (4 h, 4 w), on the grid (2 h, 2 w)."""
        return self._search(halve(start), halve(end))

    def _search(self, start: Image, end: Image) -> Image:
        if min(start.shape) < _SMALLEST_SIDE_PX:
            return np.zeros((*start.shape, 2), dtype=np.float32)
        # A new one each time: it remembers, so that results would depend on what came before.
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)
        search.setPatchSize(_PATCH_PX)
        search.setPatchStride(_PATCH_STRIDE_PX)
        search.setGradientDescentIterations(16)
        flow: Image = search.calc(self._grey(start), self._grey(end), None)
        return flow

    def _grey(self, image: Image) -> npt.NDArray[np.uint8]:
        grey = (smooth(image, _SMOOTHING_PX) - self._low) * self._gain + np.float32(0.5)
        rounded: npt.NDArray[np.uint8] = np.clip(grey, 0, 255).astype(np.uint8)
        return rounded


class SteadyMotion:
    """Motion between two HR frames, taken as constant in time; LR noise cannot disturb it.

    Parameters
    ----------
    sequence : DualSequence
        Gives times and neighbours.
    frames : HRFrames
        Of the sequence.
    search : FlowSearch
        Finds the flow between two HR frames, once for all targets between them.
    """

    def __init__(self, sequence: DualSequence, frames: HRFrames, search: FlowSearch) -> None:
        self._sequence = sequence
        self._flows: LastUsed[tuple[int, int], Image] = LastUsed(
            lambda pair: search.between_hr(frames.get(pair[0]).image, frames.get(pair[1]).image),
            _KEPT,
        )

    def to_neighbours(self, i: int) -> tuple[Image, Image] | None:
        """Return flows from LR frame `i` to the HR frames before and after, on (2 h, 2 w).

        A point that is at p at the target began at q with ``q + tau F(q) = p``, which is solved
        for ``F(q)`` by fixed-point iteration.

        Returns
        -------
        two (2 h, 2 w, 2) float32, or None
            None beside only one HR frame.
        """
        near, tau = self._sequence.neighbours(i), np.float32(self._sequence.tau(i))
        if near.before is None or near.after is None:
            return None
        forward = self._flows.get((near.before, near.after))
        here = forward
        for _ in range(_INVERSIONS):
            here = warp(forward, -tau * here, cubic=False)
        return -tau * here, (1 - tau) * here
