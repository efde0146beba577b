from dataclasses import replace

import h5py
import numpy as np
import pytest
from xfusion_simulators.burst_file import BurstFile
from xfusion_simulators.camera_pair import CameraPair
from xfusion_simulators.clock import CameraClock
from xfusion_simulators.configuration import (
    BeamlineConfig,
    DetectorConfig,
    FlickerConfig,
    MeshConfig,
    OpticsConfig,
)
from xfusion_simulators.detector import Detector
from xfusion_simulators.flicker import Flicker
from xfusion_simulators.ioc.stage import stage_pose
from xfusion_simulators.memory import CameraMemory
from xfusion_simulators.mesh import MeshPose
from xfusion_simulators.phantom_camera import PhantomSettings, Region
from xfusion_simulators.scene import Beam
from xfusion_simulators.shimadzu_camera import ShimadzuSettings
from xfusion_simulators.slits import SlitOpening
from xfusion_simulators.truth import write_truth

SEEN = ShimadzuSettings(frames=6)
FLAT = Beam(sample_in=False)


@pytest.fixture
def make_pair(tmp_path):
    opened = []

    def make(config=BeamlineConfig.realistic, **settings):
        folder = tmp_path / str(len(opened))
        opened.append(CameraPair.of(config(memory_folder=folder, **settings)))
        return opened[-1]

    yield make
    for pair in opened:
        pair.scene.close()


def shoot(pair, beam, shot=1, region=None, frames=6):
    region = region or Region(0, 0, *pair.phantom.shape)
    geometry = pair.geometry(region)
    settings = PhantomSettings(region, period_ns=2000.0, post_trigger_frames=3)
    hr = pair.phantom.record(0.0, settings, beam, shot=shot, geometry=geometry)
    lr = pair.shimadzu.record(0.0, replace(SEEN, frames=frames), beam, shot, geometry)
    counts = (
        pair.shimadzu.memory.read(0, frames) >> 6,
        pair.phantom.memory.read(0, len(hr.table)),
    )
    return lr, hr, *counts


def test_the_same_seed_gives_the_same_frames(make_pair):
    one, two, other = make_pair(), make_pair(), make_pair(seed=1)
    assert one.phantom.shape == (160, 448)
    beam = Beam(mesh=MeshPose(3.0, 4.0, 1.0))
    frames = [shoot(pair, beam)[2:] for pair in (one, two, other)] + [shoot(one, beam, shot=2)[2:]]
    for first, same, *others in zip(*frames, strict=True):
        np.testing.assert_array_equal(first, same)
        assert all((first != each).any() for each in others)


def test_the_truth_says_where_both_cameras_look_and_when(make_pair, tmp_path):
    realistic = BeamlineConfig.realistic(tmp_path).phantom_optics
    optics = realistic.model_copy(update={"radial_per_px2": 3e-7})
    pair = make_pair(phantom_optics=optics)
    region = Region(8, 16, 140, 410)
    lr, _, _, _ = shoot(pair, FLAT, region=region)
    again = CameraMemory(pair.shimadzu.memory.path).burst
    assert again.geometry == lr.geometry
    write_truth(tmp_path / "flat.truth.h5", again.table, again)
    with h5py.File(tmp_path / "flat.truth.h5") as file:
        truth = file["truth"]
        assert "frames" not in truth
        table, affine = truth.attrs["lr_to_hr_grid"], truth.attrs["lr_to_hr"]
        assert truth.attrs["clock_offset_ns"].tolist() == [130.0, 0.0]
        assert truth.attrs["clock_drift_ppm"].tolist() == [2.0, 0.0]
        np.testing.assert_array_equal(truth["beam_gain"], lr.table.beam_gain)
    assert table.min(axis=0)[:2].tolist() == [0, 0]
    assert table.max(axis=0)[:2].tolist() == [29, 99]
    # The Phantom sees the whole field of the Shimadzu.
    assert (table[:, 2:].min(axis=0) > 0).all()
    assert (table[:, 2:].max(axis=0) < [140, 410]).all()
    scene = pair.shimadzu.view.optics.scene_position(table[:, :2])
    hr = pair.phantom.view.optics.pixel_position(scene) - [8, 16]
    np.testing.assert_allclose(table[:, 2:], hr)
    fitted = table[:, :2] @ affine[:, :2].T + affine[:, 2]
    assert 0.05 < np.abs(fitted - table[:, 2:]).max() < 2.0
    assert np.linalg.det(affine[:, :2]) < 0


