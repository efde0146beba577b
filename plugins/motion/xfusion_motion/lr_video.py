"""LR frames without their noise, as far as HR frames and neighbours in time allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.backends.kept import LastUsed
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.hr_frames import HRFrame, HRFrames
from xfusion_motion.interval import Image, between
from xfusion_motion.noise_floor import MEDIAN_OF_SQUARE, checkered
from xfusion_motion.optical_flow import SteadyMotion
from xfusion_motion.resampling import reduce_flow, smooth, warp
from xfusion_motion.shrinkage import BLOCK_FRAMES, shrink

__all__ = ["EVIDENCE_PX", "Estimate", "LRVideo", "effective_noise"]

EVIDENCE_PX = 0.7
"""Sigma of the window over which disagreement with the LR frame is averaged, LR pixels."""

_GROUP_STEP = BLOCK_FRAMES // 2
_GROUPS_KEPT = 3
_LEVEL_PX = 1.5
_HARMLESS = 0.01
_SAME_TIME = 0.01
_CORRELATION = 4.0
"""HR noise correlated over a few pixels weighs up to this much more in an LR pixel than white."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an LR frame would be without noise.

    Parameters
    ----------
    image : (h, w) float32
        The estimate.
    variance : (h, w) float32
        Of its error.
    """

    image: Image
    variance: Image


class LRVideo:
    """Estimates of LR frames, made for groups of neighbours in time and kept while in use.

    A frame is predicted from the HR frames; what differs from the prediction is noise unless a
    group of up to eight frames says otherwise together (see `shrink`). So noise that hides the
    change leaves the interpolated HR frames, and noise-free frames are returned as they are.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    frames : HRFrames
        Its HR frames.
    motion : SteadyMotion
        Between them.

    Attributes
    ----------
    noise : NoiseModel
        The one of the sequence, or measured where that one is noise-free and the frames are not.
    """

    def __init__(self, sequence: DualSequence, frames: HRFrames, motion: SteadyMotion) -> None:
        self._sequence, self._frames, self._motion = sequence, frames, motion
        self.noise = effective_noise(sequence, frames)
        self._free = [
            i for i in np.flatnonzero(sequence.lr_valid).tolist() if frames.coincident(i) is None
        ]
        self._place = {i: place for place, i in enumerate(self._free)}
        last = max(len(self._free) - BLOCK_FRAMES, 0)
        self._starts = sorted({*range(0, last, _GROUP_STEP), last})
        self._groups: LastUsed[int, list[Estimate]] = LastUsed(self._make_group, _GROUPS_KEPT)

    def estimate(self, i: int) -> Estimate:
        """Return the estimate of the valid LR frame `i`; masked pixels have the prediction."""
        coincident = self._frames.coincident(i)
        if coincident is not None:
            return self._seen_by_hr(i, self._frames.get(coincident))
        if self.noise.is_noise_free:
            image, mask = self._sequence.lr(i), self._sequence.lr_mask(i)
            if not mask.all():
                image = np.where(mask, image, self._predicted(i).image)
            return Estimate(image, np.zeros_like(image))
        return self._mean_over_groups(i)

    def _seen_by_hr(self, i: int, frame: HRFrame) -> Estimate:
        """HR frame of the same time, binned; the LR frame where it has masked pixels."""
        image = frame.binned
        variance = self._frames.noise.variance(image) / np.float32(SCALE**2)
        if frame.usable is not None:
            y = np.where(self._sequence.lr_mask(i), self._sequence.lr(i), image)
            image = np.where(frame.usable, image, y)
            variance = np.where(frame.usable, variance, self.noise.variance(y))
        return Estimate(image, variance)

    def _mean_over_groups(self, i: int) -> Estimate:
        """Weigh the groups of a frame by how far inside it lies."""
        place, length = self._place[i], min(BLOCK_FRAMES, len(self._free))
        image = np.zeros(self._sequence.lr_shape, dtype=np.float32)
        variance, total = np.zeros_like(image), np.float32(0)
        for start in self._starts:
            if start <= place < start + length:
                within = self._groups.get(start)[place - start]
                weight = np.float32(min(place - start + 1, start + length - place))
                image += weight * within.image
                variance += weight * within.variance
                total += weight
        return Estimate(image / total, variance / total)

    def _make_group(self, start: int) -> list[Estimate]:
        members = self._free[start : start + BLOCK_FRAMES]
        predictions = [self._predicted(i) for i in members]
        predicted = np.stack([prediction.image for prediction in predictions])
        measured = np.stack(
            [
                np.where(self._sequence.lr_mask(i), self._sequence.lr(i), prediction)
                for i, prediction in zip(members, predicted, strict=True)
            ]
        )
        # The level is smoothed, because noise in a variance is correlated with the residual.
        variance = np.stack([self.noise.variance(smooth(y, _LEVEL_PX)) for y in measured])
        variance = np.maximum(variance, self._frames.tiny)
        sigma = np.sqrt(variance)
        residual = measured - predicted
        residual /= sigma
        expected = np.stack([prediction.variance for prediction in predictions])
        expected /= variance
        shared = _CORRELATION / SCALE**2 * self._frames.noise.variance(measured)
        shrunk = shrink(residual, expected, float(np.median(shared / variance)))
        images = predicted + shrunk.estimate * sigma
        return [Estimate(*pair) for pair in zip(images, shrunk.variance * variance, strict=True)]

    def _predicted(self, i: int) -> Estimate:
        """Interpolate HR frames in time: each pixel as resting or as moving, whichever fits.

        What fits is seen in the HR frames alone: the two that are interpolated must agree. Where
        they differ at rest, something between them may be off by half of their difference.
        """
        near, tau = self._sequence.neighbours(i), self._sequence.tau(i)
        before = None if near.before is None else self._frames.get(near.before)
        after = None if near.after is None else self._frames.get(near.after)
        a, b = _filled(before, after), _filled(after, before)
        resting = between(a, b, tau)
        flows = self._motion.to_neighbours(i)
        if a is None or b is None or flows is None:
            return Estimate(resting, np.zeros_like(resting))
        moved_a, moved_b = (warp(x, reduce_flow(f)) for x, f in zip((a, b), flows, strict=True))
        noise = self._frames.noise.variance(resting) * np.float32(2 / SCALE**2) + self._frames.tiny
        apart_resting = smooth(np.square(a - b), EVIDENCE_PX) + noise
        apart_moving = smooth(np.square(moved_a - moved_b), EVIDENCE_PX) + noise
        moves = 1 / (1 + np.square(apart_moving / apart_resting))
        return Estimate(
            resting + moves * (between(moved_a, moved_b, tau) - resting),
            np.maximum(apart_resting - _CORRELATION * noise, 0) / 4,
        )


def _filled(frame: HRFrame | None, other: HRFrame | None) -> Image | None:
    """Binned HR frame, with the pixels of the other where its own are masked."""
    if frame is None or frame.usable is None or other is None:
        return None if frame is None else frame.binned
    return np.where(frame.usable, frame.binned, other.binned)


def effective_noise(sequence: DualSequence, frames: HRFrames) -> NoiseModel:
    """Return the noise model to work with: the given one unless it is noise-free and wrong.

    Then the noise is measured where an LR frame and an HR frame were taken at the same time, in
    the finest diagonal band of ``y - H x``, which neither motion nor a wrong gain reaches. Noise
    below 1 % of the range is left alone.
    """
    given = sequence.noise
    if not given.is_noise_free:
        return given
    squares = []
    for j in frames.sampled:
        apart_ns = np.abs(sequence.lr_time_ns - sequence.hr_time_ns[j])
        i = int(np.argmin(apart_ns))
        if apart_ns[i] <= _SAME_TIME * sequence.lr_interval_ns and sequence.lr_mask(i).all():
            frame = frames.get(j)
            if frame.usable is None:
                squares.append(np.square(checkered(sequence.lr(i) - frame.binned)).ravel())
    if not squares:
        return given
    measured = float(np.median(np.concatenate(squares))) / MEDIAN_OF_SQUARE
    harmless = (_HARMLESS * (frames.high - frames.low)) ** 2
    return NoiseModel(beta=measured) if measured > harmless else given
