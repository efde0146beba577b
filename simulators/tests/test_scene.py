import h5py
import numpy as np
import pytest
from xfusion_simulators.configuration import SHIPPED_SCENE, BeamlineConfig
from xfusion_simulators.scene import Beam, ReplayScene, beam_profile


def test_the_scene_is_cropped_to_whole_shimadzu_pixels(scene):
    assert scene.shape == (8, 12)
    assert scene.raw(0).shape == (8, 12)


def test_a_time_finds_the_nearest_frame_and_the_scene_stands_beyond_its_ends(scene):
    times_ns = np.array([-5000.0, 250.0, 749.0, 751.0, 2250.0, 99_000.0])
    assert scene.index(times_ns).tolist() == [0, 0, 0, 1, 2, 5]


def test_transmission_is_counts_over_white_level(scene):
    assert scene.transmission(1).dtype == np.float32
    np.testing.assert_allclose(scene.transmission(1), scene.raw(1) / 1000.0, rtol=1e-6)


def test_light_follows_shutter_and_sample(scene):
    dark = scene.light(2, Beam(shutter_open=False))
    flat = scene.light(2, Beam(sample_in=False))
    both = scene.light(2, Beam())
    assert not dark.any()
    np.testing.assert_array_equal(flat, scene.profile)
    np.testing.assert_allclose(both, scene.profile * scene.transmission(2))


def test_the_beam_is_smooth_and_within_its_limits():
    profile = beam_profile((120, 400))
    assert 0.75 <= profile.min() < 0.85
    assert 0.99 < profile.max() <= 1.0
    assert np.abs(np.diff(profile, axis=1)).max() < 0.005


def test_a_scene_without_white_level_uses_its_bright_end(tmp_path):
    path = tmp_path / "bare.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = np.full((3, 8, 8), 250, np.uint8)
    with ReplayScene(path) as scene:
        assert scene.white_level == 250.0


def test_a_file_without_frames_is_refused_by_name(tmp_path):
    path = tmp_path / "wrong.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((3, 8, 8))
    with pytest.raises(ValueError, match=r"wrong\.h5 has no dataset 'frames'"):
        ReplayScene(path)


def test_the_shipped_scene_says_where_it_comes_from():
    with ReplayScene(SHIPPED_SCENE) as scene:
        assert (scene.n_frames, scene.shape) == (81, (120, 400))
        assert scene.white_level == 1700.0
        assert scene.transmission(80).max() < 1.0
    with h5py.File(SHIPPED_SCENE) as file:
        assert {"title", "source", "licence", "processing"} <= set(file["frames"].attrs)
    assert SHIPPED_SCENE.stat().st_size < 4_000_000
    assert (SHIPPED_SCENE.parent / "lpbf_wall.LICENCE.txt").exists()


def test_a_misspelt_setting_is_refused(tmp_path):
    with pytest.raises(ValueError, match="time_scall"):
        BeamlineConfig(memory_folder=tmp_path, time_scall=1.0)
