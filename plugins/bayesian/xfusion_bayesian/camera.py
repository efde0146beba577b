"""The LR camera in the units of the HR frames: gain, offset, and noise as a curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bayesian.anchors import Anchor
from xfusion_bayesian.evidence import smooth
from xfusion_bayesian.observation import Observation, calibrate, pairs
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Camera", "camera_of"]

_LEVELS = 12
_SMOOTHING_PX = 2.0


@dataclass(frozen=True, eq=False)
class Camera:
    """What an LR frame says about block means.

    Parameters
    ----------
    model : Observation
        Gain and offset.
    curve : callable
        Noise variance at given block means, in squared HR units.
    floor : float
        Least noise variance, > 0.
    """

    model: Observation
    curve: Callable[[Float32Array], Float32Array]
    floor: float

    def frame(self, sequence: DualSequence, i: int) -> Float32Array:
        """Return LR frame `i` in the units of the HR frames."""
        return self.model.in_hr_units(sequence.lr(i)).astype(np.float32)

    def noise(self, y: Float32Array) -> Float32Array:
        """Return the noise variance of each pixel of a frame in the units of the HR frames.

        The level comes from a smoothed frame: a pixel that is dark by chance would otherwise
        count as a precise one.
        """
        return np.maximum(self.curve(smooth(y, _SMOOTHING_PX)), np.float32(self.floor))


def camera_of(sequence: DualSequence, anchors: Sequence[Anchor], floor: float) -> Camera:
    """Calibrate the LR camera on the frames taken together with HR frames.

    Without such a pair, gain 1, offset 0 and the noise model of the sequence stand in.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    anchors : sequence of Anchor
        HR frames.
    floor : float
        Least noise variance.
    """
    u, v = pairs(sequence, anchors)
    model = calibrate(u, v)
    if model is None:
        return Camera(Observation(1.0, 0.0, 0.0, 0), sequence.noise.variance, floor)
    squared = np.square((v - model.offset) / model.gain - u)
    order = np.argsort(u, kind="stable")
    groups = np.array_split(order, min(_LEVELS, len(order)))
    levels = np.array([u[group].mean() for group in groups])
    variances = np.array([squared[group].mean() for group in groups])

    def curve(level: Float32Array) -> Float32Array:
        return np.asarray(np.interp(level, levels, variances), dtype=np.float32)

    return Camera(model, curve, floor)
