"""Backend bicubic: the upsampled LR frame and nothing else."""

from importlib import metadata

import numpy as np
import pytest
import xfusion_bicubic
from xfusion_bicubic import Bicubic

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.operators import upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence


@pytest.fixture
def sequence():
    lr = np.random.default_rng(0).random((5, 6, 8), dtype=np.float32)
    lr[1, 2, 2] = np.nan
    return DualSequence.from_arrays(
        lr, np.zeros((0, 24, 32)), range(5), [], lr_valid=[1, 1, 1, 0, 1]
    )


def frames(sequence, targets):
    return [result.frame for result in checked_frames(Bicubic(), sequence, targets)]


def test_it_upsamples_each_frame_in_the_order_asked_for_without_any_hr_frame(sequence):
    made = frames(sequence, (4, 0, 2))
    assert [frame.target for frame in made] == [4, 0, 2]
    for frame in made:
        np.testing.assert_array_equal(frame.image, upsample_cubic(sequence.lr(frame.target)))
        assert frame.attention == (0, 0, 1)


def test_one_target_gives_what_the_whole_run_gives(sequence):
    for whole in frames(sequence, range(5)):
        (alone,) = frames(sequence, [whole.target])
        np.testing.assert_array_equal(alone.image, whole.image)


def test_a_masked_frame_is_nan_and_says_so_and_a_masked_pixel_is_filled(sequence):
    holed, masked = frames(sequence, (1, 3))
    assert np.isfinite(holed.image).all()
    assert holed.diagnostics == {}
    assert np.isnan(masked.image).all()
    assert masked.diagnostics == {"masked": 1.0}


def test_it_is_found_where_it_is_installed():
    registry = Registry.discover(allow=["xfusion-bicubic"])
    assert registry.available() == ["bicubic"]
    registered = registry.factories["bicubic"]
    assert registered.version == xfusion_bicubic.__version__ == metadata.version("xfusion-bicubic")
    assert registry.create("bicubic") == Bicubic()
