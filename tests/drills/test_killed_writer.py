"""The process that writes to Tiled is killed after each of its requests: no loss, no double."""

import os
import select
import signal
import subprocess
import sys

import numpy as np
import pytest
from event_model import compose_run
from faulty_proxy import MUTATING, FaultyProxy
from synthetic_runs import write_burst

from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.tiled_server import TiledServer

# Imports once, then forks a writer for each line it reads: a start takes milliseconds.
FORKING_WRITER = """
import os, sys, time
from pathlib import Path
from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.processing.ledger import Ledger
from xfusion_bluesky.processing.writer import TiledJournalWriter
import xfusion_bluesky.run_writer, bluesky_tiled_plugins.writing.tiled_writer, tiled.client
import bluesky_tiled_plugins, pandas, pyarrow.compute, dask.dataframe

uri, key, folder = sys.argv[1:]
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        sys.stdin.readline()
        ledger = Ledger(Path(folder) / "state")
        writer = TiledJournalWriter(
            Path(folder) / "journal", lambda: Catalog(connect(uri, api_key=key)), ledger
        )
        deadline = time.monotonic() + 60
        while line.strip() not in ledger.in_tiled() and time.monotonic() < deadline:
            writer.pump()
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    (folder / "files").mkdir()
    with TiledServer.start(folder / "tiled", [folder / "files"]) as server:
        proxy = FaultyProxy(server.uri)
        process = subprocess.Popen(
            [sys.executable, "-c", FORKING_WRITER, proxy.uri, server.api_key, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        try:
            assert process.stdout.readline() == "ready\n"
            yield folder, catalog, proxy, process
        finally:
            catalog.close()
            process.stdin.close()
            process.wait(30)
            process.stdout.close()
            proxy.close()


def emit(folder, **start):
    """A run of two events, each with a file, an array and a number."""
    callback = ReconstructionCallback(folder / "journal")
    run = compose_run(metadata=start)
    callback("start", run.start_doc)
    image = {"source": "x", "dtype": "array", "shape": [3, 4, 5], "dtype_numpy": "<u2"}
    descriptor = run.compose_descriptor(
        "primary",
        {
            "image": {**image, "external": "STREAM:"},
            "time_ns": {"source": "x", "dtype": "array", "shape": [3], "dtype_numpy": "<i8"},
            "chi2": {"source": "x", "dtype": "number", "shape": []},
        },
    )
    callback("descriptor", descriptor.descriptor_doc)
    for k in range(2):
        path = folder / "files" / f"{run.start_doc['uid']}_{k}.h5"
        write_burst(path, np.full((3, 4, 5), k, "u2"))
        resource = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            data_key="image",
            parameters={
                "dataset": "/entry/data/data",
                "chunk_shape": [1, 3, 4, 5],
                "join_method": "stack",
            },
        )
        callback("stream_resource", resource.stream_resource_doc)
        datum = resource.compose_stream_datum(
            {"start": 0, "stop": 1},
            seq_nums={"start": k + 1, "stop": k + 2},
            descriptor=descriptor.descriptor_doc,
        )
        callback("stream_datum", datum)
        data = {"time_ns": [k, 10, 20], "chi2": 0.5 + k}
        callback("event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0)))
    callback("stop", run.compose_stop())
    return run.start_doc["uid"]


def write(process, uid, armed):
    process.stdin.write(uid + "\n")
    process.stdin.flush()
    pid = int(process.stdout.readline())
    armed(pid)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert select.select([process.stdout], [], [], 90)[0]
    return int(process.stdout.readline())


@pytest.mark.parametrize(("stage", "step"), [("", 1), ("fusion", 5)])
def test_a_writer_killed_after_any_request_loses_and_doubles_nothing(place, stage, step):
    folder, catalog, proxy, process = place
    kills = 0
    while True:
        uid = emit(folder, **({"analysis_stage": stage} if stage else {}))
        requests = 0

        def arm(pid, last=kills * step):
            def kill(method, path):
                nonlocal requests
                requests += method in MUTATING
                if requests == last + 1 and method in MUTATING:
                    os.kill(pid, signal.SIGKILL)

            proxy.after = kill

        code = write(process, uid, arm)
        proxy.after = lambda *_: None
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        assert write(process, uid, lambda _: None) == 0
        check(catalog.processed if stage else catalog.raw, uid)
    assert kills * step >= 10
    check(catalog.processed if stage else catalog.raw, uid)
    assert len(catalog.processed if stage else catalog.raw) == kills + 1


def check(container, uid):
    run = container[uid]
    assert run.metadata["stop"]["exit_status"] == "success"
    assert list(run) == ["primary"]
    table = run["primary"].read()
    np.testing.assert_array_equal(table["image"].values[:, 0, 0, 0], [0, 1])
    np.testing.assert_array_equal(table["time_ns"].values, [[0, 10, 20], [1, 10, 20]])
    np.testing.assert_array_equal(table["chi2"].values, [0.5, 1.5])
    assert list(run["primary"].base["internal"].read()["seq_num"]) == [1, 2]
