import h5py
import numpy as np
import pytest
from xfusion_simulators.configuration import SHIPPED_SCENE
from xfusion_simulators.scene import Beam, ReplayScene
from xfusion_simulators.shimadzu_camera import block_mean

NUMBERS = "/entry/instrument/NDAttributes/"


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def shipped():
    with ReplayScene(SHIPPED_SCENE, frames=41) as scene:
        yield scene


def test_a_shot_becomes_a_phantom_file_with_times_flags_and_truth(operator, shipped, tmp_path):
    operator.put("DG645:ADelayAO", 1e-6)
    operator.put("DG645:CDelayAO", 5e-6)
    operator.light()
    operator.arm()
    operator.fire()
    assert operator.get("PHANTOM:CAM:C1:FirstFrame_RBV") == -8
    assert operator.get("PHANTOM:CAM:C1:LastFrame_RBV") == 7
    path = operator.download(tmp_path / "new", "shot", first=-2, last=4)

    assert path.name == "shot_000000.h5"
    assert files_in(path.parent) == ["shot_000000.h5", "shot_000000.truth.h5"]
    with h5py.File(path) as file, h5py.File(path.parent / file.attrs["truth_file"]) as truth:
        frames = file["/entry/data/data"]
        assert (frames.shape, frames.dtype) == ((7, 120, 400), np.uint16)
        assert (frames.chunks, frames.compression) == ((1, 120, 400), None)
        assert file[NUMBERS + "FrameNumber"][:].tolist() == list(range(-2, 5))
        # Middle of exposure by a clock that is 120 ns off.
        times_ns = file[NUMBERS + "FrameTimeNs"][:]
        assert times_ns.tolist() == [370.0 + 20_000 * j for j in range(-2, 5)]
        # The Shimadzu records 41 us from 5 us; frame j of the Phantom begins at 1 + 20 j us.
        assert file[NUMBERS + "EventFlag"][:].tolist() == [0, 0, 0, 1, 1, 0, 0]
        assert truth["/truth/time_ns"][:].tolist() == [1250 + 20_000 * j for j in range(-2, 5)]
        assert truth["/truth/scene_index"][:].tolist() == [0, 0, 1, 21, 40, 40, 40]
        assert "frames" not in truth["/truth"]
        light = shipped.light(21, Beam())
        np.testing.assert_array_equal(frames[3], np.rint(64 + 3600 * light))


def test_a_shot_becomes_a_shimadzu_file_with_the_scene_as_truth(operator, shipped, tmp_path):
    operator.light()
    operator.arm()
    operator.fire()
    path = operator.play_back(tmp_path, "burst")

    with h5py.File(path) as file, h5py.File(tmp_path / file.attrs["truth_file"]) as truth:
        frames = file["/entry/data/data"][:]
        assert frames.shape == (41, 30, 100)
        times_ns = file[NUMBERS + "FrameTimeNs"][:]
        assert times_ns.tolist() == [210.0 + 1000 * k for k in range(41)]
        assert times_ns.tolist() == operator.get("HPVX2:CAM:FrameTimes_RBV").tolist()
        assert file[NUMBERS + "EventFlag"][:].all()
        assert truth["/truth/scene_index"][:].tolist() == list(range(41))
        np.testing.assert_array_equal(truth["/truth/frames"][17], shipped.raw(17))
        assert truth["/truth/frames"].attrs["scale"] == 1700.0
        expected = block_mean(shipped.light(17, Beam()))
    light = ((frames[17] >> operator.get("HPVX2:CAM:BitShift_RBV")) - 40.0) / 900.0
    assert np.abs(light - expected).mean() < 0.01
    assert operator.get("HPVX2:CAM:PlaybackCount_RBV") == 41


