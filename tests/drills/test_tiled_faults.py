"""Tiled is away, slow, or refuses: acquisition and reconstruction go on, and all arrives once."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from faulty_proxy import MUTATING, FaultyProxy
from synthetic_runs import N, references_and_burst

from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import encode, journal_path, read_journal
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.ledger import Ledger, wait_for_reconstructions
from xfusion_bluesky.processing.service import ServiceProcess
from xfusion_bluesky.processing.tiled_server import TiledServer

LIMIT_S = 90.0
pytestmark = pytest.mark.timeout(240)


def install(root, text=""):
    root.mkdir(exist_ok=True)
    (root / "xfusion.toml").write_text(text + '\n[reconstruction]\nbackends = ["bicubic"]\n')
    configuration = Configuration.load(root / "xfusion.toml")
    for _, folder in configuration.folders:
        if isinstance(folder, type(root)):
            folder.mkdir()
    return configuration


def await_true(condition, what):
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def in_tiled(folders):
    ledger = Ledger(folders.state)
    try:
        return ledger.in_tiled()
    finally:
        ledger.close()


def reconstructed(folders, raw_uid):
    """The journal says so, whether Tiled is there or not."""
    ledger = Ledger(folders.state)
    try:
        made = ledger.of_raw(raw_uid)
    finally:
        ledger.close()
    return [entry.uid for entry in made if entry.state == "success"]


def check_all_arrived_once(catalog, folders, raw_uids):
    journals = {path.stem for path in folders.journal.glob("*.jsonl")}
    await_true(lambda: in_tiled(folders) >= journals, "not everything came into Tiled")
    assert sorted([*catalog.raw, *catalog.processed]) == sorted(journals)
    for raw_uid in raw_uids:
        runs = catalog.reconstructions_of(raw_uid)
        assert sorted(run.metadata["start"]["raw_seq_num"] for run in runs) == [1, 2]
        for run in runs:
            assert run.metadata["stop"]["exit_status"] == "success"
            assert run["fused"]["fused"].shape[0] == N
            rows = run["fused"].base["internal"].read()
            assert list(rows["seq_num"]) == list(range(1, N + 1))
        raw = catalog.raw[raw_uid]["primary"]
        assert raw["shimadzu_image"].shape[0] == 2
        np.testing.assert_array_equal(raw["phantom_frame_time_ns"].read()[1], 1000 * np.arange(N))


def test_tiled_is_down_at_the_start_and_dies_in_the_middle(tmp_path):
    configuration = install(tmp_path / "home")
    folders = configuration.folders
    readable = [folders.raw, folders.processed]
    callback = ReconstructionCallback(folders.journal)
    with ServiceProcess.start(tmp_path / "home" / "xfusion.toml") as service:
        first = references_and_burst(callback, folders.raw)
        await_true(lambda: len(reconstructed(folders, first)) == 2, "no reconstruction")
        assert "does not run" in service.tiled_trouble

        server = TiledServer.start(folders.state / "tiled", readable)
        await_true(lambda: in_tiled(folders), "nothing came into Tiled")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        second = references_and_burst(callback, folders.raw)
        await_true(lambda: len(reconstructed(folders, second)) == 2, "no reconstruction")

        with TiledServer.start(folders.state / "tiled", readable) as server:
            catalog = Catalog(connect(server.uri, api_key=server.api_key))
            try:
                check_all_arrived_once(catalog, folders, [first, second])
            finally:
                catalog.close()
            assert service.tiled_trouble == ""


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A service that reaches its Tiled server through a proxy."""
    root = tmp_path_factory.mktemp("proxied")
    folders = Configuration().located(root).folders
    for each in (folders.raw, folders.processed, folders.journal, folders.state):
        each.mkdir()
    with TiledServer.start(folders.state / "tiled", [folders.raw, folders.processed]) as server:
        proxy = FaultyProxy(server.uri)
        text = f'[tiled]\nuri = "{proxy.uri}"\napi_key_env = "XFUSION_DRILL_KEY"\n'
        (root / "xfusion.toml").write_text(text + '[reconstruction]\nbackends = ["bicubic"]\n')
        os.environ["XFUSION_DRILL_KEY"] = server.api_key
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        try:
            with ServiceProcess.start(root / "xfusion.toml") as service:
                yield service, proxy, catalog, folders
        finally:
            del os.environ["XFUSION_DRILL_KEY"]
            catalog.close()
            proxy.close()


