import numpy as np
from event_model import compose_run

from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.processing.callback import ReconstructionCallback


def documents():
    run = compose_run()
    key = {"source": "x", "dtype": "array", "shape": [2]}
    descriptor = run.compose_descriptor("primary", {"a": key})
    event = descriptor.compose_event(data={"a": np.arange(2)}, timestamps={"a": 0.0})
    stop = run.compose_stop()
    return [
        ("start", run.start_doc),
        ("descriptor", descriptor.descriptor_doc),
        ("event", event),
        ("stop", stop),
    ]


def names(path):
    return [name for name, _ in read_journal(path)]


def test_two_runs_at_a_time_go_to_their_own_journals(tmp_path):
    callback = ReconstructionCallback(tmp_path)
    first, second = documents(), documents()
    for pair in zip(first, second, strict=True):
        for name, doc in pair:
            callback(name, doc)
    for docs in (first, second):
        path = journal_path(tmp_path, docs[0][1]["uid"])
        assert names(path) == ["start", "descriptor", "event", "stop"]
        assert list(read_journal(path))[2][1]["data"]["a"] == [0, 1]


def test_a_folder_that_is_away_costs_nothing_and_is_caught_up(tmp_path):
    folder = tmp_path / "journal"
    folder.write_text("no folder")
    callback = ReconstructionCallback(folder)
    docs = documents()
    for name, doc in docs:
        callback(name, doc)
    folder.unlink()
    for name, doc in documents():
        callback(name, doc)
    assert names(journal_path(folder, docs[0][1]["uid"])) == [name for name, _ in docs]


def test_nonsense_never_raises(tmp_path, caplog):
    callback = ReconstructionCallback(tmp_path)
    callback("event", {"descriptor": "unknown"})
    callback("start", {})
    callback("start", {"uid": "u", "thing": object()})
    callback("stop", {"run_start": "u"})
    assert "could not be written" in caplog.text