def test_dark_and_flat_show_no_scene(operator, shipped, tmp_path):
    for name, light in (("dark", {"shutter": "Closed"}), ("flat", {"sample_mm": 6.0})):
        operator.light(**light)
        operator.arm()
        operator.fire()
        path = operator.play_back(tmp_path, name)
        with h5py.File(path) as file, h5py.File(tmp_path / file.attrs["truth_file"]) as truth:
            assert "frames" not in truth["/truth"]
            counts = file["/entry/data/data"][:] >> 6
        if name == "dark":
            assert (counts == 40).all()
        else:
            mean = ((counts - 40.0) / 900.0).mean(axis=0)
            assert np.abs(mean - block_mean(shipped.profile)).max() < 0.02


def test_mesh_and_slits_stand_where_their_motors_are(operator, tmp_path):
    def move(**goals):
        for name, goal in goals.items():
            operator.put(name.replace("_", ":"), goal)
        for name in goals:
            operator.wait_for(f"{name.replace('_', ':')}.DMOV", 1)

    def shoot(name):
        operator.arm()
        operator.fire()
        path = operator.play_back(tmp_path, name)
        with h5py.File(path) as file, h5py.File(tmp_path / file.attrs["truth_file"]) as truth:
            assert "frames" not in truth["/truth"]
            np.testing.assert_allclose(
                truth["/truth"].attrs["lr_to_hr"], [[4, 0, 1.5], [0, 4, 1.5]], atol=1e-9
            )
            assert truth["/truth"].attrs["clock_offset_ns"].tolist() == [-40.0, 120.0]
            return (file["/entry/data/data"][:] >> 6).mean(axis=0) - 40.0

    operator.light(sample_mm=6.0)
    assert operator.get("MESH:X.RBV") == 15.0
    assert operator.get("SLITS:XSIZE.RBV") == 10.0
    flat = shoot("no_mesh")
    try:
        move(MESH_X=0.0)
        mesh = shoot("mesh") / flat
        move(MESH_X=0.031, MESH_Y=0.031)
        moved = shoot("mesh_moved") / flat
        move(MESH_ROT=45.0)
        turned = shoot("mesh_turned") / flat
        move(MESH_X=15.0, MESH_Y=0.0, MESH_ROT=0.0, SLITS_XSIZE=0.5, SLITS_YSIZE=0.1)
        slits = shoot("slits") / flat
    finally:
        move(MESH_X=15.0, MESH_Y=0.0, MESH_ROT=0.0, SLITS_XSIZE=10.0, SLITS_YSIZE=10.0)
    assert operator.get("MESH:ROT.RBV") == 0.0
    # The middle of a hole stands on the axis, then the crossing of two bars does.
    assert mesh[14:16, 49:51].mean() > 0.95
    assert moved[14:16, 49:51].mean() < 0.8
    assert np.abs(turned - moved).std() > 0.1
    lit = np.argwhere(slits > 0.5)
    assert lit.min(axis=0).tolist() == [10, 25]
    assert lit.max(axis=0).tolist() == [19, 74]


def test_the_event_pin_needs_its_mode_and_an_armed_shimadzu(operator, tmp_path):
    def flags(name):
        operator.put("PHANTOM:CAM:Acquire", 1)
        operator.wait_for("PHANTOM:CAM:C1:StateRaw", 4 | 256)
        operator.put("DG645:TriggerDelayBO", 1)
        operator.wait_for("PHANTOM:CAM:C1:StateRaw", 2)
        with h5py.File(operator.download(tmp_path, name)) as file:
            return file[NUMBERS + "EventFlag"][:]

    assert not flags("shimadzu_not_armed").any()
    operator.put("HPVX2:CAM:Acquire", 1)
    operator.wait_for("HPVX2:CAM:ArmState_RBV", "Armed")
    operator.put("PHANTOM:CAM:Aux1PinMode", "STROBE")
    assert not flags("pin_not_event").any()


