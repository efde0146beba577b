"""H, H^T, U0, U3: exact identities, the pixel-centre convention, agreement with OpenCV."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xfusion_bluesky.fusion.operators import (
    SCALE,
    block_mean,
    block_mean_adjoint,
    upsample_cubic,
    upsample_nearest,
)

lr_images = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False).filter(
        lambda v: v == 0 or abs(v) > 1e-30
    ),
)


@given(lr_images)
def test_binning_a_replicated_image_gives_it_back_bit_by_bit(y):
    np.testing.assert_array_equal(block_mean(upsample_nearest(y)), y)


@given(lr_images, st.integers(0, 2**32 - 1))
def test_spreading_is_the_adjoint_of_binning(y, seed):
    x = np.random.default_rng(seed).standard_normal(np.multiply(y.shape, SCALE))
    left = np.vdot(block_mean(x).astype(float), y.astype(float))
    right = np.vdot(x, block_mean_adjoint(y).astype(float))
    scale = np.linalg.norm(x) * np.linalg.norm(y.astype(float))
    assert abs(left - right) <= 1e-6 * scale + 1e-12


# A subnormal number has no relative precision to keep.
@given(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), st.integers(1, 6), st.integers(1, 6))
def test_a_constant_stays_constant(value, h, w):
    y = np.full((h, w), value, dtype=np.float32)
    for upsample in (upsample_cubic, upsample_nearest):
        x = upsample(y)
        assert x.shape == (4 * h, 4 * w)
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, value, rtol=1e-6)


@given(st.floats(10, 21), st.floats(10, 21))
def test_a_blob_keeps_its_centroid(row, column):
    i, j = np.mgrid[:32, :32]
    blob = np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * 2.0**2))
    for upsample in (upsample_cubic, upsample_nearest):
        fine = upsample(blob).astype(float)
        rows, columns = np.indices(fine.shape)
        found = np.array([(fine * rows).sum(), (fine * columns).sum()]) / fine.sum()
        np.testing.assert_allclose(found, [4 * row + 1.5, 4 * column + 1.5], atol=0.02)


def test_binning_after_cubic_upsampling_nearly_gives_smooth_images_back():
    i, j = np.mgrid[:24, :32]
    y = np.sin(2 * np.pi * i / 12) * np.cos(2 * np.pi * j / 16)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(block_mean(upsample_cubic(y))[inner], y[inner], atol=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (100, 256)])
def test_cubic_upsampling_gives_the_numbers_of_opencv(shape):
    cv2 = pytest.importorskip("cv2")
    y = np.random.default_rng(3).random(shape, dtype=np.float32)
    expected = cv2.resize(y, (4 * shape[1], 4 * shape[0]), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(upsample_cubic(y), expected.reshape(4 * shape[0], -1), atol=1e-6)


@pytest.mark.parametrize("operator", [block_mean, block_mean_adjoint, upsample_cubic])
def test_leading_axes_are_left_alone(operator):
    stack = np.random.default_rng(0).random((2, 3, 8, 12), dtype=np.float32)
    result = operator(stack)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[1, 2], operator(stack[1, 2]))


def test_an_image_that_cannot_be_binned_is_refused():
    with pytest.raises(ValueError, match=r"\(10, 8\).*multiples of 4"):
        block_mean(np.zeros((10, 8)))
    with pytest.raises(ValueError, match="two axes"):
        upsample_cubic(np.zeros(4))
