"""Drift of one camera against the other, seen in the frames of a burst."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from xfusion_bluesky.calibration.registration import registration_drift
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

NOISE = 0.01


def sequence(shift_px=(0.0, 0.0), moving=False, contrast=0.1, masked=False):
    """Burst of 40 LR and 5 HR frames; LR frames lie `shift_px` further."""
    rng = np.random.default_rng(8)
    scene = 0.7 + contrast * ndimage.gaussian_filter(rng.standard_normal((160, 200)), 2.0) * 7
    lr, hr = [], []
    for k in range(40):
        frame, later = scene.copy(), scene.copy()
        if moving:
            # The HR camera exposes a little later than the LR one: the object has moved on.
            frame[30:70, 20 + 3 * k : 60 + 3 * k] *= 0.5
            later[30:70, 21 + 3 * k : 61 + 3 * k] *= 0.5
        if k % 10 == 0:
            hr.append(later + 0.5 * NOISE * rng.standard_normal(scene.shape))
        seen = block_mean(ndimage.shift(frame, shift_px, order=3, mode="nearest"))
        lr.append(0.9 * seen + 0.05 + NOISE * rng.standard_normal(seen.shape))
    lr, hr = np.array(lr, np.float32), np.array(hr, np.float32)
    if masked:
        lr[:, 5:12, 8:30] = np.nan
    times = 1000.0 * np.arange(40)
    return DualSequence.from_arrays(
        lr, hr, times, times[::10][: len(hr)], noise=NoiseModel(0.0, NOISE**2)
    )


@pytest.mark.parametrize("masked", [False, True])
def test_a_shift_is_found_with_its_error(masked):
    drift = registration_drift(sequence((0.42, -0.27), masked=masked))

    assert drift.pairs == 4
    assert max(drift.error_px) < 0.03
    assert drift.shift_px == pytest.approx((0.42, -0.27), abs=0.05)
    assert drift.flagged


def test_cameras_that_stand_still_are_not_flagged():
    drift = registration_drift(sequence())

    assert np.hypot(*drift.shift_px) < 0.05
    assert not drift.flagged
    # What moves between the exposures pulls at a few pixels, not at the drift.
    assert np.hypot(*registration_drift(sequence(moving=True)).shift_px) < 0.1


def test_noise_alone_is_not_flagged():
    faint = registration_drift(sequence((0.1, 0.1), contrast=1e-4))
    assert not faint.flagged
    empty = registration_drift(sequence(contrast=0.0))
    assert not empty.flagged


def test_without_common_frames_nothing_is_known():
    burst = sequence()
    apart = DualSequence.from_arrays(
        [burst.lr(k) for k in range(3)], [burst.hr(0)], [0, 1000, 2000], [1500]
    )

    drift = registration_drift(apart)

    assert (drift.pairs, drift.flagged) == (0, False)
    assert np.isnan(drift.shift_px).all()
    assert np.isinf(drift.error_px).all()