def test_one_download_may_follow_another_under_another_number(operator, tmp_path):
    operator.arm()
    operator.fire()
    first = operator.download(tmp_path, "again", 0, 2)
    second = operator.download(tmp_path, "again", 0, 2)
    assert first != second
    with h5py.File(first) as one, h5py.File(second) as two:
        np.testing.assert_array_equal(one["/entry/data/data"], two["/entry/data/data"])


def test_refused_arming_says_so_and_nothing_waits_for_a_trigger(operator):
    for camera, word in (("PHANTOM", "PHANTOM:CAM:"), ("HPVX2", "HPVX2:CAM:")):
        operator.put(f"{camera}:SIM:Fault", "Refuse arm")
        operator.put(f"{word}Acquire", 1)
        assert operator.text(f"{word}Acquire_RBV") == "Done"
        assert operator.text(f"{word}Acquire") == "Done"
        assert operator.text(f"{word}DetectorState_RBV") == "Error"
        assert "refused" in operator.text(f"{word}StatusMessage_RBV")


def test_disarming_forgets_the_trigger(operator):
    operator.arm()
    operator.put("PHANTOM:CAM:Acquire", 0)
    operator.put("HPVX2:CAM:Acquire", 0)
    assert operator.get("PHANTOM:CAM:C1:StateRaw") == 32
    assert operator.text("HPVX2:CAM:ArmState_RBV") == "Idle"
    operator.put("DG645:TriggerDelayBO", 1)
    assert operator.get("PHANTOM:CAM:C1:StateRaw") == 32
    assert operator.text("PHANTOM:CAM:Acquire_RBV") == "Done"


def test_the_delay_generator_fires_only_single_shots_that_are_not_inhibited(operator):
    shots = operator.get("DG645:SIM:ShotCount_RBV")
    operator.put("DG645:TriggerInhibitMO", "Triggers")
    operator.put("DG645:TriggerDelayBO", 1)
    assert "inhibited" in operator.text("DG645:StatusSI")
    operator.put("DG645:TriggerInhibitMO", "Off")
    operator.put("DG645:TriggerSourceMO", "Internal")
    operator.put("DG645:TriggerDelayBO", 1)
    assert operator.get("DG645:SIM:ShotCount_RBV") == shots
    operator.put("DG645:TriggerSourceMO", "Single shot")
    operator.put("DG645:TriggerDelayBO", 1)
    assert operator.get("DG645:SIM:ShotCount_RBV") == shots + 1
    assert operator.text("DG645:StatusSI") == "OK"


@pytest.mark.parametrize("camera", ["PHANTOM", "HPVX2"])
def test_lost_frames_leave_the_capture_short_and_are_counted(operator, tmp_path, camera):
    operator.arm()
    operator.fire()
    operator.put(f"{camera}:SIM:Fault", "Drop frames")
    frames = 10 if camera == "PHANTOM" else 41
    operator.capture(camera, tmp_path, "short", frames)
    operator.choose_frames(-2, 7)
    start, lost = {
        "PHANTOM": ("CAM:Download", "CAM:DroppedPackets_RBV"),
        "HPVX2": ("CAM:Playback", "CAM:DataLost_RBV"),
    }[camera]
    operator.put(f"{camera}:{start}", 1)
    operator.wait_for(f"{camera}:{start}", 0)
    assert operator.get(f"{camera}:HDF1:NumCaptured_RBV") == frames - 2
    assert operator.get(f"{camera}:{lost}") == 2
    assert operator.text(f"{camera}:HDF1:Capture_RBV") == "Capturing"

    operator.put(f"{camera}:HDF1:Capture", 0)
    assert operator.text(f"{camera}:HDF1:Capture_RBV") == "Done"
    assert files_in(tmp_path) == []


