"""Images of a target that HR frames offer: at rest, moved, interpolated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.fusion.arrays import BoolArray
from xfusion_bluesky.fusion.operators import block_mean, upsample_nearest
from xfusion_motion.hr_frames import HRFrame
from xfusion_motion.interval import Image, between
from xfusion_motion.resampling import enlarge_flow, upsample_cubic, warp
from xfusion_motion.scene import Scene

__all__ = ["Candidate", "candidates"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """What the target looks like if one assumption holds.

    Parameters
    ----------
    detail : (H, W) float32
        Image without what the LR grid carries, ``c - U3 H c``.
    binned : (h, w) float32
        Hc.
    usable : (h, w) bool, or None
        LR pixels whose HR pixels are usable; None when all are.
    noise_share : float
        HR noise in it, relative to one HR frame.
    shares : (float, float)
        How much of it comes from HR frames before and after the target.
    """

    detail: Image
    binned: Image
    usable: BoolArray | None
    noise_share: float
    shares: tuple[float, float]


def candidates(scene: Scene, target: int, y: Image, further_hr: int) -> Iterator[Candidate]:
    """Yield the candidates of a target.

    Parameters
    ----------
    scene : Scene
        The sequence.
    target : int
        LR frame.
    y : (h, w) float32
        Its estimate without noise, to which motion is measured.
    further_hr : int
        HR frames at rest beside the two neighbours.

    Yields
    ------
    Candidate
        HR frames at rest; the neighbours moved by the flow from the target; and between two
        neighbours their linear interpolation, at rest and moved at constant speed.
    """
    sequence = scene.sequence
    near, tau = sequence.neighbours(target), sequence.tau(target)
    beside = [j for j in (near.before, near.after) if j is not None]
    time_ns = float(sequence.lr_time_ns[target])
    others = scene.frames.nearest(time_ns, further_hr + len(beside))
    for j in [*beside, *(j for j in others if j not in beside)][: further_hr + len(beside)]:
        frame = scene.frames.get(j)
        yield Candidate(frame.detail, frame.binned, frame.usable, 1.0, _side(scene, time_ns, j))
    for j in beside:
        frame = scene.frames.get(j)
        image, usable = _moved(frame, scene.flow(y, j))
        yield _from_image(image, usable, 1.0, _side(scene, time_ns, j))
    if near.before is None or near.after is None:
        return
    a, b = scene.frames.get(near.before), scene.frames.get(near.after)
    # The noise of two frames averages out, most of it midway.
    noise_share = 1 - 2 * tau * (1 - tau)
    yield Candidate(
        between(a.detail, b.detail, tau),
        between(a.binned, b.binned, tau),
        _both(a.usable, b.usable),
        noise_share,
        (1 - tau, tau),
    )
    flows = scene.steady.to_neighbours(target)
    if flows is not None:
        (image_a, usable_a), (image_b, usable_b) = _moved(a, flows[0]), _moved(b, flows[1])
        image = between(image_a, image_b, tau)
        yield _from_image(image, _both(usable_a, usable_b), noise_share, (1 - tau, tau))


def _side(scene: Scene, time_ns: float, j: int) -> tuple[float, float]:
    return (1.0, 0.0) if scene.sequence.hr_time_ns[j] <= time_ns else (0.0, 1.0)


def _moved(frame: HRFrame, flow: Image) -> tuple[Image, BoolArray | None]:
    """Image and usable LR pixels of an HR frame moved by a flow on the grid (2 h, 2 w)."""
    fine = enlarge_flow(flow)
    image = warp(frame.image, fine)
    if frame.usable is None:
        return image, None
    share = warp(upsample_nearest(frame.usable), fine, cubic=False)
    return image, block_mean(share) > np.float32(0.999)


def _from_image(
    image: Image, usable: BoolArray | None, noise_share: float, shares: tuple[float, float]
) -> Candidate:
    binned = block_mean(image)
    return Candidate(image - upsample_cubic(binned), binned, usable, noise_share, shares)


def _both(first: BoolArray | None, second: BoolArray | None) -> BoolArray | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second
