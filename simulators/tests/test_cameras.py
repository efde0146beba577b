import numpy as np
import pytest
from xfusion_simulators.burst_file import BurstFile
from xfusion_simulators.delay_generator import DelayGenerator
from xfusion_simulators.memory import CameraMemory
from xfusion_simulators.phantom_camera import PhantomCamera, PhantomSettings, Region
from xfusion_simulators.scene import Beam
from xfusion_simulators.shimadzu_camera import (
    ShimadzuCamera,
    ShimadzuSettings,
    block_mean,
    photon_noise,
)

WHOLE = Region(0, 0, 8, 12)


@pytest.fixture
def phantom(scene, tmp_path):
    return PhantomCamera(scene, CameraMemory(tmp_path / "phantom.h5"), clock_offset_ns=33.0)


@pytest.fixture
def shimadzu(scene, tmp_path):
    return ShimadzuCamera(scene, CameraMemory(tmp_path / "shimadzu.h5"), blank_photons=None)


def test_phantom_times_are_true_times_by_its_own_clock(phantom):
    settings = PhantomSettings(WHOLE, period_ns=2000.0, exposure_ns=500.0, post_trigger_frames=3)
    table = phantom.record(300.0, settings, Beam()).table
    assert table.number.tolist() == list(range(-8, 3))
    assert table.true_time_ns[8:].tolist() == [550.0, 2550.0, 4550.0]
    assert table.time_ns[8:].tolist() == [280.0, 2280.0, 4280.0]  # 250 + 33, in steps of 10
    assert table.scene_index[8:].tolist() == [0, 2, 4]


def test_the_event_flag_is_the_overlap_of_exposure_and_gate(phantom):
    settings = PhantomSettings(WHOLE, period_ns=1000.0, exposure_ns=400.0, post_trigger_frames=5)
    gate_ns = (1450.0, 3100.0)  # frames expose 100..500, 1100..1500, 2100..2500, 3100..3500
    table = phantom.record(100.0, settings, Beam(), gate_ns).table
    assert table.number[table.event_flag == 1].tolist() == [1, 2]
    assert not phantom.record(100.0, settings, Beam(), None).table.event_flag.any()


def test_phantom_pixels_are_light_in_twelve_bit_counts(phantom, scene):
    settings = PhantomSettings(Region(2, 4, 5, 6), 1000.0, 500.0, 4)
    burst = phantom.record(0.0, settings, Beam())
    pixels = phantom.memory.read(0, len(burst.table))
    light = scene.light(3, Beam())[2:7, 4:10]
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[-1], np.rint(64 + 3600 * light))
    phantom.record(0.0, settings, Beam(shutter_open=False))
    assert (phantom.memory.read(0, 1) == 64).all()


def test_shimadzu_frames_are_block_means_in_the_upper_ten_bits(shimadzu, scene):
    burst = shimadzu.record(0.0, ShimadzuSettings(frames=4), Beam())
    pixels = shimadzu.memory.read(0, 4)
    light = scene.light(3, Beam()).astype(np.float64)
    mean = light[:4, :4].mean()
    assert pixels.shape == (4, 2, 3)
    assert not (pixels & 0x3F).any()
    assert pixels[3, 0, 0] >> 6 == round(40 + 900 * mean)
    assert burst.table.event_flag.all()


def test_shimadzu_times_follow_interval_delay_and_position(shimadzu):
    settings = ShimadzuSettings(
        frames=3,
        interval_ns=200.0,
        exposure_ns=100.0,
        trigger_delay_ns=1000.0,
        frames_before_trigger=1,
    )
    table = shimadzu.record(70.0, settings, Beam()).table
    assert table.time_ns.tolist() == [850.0, 1050.0, 1250.0]
    assert table.true_time_ns.tolist() == [920.0, 1120.0, 1320.0]
    assert settings.window_ns(70.0) == (870.0, 1470.0)


def test_photon_noise_has_the_variance_of_poisson():
    light = np.full((400, 500), 0.6, np.float32)
    noisy = photon_noise(light, 500.0, np.random.default_rng(1))
    assert noisy.mean() == pytest.approx(0.6, rel=1e-3)
    assert noisy.var() * 500.0 / noisy.mean() == pytest.approx(1.0, abs=0.02)


def test_noise_is_decided_by_seed_and_shot(scene, tmp_path):
    def shoot(seed, shot):
        memory = CameraMemory(tmp_path / "noisy.h5")
        ShimadzuCamera(scene, memory, 100.0, seed).record(
            0.0, ShimadzuSettings(frames=2), Beam(), shot
        )
        return memory.read(0, 2)

    np.testing.assert_array_equal(shoot(1, 5), shoot(1, 5))
    assert (shoot(1, 5) != shoot(1, 6)).any()
    assert (shoot(1, 5) != shoot(2, 5)).any()


def test_block_mean_keeps_the_mean():
    light = np.random.default_rng(0).random((16, 24), np.float32)
    assert block_mean(light).shape == (4, 6)
    assert block_mean(light).mean() == pytest.approx(light.mean(), rel=1e-6)


def test_memory_survives_whoever_wrote_it(shimadzu, tmp_path):
    burst = shimadzu.record(0.0, ShimadzuSettings(frames=4), Beam())
    again = CameraMemory(tmp_path / "shimadzu.h5")
    np.testing.assert_array_equal(again.burst.table.time_ns, burst.table.time_ns)
    assert again.burst.truth_scene == shimadzu.scene.path
    np.testing.assert_array_equal(again.read(1, 3), shimadzu.memory.read(1, 3))
    again.clear()
    assert CameraMemory(tmp_path / "shimadzu.h5").burst is None


def test_a_failed_recording_leaves_the_old_burst(shimadzu):
    old = shimadzu.record(0.0, ShimadzuSettings(frames=2), Beam())

    def broken():
        yield np.zeros(old.shape, np.uint16)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        shimadzu.memory.store(old, broken())
    assert CameraMemory(shimadzu.memory.path).read(0, 2).shape == (2, 2, 3)


def test_damaged_memory_is_named(tmp_path):
    path = tmp_path / "camera.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"camera\.h5 cannot be read"):
        CameraMemory(path)


def test_a_burst_file_never_replaces_another(tmp_path):
    (tmp_path / "shot.h5").write_bytes(b"yesterday")
    with pytest.raises(FileExistsError, match="not overwritten"):
        BurstFile(tmp_path / "shot.h5", 3)
    assert (tmp_path / "shot.h5").read_bytes() == b"yesterday"


def test_delays_add_up_along_their_references():
    delays = DelayGenerator()
    delays.delay_s.update(A=1e-6, C=250e-9)
    delays.refer("C", "A")
    assert delays.time_ns("A") == pytest.approx(1000.0)
    assert delays.time_ns("C") == pytest.approx(1250.0)
    with pytest.raises(ValueError, match="cannot refer to C"):
        delays.refer("A", "C")
    assert delays.time_ns("A") == pytest.approx(1000.0)
