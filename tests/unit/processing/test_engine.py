import pytest

from xfusion_bluesky.configuration import Plugins
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.processing.engine import BackendFailed, BackendProcess
from xfusion_bluesky.processing.jobs import Failed, ReconstructionJob


@pytest.fixture
def job(tmp_path):
    camera = CameraBurst(tmp_path / "gone.h5", "/d", (1, 4, 4), (0.0,), (True,), (1,), "")
    return ReconstructionJob(burst=Burst({"uid": "r"}, 1, camera, camera), folder=tmp_path)


@pytest.fixture
def process(tmp_path):
    process = BackendProcess("bicubic", Plugins(), tmp_path / "backend.log", "SECRET")
    yield process
    process.stop()


def test_a_failure_is_told_and_the_process_stays_warm(process, job):
    for _ in range(2):
        (message,) = process.run(job, deadline_s=60)
        assert isinstance(message, Failed)
        assert "gone.h5" in message.what
    assert process._process.poll() is None


def test_a_killed_process_says_so_and_the_next_job_gets_a_new_one(process, job):
    list(process.run(job, deadline_s=60))
    messages = process.run(job, deadline_s=60)
    first = process._process
    first.kill()
    first.wait()
    assert isinstance(next(messages), Failed)
    assert process._process is not first


def test_the_deadline_kills(process, job):
    with pytest.raises(BackendFailed, match="deadline"):
        list(process.run(job, deadline_s=0.0))
    assert process._process is None
