import os
import signal

import pytest

from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.processing.backend_log import BackendLog
from xfusion_bluesky.processing.backend_process import BackendFailed, BackendProcess, Limits
from xfusion_bluesky.processing.discovery import FoundBackend, PluginName
from xfusion_bluesky.processing.jobs import (
    Conversation,
    Failed,
    Finished,
    Ready,
    ReconstructionJob,
    ShardWritten,
    Started,
    Working,
)
from xfusion_bluesky.processing.ledger import Ledger, Reconstruction
from xfusion_bluesky.processing.reprocess import wait_for_runs

BICUBIC = FoundBackend(
    id="bicubic",
    version="0",
    summary="",
    needs_hr=False,
    unavailable=None,
    weights=None,
    source=PluginName(plugin="bicubic", distribution="xfusion-bicubic"),
    distribution_version="0",
)
LIMITS = Limits(deadline_s=60, memory_mb=1e6)


@pytest.fixture
def job(tmp_path):
    camera = CameraBurst(tmp_path / "gone.h5", "/d", (1, 4, 4), (0.0,), (True,), (1,), "")
    return ReconstructionJob(burst=Burst({"uid": "r"}, 1, camera, camera), folder=tmp_path)


@pytest.fixture
def process(tmp_path):
    process = BackendProcess(BICUBIC, LIMITS, tmp_path / "backend.log", "SECRET")
    yield process
    process.stop()


def test_a_failure_is_told_and_the_next_job_gets_a_new_process(process, job):
    for _ in range(2):
        (message,) = process.run(job)
        assert isinstance(message, Failed)
        assert "gone.h5" in message.what
        assert process.pid is None


def test_a_process_that_died_while_nobody_asked_is_replaced(process, job):
    process.start()
    first = process.pid
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    (message,) = process.run(job)
    assert isinstance(message, Failed)


def test_the_deadline_kills(job, tmp_path):
    process = BackendProcess(BICUBIC, Limits(0.0, 1e6), tmp_path / "backend.log", "SECRET")
    with pytest.raises(BackendFailed, match="deadline of 0 s"):
        list(process.run(job))
    assert process.pid is None


def test_a_closed_process_does_not_come_back(process, job):
    process.close()
    with pytest.raises(BackendFailed, match="service ended"):
        list(process.run(job))


@pytest.mark.parametrize(
    "said",
    [
        [Ready()],
        [Finished(made=1, masked=0)],
        [Started(shape=(4, 4), has_truth=False), Finished(made=1, masked=0)],
        [Started(shape=(4, 4), has_truth=False), Finished(made=0, masked=0)],
        [Started(shape=(4, 4), has_truth=False)] * 2,
        [Started(shape=(4, 4), has_truth=False), ShardWritten(file="/x/a.h5", first=0, frames=())],
        [Working()],
        # Signs of life put off the deadline, but not for ever.
        [Started(shape=(4, 4), has_truth=False), *[Working()] * 5],
    ],
)
def test_what_cannot_be_true_is_not_believed(job, said):
    conversation = Conversation(job)
    for message in said[:-1]:
        conversation.check(message)
    with pytest.raises(ValueError):
        conversation.check(said[-1])


def test_who_waits_for_runs_waits_as_long_as_they_run(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.claim([Reconstruction("uid", "key", 1, "raw", 1)])
    alive = iter([True] * 4 + [False])
    with pytest.raises(ConnectionError, match="service ended"):
        wait_for_runs(tmp_path, ["uid"], 0.2, alive=lambda: next(alive))
    ledger.end("uid", "fail")
    with pytest.raises(TimeoutError, match="0 s after they ended, 1 of 1"):
        wait_for_runs(tmp_path, ["uid"], 0.0)
    ledger.close()


def test_a_log_keeps_the_beginning_and_the_end_and_starts_anew_when_it_is_long(tmp_path):
    log = BackendLog(tmp_path / "logs" / "backend.log", limit_mb=1e-3)
    log.begin("first")
    for k in range(3000):
        log.take(b"line %05d of very many, so that the end is far away\n" % k)
    log.end()
    text = log.path.read_text()
    assert [f"line {k:05d}" in text for k in (0, 500, 2999)] == [True, False, True]
    assert "bytes more were printed and are not kept" in text
    log.path.write_bytes(b"x" * (9 << 20))
    log.begin("second")
    log.end()
    assert log.path.read_text() == "--- second\n"
    assert log.path.with_name("backend.log.1").stat().st_size == 9 << 20
