"""What the targets between two HR frames share: camera, change of the scene, error of detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfusion_bayesian.anchors import Anchor, Anchors, intensity_unit
from xfusion_bayesian.camera import Camera, camera_of
from xfusion_bayesian.candidate import Candidate, Evidence, candidates
from xfusion_bayesian.detail import DetailError
from xfusion_bayesian.evidence import smooth
from xfusion_bayesian.observation import whole_blocks
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.operators import upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence, Neighbours

__all__ = ["Stretch", "stretch_of"]

_LEAST_ERROR = 2e-5
_LEAST_NOISE = 1e-10
_CHANGE_PX = 2.0


@dataclass(frozen=True, eq=False)
class Stretch:
    """The time between two HR frames, or beyond the last one.

    Parameters
    ----------
    anchors : tuple of Anchor
        The HR frames around its targets: one or two.
    anchor_times_ns : tuple of float
        Their times.
    camera : Camera
        Of the LR frames.
    change : (h, w) float32
        Mean squared change of block means in a time `change_ns`.
    change_ns : float
        Time between the HR frames compared.
    law : DetailError
        Error of the detail carried from one HR frame to another time.
    least : float
        Error variance below which no image is trusted.
    """

    anchors: tuple[Anchor, ...]
    anchor_times_ns: tuple[float, ...]
    camera: Camera
    change: Float32Array
    change_ns: float
    law: DetailError
    least: float

    def evidence(self, sequence: DualSequence, target: int) -> Evidence:
        """Return what LR frame `target` says."""
        y = self.camera.frame(sequence, target)
        return Evidence(y, self.camera.noise(y), sequence.lr_mask(target), self.least)

    def priors(self, time_ns: float) -> list[Float32Array]:
        """Return the expected change of each HR frame until a time: it grows like a random walk."""
        return [
            self.change * np.float32(abs(time_ns - own_ns) / self.change_ns)
            for own_ns in self.anchor_times_ns
        ]


def stretch_of(sequence: DualSequence, anchors: Anchors, near: Neighbours) -> Stretch:
    """Learn what the targets of a stretch share.

    Beyond the ends it is learned from the two nearest HR frames. With a single HR frame, the scene
    is expected to change by as much as the least error.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    anchors : Anchors
        Of the sequence.
    near : Neighbours
        HR frames around the stretch.
    """
    around = anchors.of(near)
    widened = _widened(sequence, near)
    compared = anchors.of(widened)
    unit2 = intensity_unit(compared) ** 2
    camera = camera_of(sequence, anchors.paired(widened), _LEAST_NOISE * unit2)
    least = _LEAST_ERROR * unit2
    times = tuple(float(sequence.hr_time_ns[anchor.index]) for anchor in around)
    if len(compared) == 1:
        change = np.full(around[0].binned.shape, least, dtype=np.float32)
        interval_ns = sequence.lr_interval_ns
        change_ns = interval_ns if interval_ns > 0 else 1.0
        law = DetailError.unknown()
    else:
        before, after = compared
        change = smooth(np.square(before.binned - after.binned), _CHANGE_PX)
        change_ns = float(sequence.hr_time_ns[after.index] - sequence.hr_time_ns[before.index])
        law = DetailError.learned(
            [
                _example(sequence, camera, source, held, change, least)
                for source, held in ((before, after), (after, before))
            ]
        )
    return Stretch(around, times, camera, change, change_ns, law, least)


def _example(
    sequence: DualSequence,
    camera: Camera,
    source: Anchor,
    held: Anchor,
    change: Float32Array,
    least: float,
) -> tuple[Candidate, Float32Array, BoolArray]:
    """Carry one HR frame to the time of another, whose detail is known."""
    if held.lr_index is None:
        # Evidence as noisy as that at the targets: the law must not promise what it cannot keep.
        noise = camera.noise(held.binned)
        draw = np.random.default_rng(held.index).standard_normal(noise.shape, dtype=np.float32)
        y = np.asarray(held.binned + np.sqrt(noise) * draw, dtype=np.float32)
        mask = np.ones(noise.shape, dtype=np.bool_)
    else:
        y, mask = camera.frame(sequence, held.lr_index), sequence.lr_mask(held.lr_index)
        noise = camera.noise(y)
    (candidate,) = candidates([source], Evidence(y, noise, mask, least), [change])
    return candidate, held.image - upsample_cubic(held.binned), whole_blocks(held.mask)


def _widened(sequence: DualSequence, near: Neighbours) -> Neighbours:
    """Take the next HR frame on the other side where one is missing."""
    usable = [int(j) for j in np.flatnonzero(sequence.hr_valid)]
    if len(usable) < 2:
        return near
    if near.before is None:
        return Neighbours(usable[0], usable[1])
    if near.after is None:
        return Neighbours(usable[-2], usable[-1])
    return near
