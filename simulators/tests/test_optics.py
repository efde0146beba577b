import numpy as np
import pytest
from xfusion_simulators.optics import CameraOptics, best_affine, block_mean, true_lr_to_hr

SCENE = (96, 128)
HR = CameraOptics.of(
    (110, 140),
    SCENE,
    rotation_deg=3.0,
    scale=1.02,
    anisotropy=0.01,
    shear=0.004,
    shift_px=(2.3, -1.6),
    mirrored=True,
    radial_per_px2=2e-6,
    psf_sigma_px=0.7,
)
LR = CameraOptics.of(
    (24, 32), SCENE, pixel_side=4, rotation_deg=-1.0, radial_per_px2=-2e-5, psf_sigma_px=1.5
)


def spot(at, sigma=3.0):
    rows, columns = np.indices(SCENE)
    away = (rows - at[0]) ** 2 + (columns - at[1]) ** 2
    return np.exp(-away / (2 * sigma**2)).astype(np.float32)


def centroid(image):
    where = np.indices(image.shape).reshape(2, -1)
    return where @ image.ravel().astype(float) / image.sum(dtype=float)


def test_without_optics_a_camera_sees_the_scene_itself_or_its_block_means():
    light = np.random.default_rng(0).random(SCENE, np.float32)
    np.testing.assert_array_equal(CameraOptics().image(light, SCENE), light)
    straight = CameraOptics.of((24, 32), SCENE, pixel_side=4)
    np.testing.assert_array_equal(straight.image(light, (24, 32)), block_mean(light))
    larger = CameraOptics.of((100, 130), SCENE).image(light, (100, 130))
    np.testing.assert_allclose(larger[2:-2, 1:-1], light, atol=2e-6)
    np.testing.assert_allclose(larger[0, 1:-1], light[0], atol=2e-6)


def test_blur_free_sampling_agrees_with_the_exact_slice():
    light = np.random.default_rng(0).random(SCENE, np.float32)
    exact = CameraOptics.of((20, 28), SCENE, pixel_side=4)
    almost = exact.moved((1e-9, 0.0))
    assert almost.whole_pixel_corner() is None
    np.testing.assert_allclose(
        almost.image(light, (20, 28)), exact.image(light, (20, 28)), atol=1e-6
    )


@pytest.mark.parametrize(("optics", "shape"), [(HR, (110, 140)), (LR, (24, 32))])
@pytest.mark.parametrize("at", [(40.3, 61.8), (22.0, 100.5), (80.7, 21.2)])
def test_a_point_of_the_scene_is_where_the_map_says(optics, shape, at):
    image = optics.image(spot(at), shape)
    np.testing.assert_allclose(centroid(image), optics.pixel_position(at), atol=0.02)


def test_positions_go_there_and_back():
    for optics, shape in ((HR, (110, 140)), (LR, (24, 32))):
        points = np.random.default_rng(1).uniform(0, shape, (50, 2))
        back = optics.pixel_position(optics.scene_position(points))
        np.testing.assert_allclose(back, points, atol=1e-9)


def test_the_true_map_leads_from_lr_to_hr_and_mirrors():
    at = (50.1, 33.3)
    lr_to_hr = true_lr_to_hr(LR, HR)
    seen = centroid(LR.image(spot(at), (24, 32))), centroid(HR.image(spot(at), (110, 140)))
    np.testing.assert_allclose(lr_to_hr(seen[0]), seen[1], atol=0.05)
    affine = best_affine(lr_to_hr, (24, 32))
    assert np.linalg.det(affine[:, :2]) < 0
    assert np.sqrt(abs(np.linalg.det(affine[:, :2]))) == pytest.approx(4 / 1.02, rel=0.02)
    np.testing.assert_allclose(affine @ [12, 16, 1], lr_to_hr([12, 16]), atol=0.3)


def test_a_finer_camera_has_the_same_pixels_in_quarters():
    fine = LR.finer(4)
    corners = np.array([[0.0, 0.0], [23.0, 31.0], [5.0, 20.0]])
    np.testing.assert_allclose(
        fine.scene_position(4 * corners + 1.5), LR.scene_position(corners), atol=1e-9
    )
    assert CameraOptics.of((24, 32), SCENE, pixel_side=4).finer(4).to_scene == (
        (1, 0, 0),
        (0, 1, 0),
    )


def test_a_distortion_that_folds_the_image_is_refused():
    with pytest.raises(ValueError, match="folds the image"):
        CameraOptics.of((800, 1280), (800, 1280), radial_per_px2=-1e-6)