def test_a_hung_transfer_waits_to_be_aborted_and_the_memory_stays(operator, tmp_path):
    operator.arm()
    operator.fire()
    operator.put("PHANTOM:SIM:Fault", "Hang transfer")
    operator.put("HPVX2:SIM:Fault", "Hang transfer")
    operator.choose_frames(-8, 7)
    operator.put("PHANTOM:CAM:Download", 1)
    operator.put("HPVX2:CAM:Playback", 1)
    operator.wait_for("PHANTOM:CAM:DownloadCount_RBV", 8)
    operator.wait_for("HPVX2:CAM:PlaybackCount_RBV", 20)
    operator.put("PHANTOM:CAM:AbortDownload", 1)
    operator.put("HPVX2:CAM:Acquire", 0)
    assert operator.get("PHANTOM:CAM:Download") == 0
    assert operator.get("HPVX2:CAM:Playback") == 0
    operator.put("PHANTOM:SIM:Fault", "None")
    assert operator.download(tmp_path, "after").exists()


def test_a_download_outside_the_cine_is_refused(operator):
    operator.arm()
    operator.fire()
    operator.choose_frames(0, 8)
    operator.put("PHANTOM:CAM:Download", 1)
    assert operator.get("PHANTOM:CAM:Download") == 0
    assert "not in cine" in operator.text("PHANTOM:CAM:StatusMessage_RBV")
    operator.put("PHANTOM:CAM:Delete", 1)
    operator.put("PHANTOM:CAM:Download", 1)
    assert "no cine" in operator.text("PHANTOM:CAM:StatusMessage_RBV")


def test_a_missing_folder_refuses_the_capture_with_a_reason(operator, tmp_path):
    operator.put("PHANTOM:HDF1:CreateDirectory", 0)
    operator.put("PHANTOM:HDF1:FilePath", str(tmp_path / "nowhere"))
    operator.put("PHANTOM:HDF1:Capture", 1)
    assert operator.text("PHANTOM:HDF1:FilePathExists_RBV") == "No"
    assert operator.text("PHANTOM:HDF1:Capture_RBV") == "Done"
    assert operator.text("PHANTOM:HDF1:WriteStatus") == "Write error"
    assert "nowhere" in operator.text("PHANTOM:HDF1:WriteMessage")


def test_settings_show_what_the_cameras_accept(operator):
    for name, put, accepted in (
        ("HPVX2:CAM:RecordInterval", 886, 890),
        ("HPVX2:CAM:ExposureTime", 5000, 890),
        ("HPVX2:CAM:PlaybackRate", 100.0, 33.0),
        ("HPVX2:CAM:RecordInterval", 1000, 1000),
        ("HPVX2:CAM:ExposureTime", 500, 500),
        ("PHANTOM:CAM:MinX", 300, 300),
        ("PHANTOM:CAM:SizeX", 400, 100),
        ("PHANTOM:CAM:MinX", 0, 0),
        ("PHANTOM:CAM:SizeX", 400, 400),
        ("PHANTOM:CAM:AcquirePeriod", 1e-9, pytest.approx(120 / 800 / 76e3)),
        ("PHANTOM:CAM:AcquireTime", 1.0, pytest.approx(120 / 800 / 76e3)),
        ("PHANTOM:CAM:AcquirePeriod", 20e-6, 20e-6),
        ("PHANTOM:CAM:AcquireTime", 500e-9, 500e-9),
    ):
        operator.put(name, put)
        assert operator.get(f"{name}_RBV") == accepted, name


def test_a_readback_cannot_be_written_and_the_ioc_lives_on(operator):
    channel = operator.pv("PHANTOM:CAM:ArrayCounter_RBV").channel
    assert "WRITE" not in channel.access_rights.name
    operator.put("DG645:AReferenceMO", "C")
    operator.put("DG645:CReferenceMO", "A")
    assert operator.text("DG645:CReferenceMI") == "T0"
    operator.put("DG645:AReferenceMO", "T0")


def test_black_reference_counts(operator):
    count = operator.get("PHANTOM:CAM:CSRCount_RBV")
    operator.put("PHANTOM:CAM:PerformCSR", 1)
    operator.wait_for("PHANTOM:CAM:CSRCount_RBV", count + 1)
