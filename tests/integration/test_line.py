"""The whole line: plan, journal, service, backend, processed run, Tiled."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.documents.raw import bursts_of
from xfusion_bluesky.documents.sequence import burst_sequence
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.child import is_alive
from xfusion_bluesky.processing.ledger import wait_for_reconstructions
from xfusion_bluesky.processing.service import ServiceProcess
from xfusion_bluesky.processing.tiled_server import TiledServer

LIMIT_S = 200.0
pytestmark = pytest.mark.timeout(300)
BLOCKING_PLUGIN = """
import os
from dataclasses import dataclass
import numpy as np
from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo, FusedFrame
from xfusion_bluesky.backends.hookspecs import hookimpl

@dataclass(frozen=True)
class Blocking:
    info = BackendInfo(id="blocking", version="1", summary="waits for its gate", needs_hr=False)

    def reconstruct(self, sequence, targets):
        for target in targets:
            if target == 16:
                with open(os.environ["XFUSION_TEST_GATE"], "rb") as gate:
                    gate.read()
            yield FusedFrame(target, np.full(sequence.shape, target, dtype=np.float32))

@hookimpl
def xfusion_backends():
    return [BackendFactory(Blocking.info, Blocking)]
"""


@dataclass
class Line:
    configuration: Configuration
    catalog: Catalog
    service: ServiceProcess


def _configure(folder: Path, backends: list[str]) -> Path:
    file = folder / "xfusion.toml"
    file.write_text(f"[reconstruction]\nbackends = {backends}\n", encoding="utf-8")
    folders = Configuration.load(file).folders
    for each in (folders.raw, folders.processed, folders.journal, folders.state):
        each.mkdir(parents=True)
    return file


@pytest.fixture
def start_line(instrument: Any, tmp_path: Path) -> Iterator[Any]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(backends: list[str]) -> Line:
            file = _configure(tmp_path, backends)
            configuration = Configuration.load(file)
            folders = configuration.folders
            instrument.dual.folder = folders.raw
            server = TiledServer.start(folders.state / "tiled", [folders.raw, folders.processed])
            stack.callback(server.stop)
            service = ServiceProcess.start(file)
            stack.callback(service.stop)
            catalog = Catalog(connect(uri=server.uri, api_key=server.api_key))
            stack.callback(catalog.close)
            token = instrument.RE.subscribe(ReconstructionCallback(folders.journal))
            stack.callback(instrument.RE.unsubscribe, token)
            return Line(configuration, catalog, service)

        yield start


def _first_frames(catalog: Catalog, raw_uid: str) -> Any:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        for run in catalog.reconstructions_of(raw_uid):
            if "fused" in run and "fused" in run["fused"]:
                return run["fused"]["fused"].read()
        time.sleep(0.1)
    raise TimeoutError("no fused frame came into Tiled")


def test_two_bursts_give_two_processed_runs_a_backend_equal_to_what_it_yields(
    instrument: Any, start_line: Any
) -> None:
    from xfusion_bluesky.plans import dark_flat, dual_burst

    line = start_line(["bicubic", "linear-bp"])
    dark_uid, flat_uid = instrument.RE(
        dark_flat(instrument.dual, instrument.shutter, instrument.sample)
    ).plan_result
    raw_uid = instrument.RE(
        dual_burst(
            instrument.dual,
            instrument.shutter,
            bursts=2,
            hr_last=4,
            dark_uid=dark_uid,
            flat_uid=flat_uid,
            md={"sample_name": "wall"},
        )
    ).plan_result
    wait_for_reconstructions(line.configuration.folders.state, raw_uid, 2, LIMIT_S)

    runs = line.catalog.reconstructions_of(raw_uid)
    made = [
        (r.metadata["start"]["raw_seq_num"], r.metadata["start"]["backend"]["id"]) for r in runs
    ]
    assert sorted(made) == [(1, "bicubic"), (1, "linear-bp"), (2, "bicubic"), (2, "linear-bp")]
    assert {r.metadata["stop"]["exit_status"] for r in runs} == {"success"}
    assert {r.metadata["start"]["sample_name"] for r in runs} == {"wall"}

    journal = line.configuration.folders.journal

    def bursts(uid: str) -> list[Any]:
        return bursts_of(read_journal(journal_path(journal, uid)))

    corrections = Corrections(tuple(bursts(dark_uid)), tuple(bursts(flat_uid)))
    registry = Registry.discover()
    for run in runs:
        start = run.metadata["start"]
        burst = bursts(raw_uid)[start["raw_seq_num"] - 1]
        with burst_sequence(burst, corrections) as sequence:
            backend = registry.create(start["backend"]["id"])
            expected = [f.image for f in backend.reconstruct(sequence, range(sequence.n_lr))]
        np.testing.assert_array_equal(run["fused"]["fused"].read(), expected)

    psnr_db = {
        r.metadata["start"]["backend"]["id"]: float(np.mean(r["fused"]["psnr_db"].read()))
        for r in runs
    }
    assert psnr_db["linear-bp"] > psnr_db["bicubic"] > 25
    raw = line.catalog.run(raw_uid)
    assert raw["primary"]["phantom_image"].shape == (2, 5, 120, 400)
    assert raw["primary"]["shimadzu_image"].shape == (2, 81, 30, 100)


def test_the_plan_ends_while_a_backend_is_still_blocked(
    instrument: Any, start_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xfusion_bluesky.plans import dual_burst

    plugins = tmp_path / "plugins"
    information = plugins / "blocking-1.dist-info"
    information.mkdir(parents=True)
    (plugins / "blocking_plugin.py").write_text(BLOCKING_PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: blocking\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[xfusion_bluesky]\nblocking = blocking_plugin\n")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    monkeypatch.setenv("XFUSION_TEST_GATE", str(gate))
    line = start_line(["blocking"])

    raw_uid = instrument.RE(dual_burst(instrument.dual, instrument.shutter)).plan_result
    assert instrument.named("stop")[0]["exit_status"] == "success"
    frames = _first_frames(line.catalog, raw_uid)
    assert not line.catalog.reconstructions_of(raw_uid)[0].metadata.get("stop")
    np.testing.assert_array_equal(frames[:, 0, 0], np.arange(16))
    # Opening the other end of the gate succeeds only while the backend waits at it.
    opened = threading.Event()

    def open_gate() -> None:
        with open(gate, "wb"):
            opened.set()

    threading.Thread(target=open_gate, daemon=True).start()
    assert opened.wait(LIMIT_S)
    wait_for_reconstructions(line.configuration.folders.state, raw_uid, 1, LIMIT_S)
    (run,) = line.catalog.reconstructions_of(raw_uid)
    assert run.metadata["stop"]["exit_status"] == "success"
    frames = run["fused"]["fused"].read()
    np.testing.assert_array_equal(frames[:, 0, 0], np.arange(81))


def test_stopping_the_service_leaves_no_process(instrument: Any, start_line: Any) -> None:
    import psutil

    line = start_line(["bicubic"])
    family = [line.service.pid] + [
        child.pid for child in psutil.Process(line.service.pid).children(recursive=True)
    ]
    line.service.stop()
    assert not [pid for pid in family if is_alive(pid)]
