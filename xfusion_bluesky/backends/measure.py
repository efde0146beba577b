"""How good, how fast and how large a backend is on one small scene."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import numpy as np

from xfusion_bluesky.backends.card import Accuracy, Cost
from xfusion_bluesky.backends.contract import Backend
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.backends.scenes import Scene
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.metrics import Normalisation, psnr, ssim
from xfusion_bluesky.fusion.operators import upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["accuracy_of", "cost_of"]


def cost_of(backend: Backend, scene: Scene) -> tuple[Cost, list[Float32Array]]:
    """Fuse a scene twice, the second time with a watch.

    Parameters
    ----------
    backend : Backend
        Just made.
    scene : Scene
        What to fuse.

    Returns
    -------
    cost : Cost
    images : list of (H, W) float32
        The fused images, for `accuracy_of`.
    """
    every = range(len(scene.lr))
    first_ms = next(iter(checked_frames(backend, scene.sequence(), every))).elapsed_ms
    timed = list(checked_frames(backend, scene.sequence(), every))
    low, median, high = np.percentile([each.elapsed_ms for each in timed], (25, 50, 75))
    images = [each.frame.image for each in timed]
    shape = (images[0].shape[0], images[0].shape[1])
    cost = Cost(
        frames=len(images),
        shape=shape,
        first_ms=first_ms,
        median_ms=float(median),
        spread_ms=(float(low), float(high)),
        peak_mb=_peak_memory_mb(),
    )
    return cost, images


def accuracy_of(images: Sequence[Float32Array], scene: Scene) -> Accuracy:
    """Compare fused images, and two trivial methods, with the truth of a scene.

    Parameters
    ----------
    images : sequence of (H, W) float32
        One for each LR frame.
    scene : Scene
        What was fused.
    """
    sequence = scene.sequence()
    between = [i for i in range(sequence.n_lr) if 0 < sequence.tau(i) < 1]
    scale = Normalisation.from_percentiles(scene.truth)

    def score(candidates: Sequence[Float32Array]) -> tuple[float, float]:
        pairs = [(candidates[i], scene.truth[i]) for i in between]
        return (
            float(np.mean([psnr(image, truth, scale) for image, truth in pairs])),
            float(np.mean([ssim(image, truth, scale) for image, truth in pairs])),
        )

    psnr_db, similarity = score(images)
    every = range(sequence.n_lr)
    baselines = {
        "LR frame, cubic upsampling": score([upsample_cubic(sequence.lr(i)) for i in every]),
        "nearest HR frame": score([_nearest_hr(sequence, i) for i in every]),
    }
    return Accuracy(psnr_db=psnr_db, ssim=similarity, baselines=baselines)


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB, on a Mac bytes
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _nearest_hr(sequence: DualSequence, target: int) -> Float32Array:
    distance_ns = np.abs(sequence.hr_time_ns - sequence.lr_time_ns[target])
    return sequence.hr(int(np.argmin(distance_ns)))
