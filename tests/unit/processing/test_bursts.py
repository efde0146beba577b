"""What a burst is corrected with, found in files and journals without any server."""

from contextlib import nullcontext

import numpy as np
import pytest
from calibration_records import record
from event_model import compose_run
from synthetic_runs import HR, LR, N, emit_run, references_and_burst

from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.configuration import Folders
from xfusion_bluesky.processing.bursts import BurstFinder, BurstNotFound
from xfusion_bluesky.processing.callback import ReconstructionCallback


def no_catalog():
    raise AssertionError("Tiled was asked")


@pytest.fixture
def line(tmp_path):
    folders = Folders(**{name: tmp_path / name for name, _ in Folders()})
    for _, folder in folders:
        folder.mkdir()
    return BurstFinder(folders, no_catalog), ReconstructionCallback(folders.journal)


def dual_burst(line, **metadata):
    finder, callback = line
    named = references_and_burst(callback, finder.folders.raw)
    start = {**finder.find(named)[0].start, **metadata}
    uid = emit_run(
        callback,
        finder.folders.raw,
        "dual-burst",
        lambda camera, shape: (np.zeros((N, *shape), "u2"),),
        **{key: start[key] for key in ("dark_uid", "flat_uid", "calibration_uid")},
    )
    return finder.find(uid)[0], start


def journal_calibration(callback, made):
    calibration = made.model_dump(mode="json")
    run = compose_run(metadata={"analysis_stage": "calibration", "calibration": calibration})
    callback("start", run.start_doc)
    callback("stop", run.compose_stop())
    return run.start_doc["uid"]


def test_the_record_is_in_its_file_or_in_the_journal(line):
    finder, callback = line
    made = record(LR, HR, offset_ns=5.0)
    uid = journal_calibration(callback, made)
    burst, start = dual_burst(line, calibration_uid=uid)
    corrections, missing = finder.corrections_here(burst)
    assert (corrections.calibration, missing) == (made, ())
    assert corrections == finder.corrections(burst)
    assert corrections.uids == {key: start[key] for key in corrections.uids}
    later = record(LR, HR, offset_ns=7.0)
    later.save(CalibrationRecord.file(finder.folders.raw, uid))
    assert finder.calibration(uid) == later


def test_references_of_the_calibration_stand_in_for_those_that_a_run_lacks(line):
    finder, callback = line
    burst, start = dual_burst(line)
    inputs = [("dark", start["dark_uid"]), ("flat", "another")]
    uid = journal_calibration(callback, record(LR, HR, inputs=inputs))
    burst, _ = dual_burst(line, calibration_uid=uid, dark_uid=None)
    corrections, missing = finder.corrections_here(burst)
    assert missing == ()
    assert corrections.uids["dark_uid"] == start["dark_uid"]
    # What the run names counts.
    assert corrections.uids["flat_uid"] != "another"
    assert [each.seq_num for each in corrections.dark] == [1]


def test_what_is_not_here_or_damaged_is_told(line):
    finder, callback = line
    burst, _ = dual_burst(line, calibration_uid="elsewhere", flat_uid="gone")
    corrections, missing = finder.corrections_here(burst)
    assert corrections.calibration is None
    assert not corrections.gives_transmission
    assert [words.split()[:2] for words in missing] == [
        ["calibration_uid", "elsewhere:"],
        ["flat_uid", "gone:"],
    ]
    file = CalibrationRecord.file(finder.folders.raw, "elsewhere")
    file.parent.mkdir()
    file.write_text("{}")
    assert "is no calibration record" in finder.corrections_here(burst)[1][0]
    with pytest.raises(BurstNotFound, match="is no calibration record"):
        finder.corrections(burst)
    run = compose_run(metadata={"analysis_stage": "calibration"})
    callback("start", run.start_doc)
    callback("stop", run.compose_stop())
    with pytest.raises(BurstNotFound, match="no usable calibration in the journal"):
        finder.calibration(run.start_doc["uid"])


@pytest.mark.parametrize("uid", ["../../secret", "/etc/passwd", "", "a" * 100, "x\0"])
def test_a_name_that_leads_elsewhere_is_no_uid(line, tmp_path, uid):
    finder, _ = line
    record(LR, HR).save(tmp_path / "secret.json")
    with pytest.raises(BurstNotFound, match="not the uid of a calibration"):
        finder.calibration(uid)


def test_a_record_is_not_read_through_a_link_that_leads_outside(line, tmp_path):
    finder, _ = line
    record(LR, HR).save(tmp_path / "elsewhere.json")
    file = CalibrationRecord.file(finder.folders.raw, "linked")
    file.parent.mkdir()
    file.symlink_to(tmp_path / "elsewhere.json")
    finder = BurstFinder(finder.folders, lambda: nullcontext(Empty()))
    with pytest.raises(LookupError):
        finder.calibration("linked")


class Empty:
    def calibration(self, uid):
        raise LookupError(uid)
