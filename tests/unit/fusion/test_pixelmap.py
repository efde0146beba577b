"""The fused grid lands where it should in both cameras."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.pixelmap import PixelMap

sides = st.integers(8, 40)


def test_real_cameras_share_the_field_of_the_smaller_one():
    nominal = PixelMap.nominal((250, 400), (800, 1280))
    assert nominal.lr_shape == (200, 320)
    assert nominal.shape == (800, 1280)
    assert nominal.lr_origin == (25, 40)
    np.testing.assert_array_equal(nominal.affine, [[1, 0, 0], [0, 1, 0]])


@given(sides, sides, sides, sides)
def test_the_nominal_field_lies_in_both_frames_around_their_centres(lr_h, lr_w, hr_h, hr_w):
    nominal = PixelMap.nominal((lr_h, lr_w), (hr_h, hr_w))
    assert nominal.crop_lr(np.zeros((lr_h, lr_w))).shape == nominal.lr_shape
    assert nominal.valid_mask(np.ones((hr_h, hr_w), dtype=bool)).all()
    middle = nominal.affine[:, :2] @ ((np.array(nominal.shape) - 1) / 2) + nominal.affine[:, 2]
    assert np.abs(middle - (np.array([hr_h, hr_w]) - 1) / 2).max() <= 0.5
    spare = np.array([lr_h, lr_w]) - nominal.lr_shape - 2 * np.array(nominal.lr_origin)
    np.testing.assert_array_equal(spare, 0)


@given(st.integers(5, 10), st.integers(5, 10), st.integers(0, 3), st.integers(0, 3))
def test_both_cameras_see_the_same_scene_on_their_grids(lr_h, lr_w, cut_h, cut_w):
    scene = np.random.default_rng(0).random((4 * lr_h, 4 * lr_w), dtype=np.float32)
    hr = scene[2 * cut_h : 4 * lr_h - 2 * cut_h, 2 * cut_w : 4 * lr_w - 2 * cut_w]
    nominal = PixelMap.nominal((lr_h, lr_w), hr.shape)
    on_grid = nominal.warp(hr)
    np.testing.assert_array_equal(block_mean(on_grid), nominal.crop_lr(block_mean(scene)))


def test_a_shift_out_of_the_frame_is_masked_and_filled_from_the_border():
    frame = np.arange(64, dtype=np.float32).reshape(8, 8)
    shifted = PixelMap(np.array([[1.0, 0, -2], [0, 1, 3]]), (0, 0), (2, 2))
    warped, mask = shifted.warp(frame), shifted.valid_mask(np.ones((8, 8), dtype=bool))
    np.testing.assert_array_equal(mask[2:, :5], True)
    assert mask.sum() == 6 * 5
    np.testing.assert_array_equal(warped[2:, :5], frame[:6, 3:])
    np.testing.assert_array_equal(warped[0], warped[2])
    np.testing.assert_array_equal(warped[:, 7], warped[:, 4])


def test_a_field_beside_the_frame_has_no_usable_pixel():
    away = PixelMap(np.array([[1.0, 0, 100], [0, 1, -100]]), (0, 0), (2, 2))
    assert not away.valid_mask(np.ones((8, 8), dtype=bool)).any()
    assert np.isfinite(away.warp(np.ones((8, 8)))).all()


def test_a_general_map_samples_a_smooth_scene_at_the_right_place():
    rows, columns = np.indices((60, 70))
    scene = np.sin(rows / 6) + np.cos(columns / 7)
    turned = PixelMap(np.array([[1.01, 0.02, 5.3], [-0.02, 0.99, 8.7]]), (0, 0), (10, 10))
    i, j = np.indices(turned.shape)
    r, c = 1.01 * i + 0.02 * j + 5.3, -0.02 * i + 0.99 * j + 8.7
    warped = turned.warp(scene)
    assert warped.dtype == np.float32
    assert turned.valid_mask(np.ones(scene.shape, dtype=bool)).all()
    np.testing.assert_allclose(warped, np.sin(r / 6) + np.cos(c / 7), atol=2e-3)


def test_one_dead_pixel_stays_local_under_a_spline():
    half_pixel = PixelMap(np.array([[1.0, 0, 2.5], [0, 1, 2.5]]), (0, 0), (4, 4))
    frame = np.ones((24, 24), dtype=np.float32)
    frame[10, 10] = np.nan
    mask = half_pixel.valid_mask(np.isfinite(frame))
    assert np.argwhere(~mask).tolist() == [[7, 7], [7, 8], [8, 7], [8, 8]]
    np.testing.assert_allclose(half_pixel.warp(frame), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((2, 3)), (0, 0), (1, 1)), "singular"),
        ((np.eye(3), (0, 0), (1, 1)), "affine"),
        ((np.eye(2, 3), (-1, 0), (1, 1)), "lr_origin"),
        ((np.eye(2, 3), (0, 0), (1, 1), np.eye(5)), "covariance"),
    ],
)
def test_an_impossible_map_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        PixelMap(*arguments)


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="share no field"):
        PixelMap.nominal((3, 10), (800, 3))
    with pytest.raises(ValueError, match="does not fit"):
        PixelMap.nominal((20, 20), (80, 80)).crop_lr(np.zeros((19, 20)))
