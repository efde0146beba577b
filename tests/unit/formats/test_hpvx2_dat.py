"""HPV-X2 .dat files, as far as they are understood."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.hpvx2_dat import SHAPE, read_hpv_dat, write_hpv_dat

FRAMES = np.random.default_rng(3).integers(0, 1024, (3, *SHAPE)).astype(np.uint16) << 6


def make(folder: Path) -> Path:
    path = folder / "shot.dat"
    write_hpv_dat(
        path,
        list(FRAMES),
        interval_ns=200,
        exposure_ns=110,
        recorded=datetime(2026, 11, 3, 17, 21, 28),
        first_time_ns=-400,
    )
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    recording = read_hpv_dat(make(tmp_path))

    assert (recording.frames, recording.interval_ns, recording.exposure_ns) == (3, 200, 110)
    assert recording.relative_ns == (-400, -200, 0)
    assert recording.recorded == datetime(2026, 11, 3, 17, 21, 28)
    for k in range(3):
        np.testing.assert_array_equal(recording.frame(k), FRAMES[k])
    with pytest.raises(IndexError):
        recording.frame(3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a0a001a0", "a0a001a1", "tag of the pixels"),
        ("30300730", "30300731", "the frame interval .* is missing"),
        ("60600560" + "00" * 10 + "03", "60600560" + "00" * 10 + "00", "holds 0 frames"),
        (
            "60600560" + "00" * 10 + "03",
            "60600560" + "00" * 10 + "ff",
            "255 frames .* ends after 3",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = make(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(bytes.fromhex(old), bytes.fromhex(new), 1))

    with pytest.raises(FormatError, match=words):
        read_hpv_dat(path)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(FormatError, match="holds 3 frames of 400 x 250 px, but ends after 2"):
        read_hpv_dat(path)


def test_a_tag_in_the_pixels_is_no_tag(tmp_path: Path) -> None:
    path = make(tmp_path)
    data = bytearray(path.read_bytes().replace(bytes.fromhex("30300830"), b"none", 1))
    data[-8:-4] = bytes.fromhex("30300830")
    path.write_bytes(data)

    assert read_hpv_dat(path).exposure_ns == 0


def test_frames_of_another_camera_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"shape \(5, 5\)"):
        write_hpv_dat(
            tmp_path / "a.dat",
            [np.zeros((5, 5), np.uint16)],
            interval_ns=1,
            exposure_ns=1,
            recorded=datetime(2026, 1, 1),
        )