@pytest.mark.parametrize("fault", [401, 500, "lose answer", "slow"])
def test_what_a_server_does_wrong_for_a_while_costs_a_delay(line, fault):
    service, proxy, catalog, folders = line
    await_true(lambda: service.tiled_trouble == "", "the service did not connect")
    met = threading.Semaphore(0)

    def rule(method, path, body):
        if method not in MUTATING:
            return None
        met.release()
        if fault == "slow":
            time.sleep(0.3)
            return None
        return fault

    proxy.rule = rule
    raw_uid = references_and_burst(ReconstructionCallback(folders.journal), folders.raw)
    for _ in range(4):
        assert met.acquire(timeout=LIMIT_S)
    await_true(lambda: len(reconstructed(folders, raw_uid)) == 2, "no reconstruction")
    proxy.rule = lambda *_: None
    check_all_arrived_once(catalog, folders, [raw_uid])


def test_a_limit_on_the_size_of_requests_is_met_with_smaller_ones(line, tmp_path):
    _, proxy, catalog, folders = line
    refused = 0

    def rule(method, path, body):
        nonlocal refused
        if len(body) > 6000:
            refused += 1
            return 413
        return None

    proxy.rule = rule
    # All at once: a writer that follows would send small requests by itself.
    uid = emit_numbers(ReconstructionCallback(tmp_path), 400)
    draft = folders.journal / "draft"
    draft.write_bytes(journal_path(tmp_path, uid).read_bytes())
    draft.rename(journal_path(folders.journal, uid))
    await_true(lambda: uid in in_tiled(folders), "the run did not come into Tiled")
    proxy.rule = lambda *_: None
    assert refused
    table = catalog.raw[uid]["primary"].read()
    np.testing.assert_array_equal(table["x"].values, np.arange(400))


def test_a_journal_cut_in_the_middle_of_a_line_is_closed_and_its_bursts_are_kept(line):
    _, _, catalog, folders = line
    callback = ReconstructionCallback(folders.journal)
    documents = []

    def crash_in_the_last_run(name, document):
        if name == "start":
            documents.clear()
        documents.append((name, dict(document)))
        if documents[0][1]["purpose"] != "dual-burst":
            callback(name, document)

    uid = references_and_burst(crash_in_the_last_run, folders.raw)
    lines = [encode(*pair) for pair in documents]
    draft = folders.journal / "draft"
    draft.write_bytes(b"".join(lines[:-2]) + lines[-2][:100])
    draft.rename(journal_path(folders.journal, uid))

    await_true(lambda: uid in in_tiled(folders), "the run was not closed")
    stop = catalog.raw[uid].metadata["stop"]
    assert stop["exit_status"] == "abort"
    assert "ended unexpectedly" in stop["reason"]
    assert stop["num_events"] == {"primary": 1}
    wait_for_reconstructions(folders.state, uid, 1, LIMIT_S)
    (run,) = catalog.reconstructions_of(uid)
    assert run.metadata["stop"]["exit_status"] == "success"
    assert [name for name, _ in read_journal(journal_path(folders.journal, uid))][-1] == "stop"


def emit_numbers(callback, events):
    from event_model import compose_run

    run = compose_run(metadata={"plan_name": "count"})
    callback("start", run.start_doc)
    number = {"source": "x", "dtype": "number", "shape": []}
    descriptor = run.compose_descriptor("primary", {"x": number})
    callback("descriptor", descriptor.descriptor_doc)
    for k in range(events):
        callback("event", descriptor.compose_event(data={"x": k}, timestamps={"x": 0.0}))
    callback("stop", run.compose_stop())
    return run.start_doc["uid"]