def test_truth_frames_lie_on_the_grid_of_the_shimadzu_and_flicker(make_pair, tmp_path):
    quiet = {"blank_photons": None, "shimadzu_detector": DetectorConfig(), "scintillator": {}}
    turned = OpticsConfig(rotation_deg=2.0, shift_px=(1.0, 2.0))
    pair = make_pair(
        BeamlineConfig, **quiet, shimadzu_optics=turned, flicker=FlickerConfig(rms=0.05)
    )
    burst, _, counts, _ = shoot(pair, Beam())
    flat = shoot(pair, FLAT)[2][0] / 1.0
    with_truth = BurstFile(tmp_path / "burst.h5", 6)
    with_truth.append(pair.shimadzu.memory.read(0, 6), burst.table, burst)
    with_truth.finish()
    with h5py.File(tmp_path / "burst.truth.h5") as file:
        truth = file["/truth/frames"][:] / file["/truth/frames"].attrs["scale"]
    assert truth.shape == (6, 120, 400)
    gain = burst.table.beam_gain
    assert np.ptp(gain) > 0.005
    for k in (0, 5):
        seen = (counts[k] - 40.0) / (flat - 40.0) * gain[0]
        block = truth[k].reshape(30, 4, 100, 4).mean(axis=(1, 3))
        assert np.abs(seen - block).mean() < 2e-3


def test_both_cameras_see_one_flicker_through_their_own_exposures(make_pair):
    pair = make_pair(BeamlineConfig, blank_photons=None, flicker=FlickerConfig(rms=0.05))
    lr, hr, lr_counts, hr_counts = shoot(pair, FLAT, frames=5)
    # Frames 0, 1, 2 of the Phantom expose with frames 0, 2, 4 of the Shimadzu.
    np.testing.assert_allclose(hr.table.beam_gain[8:], lr.table.beam_gain[::2])
    brightness = (lr_counts - 40.0).mean(axis=(1, 2))[::2] / (hr_counts[8:] - 64.0).mean((1, 2))
    np.testing.assert_allclose(brightness, 900 / 3600, rtol=2e-3)

    flicker = Flicker(rms=0.02, correlation_ns=2000.0, seed=5)
    times_ns = np.arange(0, 4e5, 500.0)
    gains = np.stack([flicker.gain(times_ns, 0.0, shot) for shot in range(20)])
    assert gains.mean() == pytest.approx(1.0, abs=2e-3)
    assert gains.std() == pytest.approx(0.02, rel=0.1)
    fluctuation = gains - 1
    correlation = (fluctuation[:, 4:] * fluctuation[:, :-4]).mean() / fluctuation.var()
    assert correlation == pytest.approx(np.exp(-0.5), abs=0.08)
    fine = flicker.gain(np.arange(1000.0, 4000.0, 10) + 5, 0.0, 0).mean()
    assert flicker.gain(np.array([2500.0]), 3000.0, 0)[0] == pytest.approx(fine, abs=1e-6)


def test_every_storage_cell_has_a_pattern_of_its_own():
    light, rng = np.full((60, 80), 0.5, np.float32), np.random.default_rng(0)
    cells = Detector(cell_gain_pattern=0.02, seed=4)
    first, second = (cells.signal(light, k, rng) for k in (3, 4))
    np.testing.assert_array_equal(first, cells.signal(light, 3, rng))
    assert (first / light).std() == pytest.approx(0.02, rel=0.05)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0, abs=0.05)
    assert not Detector(cell_gain_pattern=0.02).signal(light * 0, 3, rng).any()

    fixed = Detector(gain_pattern=0.01, offset_pattern=0.003, first_frame_excess=0.1)
    np.testing.assert_array_equal(fixed.signal(light, 1, rng), fixed.signal(light, 2, rng))
    assert fixed.signal(light, 0, rng).mean() == pytest.approx(0.55, rel=1e-3)
    assert fixed.signal(light * 0, 1, rng).std() == pytest.approx(0.003, rel=0.05)


