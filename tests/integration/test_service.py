"""The processing service as a process: journals in, processed runs in Tiled out."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import N, emit_run, references_and_burst

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.documents.raw import bursts_of
from xfusion_bluesky.documents.sequence import burst_sequence
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.child import is_alive
from xfusion_bluesky.processing.service import ServiceProcess, wait_for_reconstructions
from xfusion_bluesky.processing.tiled_server import TiledServer

CONFIG = """
[reconstruction]
backends = ["bicubic", "linear"]
shard_frames = 2
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("service")
    (root / "xfusion.toml").write_text(CONFIG)
    folders = Configuration.load(root / "xfusion.toml").folders
    for _, folder in folders:
        folder.mkdir()
    with TiledServer.start(folders.state / "tiled", [folders.raw, folders.processed]) as server:
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        yield root, folders, catalog
        catalog.close()


def test_every_burst_is_reconstructed_once_and_shown_as_the_backend_made_it(home):
    root, folders, catalog = home
    with ServiceProcess.start(root / "xfusion.toml") as service:
        raw_uid = references_and_burst(ReconstructionCallback(folders.journal), folders.raw)
        uids = wait_for_reconstructions(folders.state, raw_uid, 2, 60)
        children = [int(p) for p in children_of(service.pid)]
        assert len(children) == 2
    assert not is_alive(service.pid)
    assert not any(is_alive(pid) for pid in children)

    runs = catalog.reconstructions_of(raw_uid)
    assert sorted(run.metadata["start"]["uid"] for run in runs) == sorted(uids)
    assert len(runs) == 4
    bursts = bursts_of(read_journal(journal_path(folders.journal, raw_uid)))
    start = bursts[0].start
    corrections = Corrections(
        *(
            tuple(bursts_of(read_journal(journal_path(folders.journal, start[key]))))
            for key in ("dark_uid", "flat_uid")
        )
    )
    registry = Registry.discover()
    for run in runs:
        start, stop = run.metadata["start"], run.metadata["stop"]
        assert stop["exit_status"] == "success", stop
        assert start["scan_id"] == 7
        with burst_sequence(bursts[start["raw_seq_num"] - 1], corrections) as sequence:
            backend = registry.create(start["backend"]["id"])
            frames = [t.frame for t in checked_frames(backend, sequence, range(N))]
        stream = run["fused"]
        np.testing.assert_array_equal(
            stream["fused"].read(), np.stack([frame.image for frame in frames])
        )
        table = stream.read()
        assert np.isfinite(table["psnr_db"].values).all()
        attention = [(frame.attention or [np.nan] * 3)[0] for frame in frames]
        np.testing.assert_array_equal(table["attention_before"].values, attention)
        assert list(table["time_ns"].values) == [500.0 + 1000 * i for i in range(N)]

    # Fused runs come first; a service that starts again brings what raw runs are still missing.
    with ServiceProcess.start(root / "xfusion.toml"):
        again = wait_for_reconstructions(folders.state, raw_uid, 2, 30)
        end = time.monotonic() + 60
        while len(catalog.raw) < 3 and time.monotonic() < end:
            time.sleep(0.1)
    assert len(catalog.raw) == 3
    assert again == uids
    assert len(catalog.reconstructions_of(raw_uid)) == 4


def test_a_missing_file_fails_and_says_so(home):
    root, folders, catalog = home
    callback = ReconstructionCallback(folders.journal)

    def blank(camera, shape):
        return (np.zeros((N, *shape), "u2"),)

    raw_uid = emit_run(callback, folders.raw, "dual-burst", blank)
    for path in folders.raw.glob(f"{raw_uid}*phantom.h5"):
        os.remove(path)
    with ServiceProcess.start(root / "xfusion.toml") as service:
        # Its raw run cannot be registered, yet its reconstructions say why they failed.
        uids = wait_for_reconstructions(folders.state, raw_uid, 1, 60)
        os.kill(service.pid, signal.SIGTERM)
    for uid in uids:
        stop = catalog.run(uid).metadata["stop"]
        assert stop["exit_status"] == "fail"
        assert "phantom.h5" in stop["reason"]


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split() + [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]
