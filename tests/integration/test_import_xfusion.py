"""An experiment in XFusion's layout goes in, and is a raw run like any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import refused, type_command

from xfusion_bluesky.configuration import Folders
from xfusion_bluesky.datasets.xfusion_experiment import hr_range, import_case
from xfusion_bluesky.documents.journal import JournalWriter, journal_path, read_journal
from xfusion_bluesky.documents.paths import UnsafePath
from xfusion_bluesky.documents.raw import bursts_of
from xfusion_bluesky.documents.sequence import burst_sequence
from xfusion_bluesky.formats.areadetector_hdf5 import open_detector_file
from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.xfusion_case import open_case
from xfusion_bluesky.formats.xfusion_case_writer import write_case

RNG = np.random.default_rng(4)
LR = RNG.integers(0, 1024, (9, 10, 16)).astype(np.uint16) << 6
HR = RNG.integers(0, 4096, (12, 40, 64)).astype(np.uint16)
LR_NS = 5000.0 * np.arange(9)
HR_NS = 13_160.0 * np.arange(-4, 8)
FLAGS = (HR_NS >= 0) & (LR_NS[-1] >= HR_NS)


def make_case(root: Path, name: str = "shot1", lr: np.ndarray = LR) -> Path:
    write_case(
        root / name,
        lr,
        HR,
        lr_time_ns=LR_NS.tolist(),
        hr_time_ns=HR_NS.tolist(),
        hr_event_flag=FLAGS.tolist(),
    )
    return root / name


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(raw=tmp_path / "raw", journal=tmp_path / "journal")


def everything_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_a_case_becomes_a_burst_with_its_times_and_images(tmp_path: Path, folders: Folders) -> None:
    case = open_case(make_case(tmp_path / "beamtime"))

    run = import_case(case, folders, sample_name="wall", calibration_uid="c-1")

    documents = list(read_journal(journal_path(folders.journal, run.uid)))
    names = [name for name, _ in documents]
    assert names == [
        "start",
        "descriptor",
        *("stream_resource", "stream_datum") * 2,
        "event",
        "stop",
    ]
    start = documents[0][1]
    assert (start["plan_name"], start["purpose"], start["scale"], start["num_bursts"]) == (
        "import_xfusion",
        "dual-burst",
        4,
        1,
    )
    assert (start["sample_name"], start["calibration_uid"]) == ("wall", "c-1")
    assert start["source"]["folder"] == "beamtime"
    assert start["source"]["case"] == "shot1"
    assert start["source"]["phantom_images"] == [4, 8]
    assert str(tmp_path) not in json.dumps(start)

    (burst,) = bursts_of(documents)
    assert burst.shimadzu.time_ns == tuple(LR_NS)
    # From the last frame at or before the burst to the first after it, which has no flag.
    assert burst.phantom.time_ns == (0.0, 13_160.0, 26_320.0, 39_480.0, 52_640.0)
    assert burst.phantom.event_flag == (1, 1, 1, 1, 0)
    assert burst.shimadzu.bit_shift == 6
    for camera in (burst.phantom, burst.shimadzu):
        assert hashlib.sha256(camera.file.read_bytes()).hexdigest() == camera.sha256
    with open_detector_file(burst.phantom.file) as file:
        assert file.attributes["FrameNumber"].tolist() == [0, 1, 2, 3, 4]
    with burst_sequence(burst) as sequence:
        assert sequence.lr_time_ns.tolist() == LR_NS.tolist()
        np.testing.assert_array_equal(sequence.lr(3), (LR[3] >> 6).astype(np.float32))
        np.testing.assert_array_equal(sequence.hr(1), HR[5].astype(np.float32))


def test_the_same_case_is_imported_once_wherever_it_lies(tmp_path: Path, folders: Folders) -> None:
    first = import_case(open_case(make_case(tmp_path / "a")), folders)
    files = everything_in(tmp_path / "raw")

    again = import_case(open_case(make_case(tmp_path / "b", "renamed")), folders)
    other = import_case(open_case(make_case(tmp_path / "b", "other", LR + 64)), folders)

    assert (again.uid, first.is_new, again.is_new) == (first.uid, True, False)
    assert other.uid != first.uid
    assert len(everything_in(tmp_path / "raw")) == 2 * len(files) == 4


def test_all_frames_can_be_had_and_low_bits_are_kept(tmp_path: Path, folders: Folders) -> None:
    case = open_case(make_case(tmp_path / "a", lr=LR + 1))

    run = import_case(case, folders, all_frames=True)

    (burst,) = bursts_of(read_journal(journal_path(folders.journal, run.uid)))
    assert burst.phantom.shape == HR.shape
    assert burst.phantom.event_flag == tuple(FLAGS.astype(int))
    assert burst.shimadzu.bit_shift == 0


def test_a_burst_shorter_than_a_phantom_frame_has_one_on_both_sides(tmp_path: Path) -> None:
    write_case(
        tmp_path / "fast",
        LR,
        HR,
        lr_time_ns=(200.0 * np.arange(9)).tolist(),
        hr_time_ns=(HR_NS - 40.0).tolist(),
        hr_event_flag=[k == 4 for k in range(12)],
    )

    assert hr_range(open_case(tmp_path / "fast")) == range(4, 6)


def test_a_damaged_image_leaves_nothing_behind(tmp_path: Path, folders: Folders) -> None:
    folder = make_case(tmp_path / "a")
    (image,) = folder.rglob("shot1_005.tiff")
    case = open_case(folder)
    image.write_bytes(image.read_bytes()[:100])

    with pytest.raises(FormatError, match=r"shot1_005\.tiff"):
        import_case(case, folders)
    with pytest.raises(UnsafePath):
        import_case(case, folders, calibration_uid="../../etc")
    assert not everything_in(folders.raw)
    assert not everything_in(folders.journal)
    assert not list(folders.raw.iterdir())


def test_an_import_that_was_killed_is_made_again(tmp_path: Path, folders: Folders) -> None:
    case = open_case(make_case(tmp_path / "a"))
    uid = import_case(case, folders).uid
    journal_path(folders.journal, uid).unlink()

    assert import_case(case, folders).is_new
    assert len(everything_in(folders.raw)) == 2
    JournalWriter(folders.journal, uid).close()


def test_the_command_imports_all_cases_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for k in (1, 2):
        make_case(tmp_path / "beamtime", f"shot{k}", LR + 64 * np.uint16(k))

    wrong = type_command("import-xfusion", "beamtime", "--case", "shot3")
    refused(wrong, "no case shot3; it has shot1, shot2")
    assert not (tmp_path / "raw").exists()

    done = type_command("import-xfusion", "beamtime", "--sample-name", "wall 1")
    assert done.code == 0, done.err
    assert [line.split("  ")[0] for line in done.out.splitlines()[:2]] == ["shot1", "shot2"]

    again = type_command("import-xfusion", "beamtime", "--case", "shot2")
    assert "shot2  is already there as run" in again.out
    assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 2

    (tmp_path / "beamtime/shot2/shot2.ini").write_text("[REC_INFO]\nRecSpeed=1ns\nRecFrame=9\n")
    make_case(tmp_path / "beamtime", "shot0", LR + 1)
    refused(type_command("import-xfusion", "beamtime"), "shot2.ini", "IMAGE_INFO_1")
    assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 2
