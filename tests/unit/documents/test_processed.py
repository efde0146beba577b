import json
import math
import time

import pytest

from xfusion_bluesky.documents.processed import (
    BackendIdentity,
    FrameRecord,
    ProcessedRun,
    orphan_stop,
)
from xfusion_bluesky.documents.raw import Burst, CameraBurst

RECORDS = [
    FrameRecord(time_ns=0, tau=0.0, elapsed_ms=1, psnr_db=99, ssim=1, chi2=1),  # a copy
    FrameRecord(time_ns=1, tau=0.3, elapsed_ms=2, psnr_db=30, ssim=0.8, chi2=2),
    FrameRecord(time_ns=2, tau=0.6, elapsed_ms=3, psnr_db=32, ssim=0.9, chi2=6),
    FrameRecord(time_ns=3, tau=0.9, elapsed_ms=9, psnr_db=math.inf, ssim=math.nan, chi2=9),
    FrameRecord(time_ns=4, tau=0.9, elapsed_ms=99, valid=0, flags="masked"),
]
QUALITY = {"psnr_db": 31.0, "ssim": pytest.approx(0.85), "chi2": 4.0, "frame_ms": 2.5}


@pytest.fixture
def run(tmp_path):
    documents = []
    camera = CameraBurst(tmp_path / "a.h5", "/d", (7, 4, 4), (0.0,) * 7, (True,) * 7, (1,) * 7, "")
    run = ProcessedRun(
        lambda name, document: documents.append((name, document)),
        Burst({"uid": "r", "time": 1.0}, 1, camera, camera),
        BackendIdentity("b", "d", "1"),
        {},
        1,
        fallback_for="f",
    )
    run.documents = documents
    run.describe((16, 16), has_truth=True)
    run.add_shard(tmp_path / "shard.h5", RECORDS)
    return run


def test_the_stop_document_sums_up_what_a_person_searches_by(run):
    run.stop("fail", "one line\n  and another " + "x" * 1000, fallback_uid="u")
    stop = run.documents[-1][1]
    assert stop["frames"] == {"made": 4, "masked": 1, "failed": 2}
    assert stop["quality"] == QUALITY
    assert stop["reason"].startswith("one line and another xxx")
    assert len(stop["reason"]) == 500
    assert stop["fallback_uid"] == "u"
    assert run.documents[0][1]["fallback_for"] == "f"
    json.dumps(stop, allow_nan=False)


def test_a_run_whose_process_has_gone_is_summed_up_from_its_journal(run):
    begin = time.time()
    events = [
        (name, {**doc, "data": {k: _or_null(v) for k, v in doc["data"].items()}})
        if name == "event"
        else (name, doc)
        for name, doc in run.documents
    ]
    stop = orphan_stop(events, "gone")
    assert stop["frames"] == {"made": 4, "masked": 1, "failed": 2}
    assert stop["quality"] == QUALITY
    assert stop["time"] >= begin
    assert stop["exit_status"] == "abort"
    assert stop["num_events"] == {"fused": 5}


def _or_null(value):
    # As the journal has it: JSON knows no NaN.
    return None if isinstance(value, float) and not math.isfinite(value) else value