def test_noise_and_stuck_pixels_are_there_in_the_dark(make_pair):
    pair = make_pair()
    _, _, lr, hr = shoot(pair, Beam(shutter_open=False))
    assert np.median(lr) == 40
    assert np.median(hr) == 64
    assert (hr == 4095).all(axis=0).sum() == 6
    assert (lr == 1023).all(axis=0).sum() == 2
    ordinary = (hr < 4095).all(axis=0)
    assert hr[:, ordinary].std(axis=0, ddof=1).mean() == pytest.approx(6, rel=0.1)
    stuck = pair.phantom.detector.stuck_pixels(pair.phantom.shape)
    assert (hr[:, stuck < 0] == 64).all()
    bright = shoot(pair, FLAT)[3]
    expected = bright[:, stuck == 0].mean(axis=0) - 64.0
    noise = bright[:, stuck == 0].std(axis=0, ddof=1)
    # 2e4 photons in 1800 counts, 6 counts of read noise, and flicker of 0.3 %.
    variance = expected * 1800 / 2e4 + 6**2 + (0.003 * expected) ** 2
    assert (noise**2).mean() == pytest.approx(variance.mean(), rel=0.15)


def test_mesh_slits_and_dust_stand_before_both_cameras(make_pair):
    pair = make_pair(flicker=FlickerConfig())
    _, _, flat_lr, flat_hr = shoot(pair, FLAT)
    _, _, mesh_lr, mesh_hr = shoot(pair, Beam(sample_in=False, mesh=MeshPose()))
    _, _, moved_lr, moved_hr = shoot(pair, Beam(sample_in=False, mesh=MeshPose(31.0, 31.0)))
    for flat, mesh, moved in ((flat_lr, mesh_lr, moved_lr), (flat_hr, mesh_hr, moved_hr)):
        ratio, other = mesh.mean(axis=0) / flat.mean(axis=0), moved.mean(axis=0) / flat.mean(axis=0)
        assert ratio.mean() == pytest.approx(0.82, abs=0.03)
        # Half a pitch away holes stand where bars crossed.
        assert np.corrcoef(ratio.ravel(), other.ravel())[0, 1] < -0.1
    small = Beam(sample_in=False, slits=SlitOpening(150.0, 500.0))
    _, _, lr, hr = shoot(pair, small)
    lit = np.argwhere((lr.mean(axis=0) > 300) & (lr < 1000).all(axis=0))
    assert np.ptp(lit, axis=0) == pytest.approx([15, 50], abs=2)
    assert (hr[:, 0] < 200).all()


def test_the_ideal_beamline_sees_the_mesh_too(make_pair):
    pair = make_pair(BeamlineConfig, blank_photons=None)
    _, _, lr, hr = shoot(pair, Beam(sample_in=False, mesh=MeshPose()))
    assert hr.shape[1:] == (120, 400)
    assert lr.std() > 50


def test_a_clock_drifts_from_its_trigger_on():
    times_ns = np.array([0.0, 1e6, 1e7])
    assert CameraClock(130.0, 20.0).reading(times_ns).tolist() == [130, 1_000_150, 10_000_330]


def test_the_mesh_stage_is_nearly_where_it_says():
    config = MeshConfig()
    pose = stage_pose(1.0, -0.5, 10.0, config, seed=3)
    assert pose == stage_pose(1.0, -0.5, 10.0, config, seed=3)
    assert pose != stage_pose(1.0, -0.5, 10.0, config, seed=4)
    misses = np.array([stage_pose(x, 0.0, 0.0, config, 3).column_um - 1000 * x for x in range(200)])
    assert misses.std() == pytest.approx(config.position_error_um, rel=0.2)
    exact = MeshConfig(position_error_um=0, rotation_error_deg=0)
    assert stage_pose(1.0, -0.5, 10.0, exact, 3) == MeshPose(-500.0, 1000.0, 10.0)
