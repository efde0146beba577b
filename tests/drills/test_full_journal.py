"""The journal's disk fills up in the middle of a run, on a real small disk."""

import subprocess

import pytest
from event_model import compose_run

from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.processing.callback import ReconstructionCallback


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True
    )
    if mount.returncode:
        pytest.skip(f"no small disk can be mounted here: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_documents_wait_in_memory_and_are_written_when_there_is_room(small_disk, caplog):
    (small_disk / "something else").write_bytes(bytes(52 * 1024))
    callback = ReconstructionCallback(small_disk)
    run = compose_run()
    callback("start", run.start_doc)
    text = {"source": "x", "dtype": "string", "shape": []}
    descriptor = run.compose_descriptor("primary", {"text": text})
    callback("descriptor", descriptor.descriptor_doc)
    for _ in range(40):
        event = descriptor.compose_event(data={"text": "t" * 1000}, timestamps={"text": 0.0})
        callback("event", event)
    path = journal_path(small_disk, run.start_doc["uid"])
    assert "No space left" in caplog.text
    assert "burst files are safe" in caplog.text
    assert 2 < len(list(read_journal(path))) < 42
    assert path.read_bytes().endswith(b"\n")

    (small_disk / "something else").unlink()
    callback("stop", run.compose_stop())

    documents = list(read_journal(path))
    assert [name for name, _ in documents] == ["start", "descriptor", *["event"] * 40, "stop"]
    assert [doc["seq_num"] for name, doc in documents if name == "event"] == list(range(1, 41))
