"""HDF5 files of file plugins: where the images are, and what leads out of the file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xfusion_bluesky.formats.areadetector_hdf5 import open_detector_file
from xfusion_bluesky.formats.burst_file_writer import write_burst_file
from xfusion_bluesky.formats.errors import FormatError

FRAMES = np.random.default_rng(2).integers(0, 4096, (4, 6, 8)).astype(np.uint16)


def burst(path: Path) -> Path:
    write_burst_file(
        path,
        FRAMES,
        FRAMES.shape,
        frame_number=range(-1, 3),
        frame_time_ns=[-100.0, 0.0, 100.0, 200.0],
        event_flag=[False, True, True, False],
    )
    return path


def test_a_burst_file_is_read_with_the_numbers_of_each_frame(tmp_path: Path) -> None:
    with open_detector_file(burst(tmp_path / "burst.h5")) as file:
        assert (file.dataset, file.shape, len(file)) == ("/entry/data/data", (4, 6, 8), 4)
        assert set(file.attributes) == {"FrameNumber", "FrameTimeNs", "EventFlag"}
        assert file.attributes["FrameTimeNs"].tolist() == [-100, 0, 100, 200]
        for k in range(4):
            np.testing.assert_array_equal(file.frame(k), FRAMES[k])
        with pytest.raises(IndexError):
            file.frame(-1)
    assert [path.name for path in tmp_path.iterdir()] == ["burst.h5"]


def test_a_stack_is_found_where_a_camera_of_another_facility_puts_it(tmp_path: Path) -> None:
    path = tmp_path / "phantom.h5"
    with h5py.File(path, "w") as file:
        file["/run/phantom/frames"] = FRAMES
        file["/run/phantom/frames"].attrs["exposure"] = 1e-6
        file["/run/mean"] = FRAMES.mean(axis=0)

    with open_detector_file(path) as found:
        assert found.dataset == "/run/phantom/frames"
        assert found.attributes == {}
        np.testing.assert_array_equal(found.frame(3), FRAMES[3])


def test_which_of_two_stacks_is_meant_must_be_said(tmp_path: Path) -> None:
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["/raw"] = FRAMES
        file["/dark"] = FRAMES[:2]

    with (
        pytest.raises(FormatError, match=r"which dataset holds the images \(found: /dark, /raw\)"),
        open_detector_file(path),
    ):
        pass
    with open_detector_file(path, "/dark") as found:
        assert len(found) == 2
    with pytest.raises(FormatError, match="/flat is no stack"), open_detector_file(path, "/flat"):
        pass


@pytest.mark.parametrize("kind", ["external link", "soft link", "raw file", "virtual", "floats"])
def test_nothing_is_followed_out_of_the_file(tmp_path: Path, kind: str) -> None:
    secret = burst(tmp_path / "secret.h5")
    path = tmp_path / "trap.h5"
    with h5py.File(path, "w") as file:
        if kind == "external link":
            file["/entry/data/data"] = h5py.ExternalLink(secret, "/entry/data/data")
        elif kind == "soft link":
            file["/out"] = h5py.ExternalLink(secret, "/entry")
            file["/entry"] = h5py.SoftLink("/out")
        elif kind == "raw file":
            file.create_group("/entry/data").create_dataset(
                "data", (4, 6, 8), "u2", external=[(str(secret), 0, 4 * 6 * 8 * 2)]
            )
        elif kind == "virtual":
            layout = h5py.VirtualLayout(FRAMES.shape, "u2")
            layout[:] = h5py.VirtualSource(secret, "/entry/data/data", FRAMES.shape)
            file.create_virtual_dataset("/entry/data/data", layout)
        else:
            file["/entry/data/data"] = FRAMES.astype(np.float32)

    with pytest.raises(FormatError, match="found: none"), open_detector_file(path):
        pass


def test_a_loop_of_groups_ends(tmp_path: Path) -> None:
    path = tmp_path / "loop.h5"
    with h5py.File(path, "w") as file:
        file["/a/frames"] = FRAMES
        file["/a/again"] = file["/a"]

    with open_detector_file(path) as found:
        assert found.dataset == "/a/frames"


@pytest.mark.parametrize("cut", [0, 10, 2000])
def test_damaged_files_are_refused(tmp_path: Path, cut: int) -> None:
    path = burst(tmp_path / "burst.h5")
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(FormatError, match=r"burst\.h5 cannot be used"), open_detector_file(path):
        pass


def test_frames_that_cannot_all_be_written_leave_no_file(tmp_path: Path) -> None:
    def frames():  # type: ignore[no-untyped-def]
        yield FRAMES[0]
        raise FormatError("the second is damaged")

    with pytest.raises(FormatError, match="the second is damaged"):
        write_burst_file(
            tmp_path / "a.h5",
            frames(),
            FRAMES.shape,
            frame_number=range(4),
            frame_time_ns=range(4),
            event_flag=[True] * 4,
        )
    assert not list(tmp_path.iterdir())
