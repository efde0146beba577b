"""Factors of a flickering beam: right where frames tell them, refused where they do not."""

import numpy as np
import pytest

from xfusion_bluesky.calibration.flicker import flicker_factors

ROWS, COLUMNS = np.mgrid[:60, :100]
BEAM = ROWS < 8


def scene(k, moving=0.0, melting=0.0):
    still = 0.7 + 0.1 * np.sin(COLUMNS / 7) * np.cos(ROWS / 5)
    blob = np.exp(-((COLUMNS - 10 - 0.5 * k) ** 2 + (ROWS - 30) ** 2) / 50)
    return still - moving * blob - melting * k * (COLUMNS > 40)


def burst(flicker, **change):
    rng = np.random.default_rng(2)
    true = 1 + flicker * rng.standard_normal(128)
    frames = [
        true[k] * scene(k, **change) + 0.01 * rng.standard_normal((60, 100)) for k in range(128)
    ]
    return true / true.mean(), [frame.astype("f4") for frame in frames]


@pytest.mark.parametrize("change", [{}, {"moving": 0.4}])
@pytest.mark.parametrize("beam", [None, BEAM])
def test_flicker_is_found_behind_a_moving_sample(change, beam):
    true, frames = burst(0.02, **change)
    found = flicker_factors(frames, beam)
    assert found.reason is None
    assert np.std(found.factors - true) < 0.001
    frames[7] = np.full((60, 100), np.nan, "f4")
    with_a_missing_frame = flicker_factors(frames, beam)
    assert with_a_missing_frame.reason is None
    assert with_a_missing_frame.factors[7] == 1


@pytest.mark.parametrize(
    ("frames", "beam", "says"),
    [
        (burst(0.02, melting=0.002)[1], None, "that is the sample"),
        (burst(0.0)[1][:1], None, "fewer than two frames"),
        ([np.zeros((20, 20), "f4")] * 4, None, "only 0 pixels see the beam"),
        (burst(0.0)[1], BEAM & (COLUMNS < 3), "has 24 pixels"),
        ([scene(0), np.full((60, 100), 0.1)], BEAM, "dark in some frames"),
        ([np.full((60, 100), np.nan)] * 3, None, "no frame has a usable pixel"),
    ],
)
def test_what_frames_do_not_tell_is_left_alone(frames, beam, says):
    found = flicker_factors(frames, beam)
    assert says in found.reason
    np.testing.assert_array_equal(found.factors, np.ones(len(frames)))
