"""Stored runs reconstructed anew by the running service, from files and from Tiled alone."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_records import record
from command_line import Ended, refused, type_command
from event_model import compose_run
from faulty_backend import install
from reference_networks import save
from synthetic_runs import HR, LR, N, emit_run, references_and_burst
from xfusion_edvr.network import EDVR, EDVRSize

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import Configuration, Folders
from xfusion_bluesky.documents.journal import journal_path
from xfusion_bluesky.documents.raw import Burst
from xfusion_bluesky.documents.sequence import burst_sequence
from xfusion_bluesky.nn.encoder import AlignmentSize
from xfusion_bluesky.processing.bursts import BurstFinder, BurstNotFound
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.child import is_alive
from xfusion_bluesky.processing.ledger import wait_for_reconstructions
from xfusion_bluesky.processing.reprocess import wait_for_runs
from xfusion_bluesky.processing.requests import ReconstructionRequest, RequestQueue
from xfusion_bluesky.processing.service import ServiceProcess
from xfusion_bluesky.processing.tiled_server import TiledServer

LIMIT_S = 60.0
GATED = """
import os, time
from dataclasses import dataclass
import numpy as np
from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo, FusedFrame
from xfusion_bluesky.backends.hookspecs import hookimpl

@dataclass(frozen=True)
class Gated:
    gate: str
    info = BackendInfo(id="gated", version="1", summary="waits for a file", needs_hr=False)

    def reconstruct(self, sequence, targets):
        for target in targets:
            while target == 3 and not os.path.exists(self.gate):
                time.sleep(0.02)
            yield FusedFrame(target, np.full(sequence.shape, target, dtype=np.float32))

@hookimpl
def xfusion_backends():
    return [BackendFactory(Gated.info, Gated)]
"""


@dataclass
class Home:
    root: Path
    folders: Folders
    catalog: Catalog
    raw_uid: str

    @property
    def config(self) -> Path:
        return self.root / "xfusion.toml"

    def type(self, *arguments: str) -> Ended:
        return type_command(*arguments, "--config", str(self.config))

    def runs(self, backend: str) -> list[Any]:
        return self.catalog.reconstructions_of(self.raw_uid, backend=backend)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("reprocess")
    (root / "xfusion.toml").write_text('[reconstruction]\nbackends = ["bicubic"]\n')
    folders = Configuration.load(root / "xfusion.toml").folders
    for _, folder in folders:
        folder.mkdir()
    plugins = root / "plugins"
    install(plugins, "faulty")
    install(plugins, "gated", GATED)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("PYTHONPATH", str(plugins), prepend=os.pathsep)
        server = stack.enter_context(
            TiledServer.start(folders.state / "tiled", [folders.raw, folders.processed])
        )
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        stack.callback(catalog.close)
        with ServiceProcess.start(root / "xfusion.toml"):
            raw_uid = references_and_burst(ReconstructionCallback(folders.journal), folders.raw)
            wait_for_reconstructions(folders.state, raw_uid, 2, LIMIT_S)
            wait_until(lambda: len(catalog.raw) == 3)
            wait_until(lambda: catalog.has_stop(raw_uid))
        yield Home(root, folders, catalog, raw_uid)


@pytest.fixture(scope="module")
def service(home: Home) -> Iterator[ServiceProcess]:
    with ServiceProcess.start(home.config) as service:
        yield service


def wait_until(condition: Any) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def fused(backend: str, burst: Burst, finder: BurstFinder) -> np.ndarray:
    with burst_sequence(burst, finder.corrections(burst)) as sequence:
        made = Registry.discover().create(backend).reconstruct(sequence, range(N))
        return np.stack([frame.image for frame in made])


def test_without_a_service_one_is_started_for_the_duration(home: Home) -> None:
    ended = home.type("reprocess", home.raw_uid, "--backend", "hold", "--burst", "2")
    assert (ended.code, ended.err) == (0, "")
    assert [row[1:4] for row in ended.rows] == [["2", "hold", "success"]]
    assert ServiceProcess.running(home.folders.state) is None
    refused(home.type("reprocess", home.raw_uid, "--backend", "hold", "--no-wait"), "sim start")


def test_requests_outlive_the_service(home: Home, tmp_path: Path) -> None:
    queue, gate = RequestQueue(home.folders.state), tmp_path / "gate"
    wrong = queue.folder / "00000000000000000001-bad.json"
    wrong.write_text('{"raw_uid": "../../etc/passwd"')
    request = ReconstructionRequest(raw_uid=home.raw_uid, backends={"faulty": {"number": 1}})
    gated = {"seq_nums": (1,), "backends": {"gated": {"gate": str(gate)}}, "retry": True}
    first, second, nowhere, waits = (
        queue.submit(request.model_copy(update=changes))
        for changes in ({}, {}, {"raw_uid": "not-there"}, gated)
    )
    with ServiceProcess.start(home.config) as service:
        answers = [queue.wait(each, LIMIT_S) for each in (first, second)]
        assert "No run 'not-there'" in queue.wait(nowhere, LIMIT_S).error
        assert "no request" in queue.wait("00000000000000000001-bad", LIMIT_S).error
        (uid,) = queue.wait(waits, LIMIT_S).uids
        wait_for_runs(home.folders.state, answers[0].uids, LIMIT_S)
        wait_until(lambda: journal_path(home.folders.journal, uid).exists())
        os.kill(service.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(service.pid))
        with pytest.raises(ConnectionError, match="service ended"):
            wait_for_runs(home.folders.state, [uid], LIMIT_S, alive=lambda: is_alive(service.pid))
    assert len(answers[0].uids) == 2
    assert answers[0] == answers[1]
    for run in home.runs("faulty"):
        assert run.metadata["start"]["parameters"] == {"number": 1}
        assert run.metadata["stop"]["exit_status"] == "success"

    gate.touch()
    with ServiceProcess.start(home.config):
        wait_until(lambda: not queue.begun())
        wait_until(lambda: [each for each in home.runs("gated") if each.metadata.get("stop")][1:])
    statuses = [each.metadata["stop"]["exit_status"] for each in home.runs("gated")]
    assert statuses == ["abort", "success"]
    assert [path.name for path in queue.folder.iterdir()] == [wrong.name + ".malformed"]


@pytest.mark.usefixtures("service")
def test_the_same_twice_makes_one_result(home: Home) -> None:
    def shards() -> dict[Path, int]:
        folder = home.folders.processed / home.raw_uid
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}

    before = shards()
    first = home.type("reprocess", home.raw_uid[:8], "--backend", "linear")
    assert (first.code, first.err) == (0, "")
    assert [row[1:5] for row in first.rows] == [[k, "linear", "success", "5"] for k in "12"]
    made = shards()
    assert len(made) > len(before)
    again = home.type("reprocess", home.raw_uid, "--backend", "linear", "--no-wait")
    assert [uid[:8] for uid in again.out.split()] == [row[0] for row in first.rows]
    assert shards() == made
    assert len(home.runs("linear")) == 2

    bursts = BurstFinder(home.folders, lambda: nullcontext(home.catalog))
    for run in home.runs("linear"):
        (burst,) = bursts.find(home.raw_uid, [run.metadata["start"]["raw_seq_num"]])
        np.testing.assert_array_equal(run["fused"]["fused"].read(), fused("linear", burst, bursts))


@pytest.mark.usefixtures("service")
def test_a_network_runs_with_the_weights_it_is_given(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = EDVRSize(features=4, alignment=AlignmentSize(1, 1), reconstruct_blocks=1)
    save(EDVR(small), tmp_path / "net_g_latest.pth")
    monkeypatch.chdir(tmp_path)
    given = ["--backend", "edvr-stf", "--weights", "net_g_latest.pth", "--burst", "1"]

    ended = home.type("reprocess", home.raw_uid, *given)

    assert (ended.code, ended.err) == (0, "")
    # The parameters take a second line.
    assert ended.rows[0][1:5] == ["1", "edvr-stf", "success", "5"]
    (run,) = home.runs("edvr-stf")
    sha256 = hashlib.sha256((tmp_path / "net_g_latest.pth").read_bytes()).hexdigest()
    assert run.metadata["start"]["parameters"]["sha256"] == sha256
    assert run.metadata["start"]["backend"]["weights"] == sha256
    assert np.isfinite(run["fused"]["fused"].read()).all()
    save(EDVR(replace(small, features=8)), tmp_path / "net_g_latest.pth")
    assert home.type("reprocess", home.raw_uid, *given).code == 0
    assert len(home.runs("edvr-stf")) == 2
    (tmp_path / "cut.pth").write_bytes((tmp_path / "net_g_latest.pth").read_bytes()[:999])
    given[3] = "cut.pth"
    refused(home.type("reprocess", home.raw_uid, *given), "cut.pth", "damaged or cut short")


def test_frames_that_are_not_on_this_machine_come_from_tiled(home: Home, tmp_path: Path) -> None:
    here = BurstFinder(home.folders, lambda: nullcontext(home.catalog))
    elsewhere = {"raw": tmp_path / "raw", "journal": tmp_path, "state": tmp_path / "state"}
    there = replace(here, folders=home.folders.model_copy(update=elsewhere))
    for burst, downloaded in zip(here.find(home.raw_uid), there.find(home.raw_uid), strict=True):
        assert downloaded.shimadzu.file.is_relative_to(tmp_path)
        assert (
            replace(
                downloaded,
                phantom=replace(downloaded.phantom, file=burst.phantom.file),
                shimadzu=replace(downloaded.shimadzu, file=burst.shimadzu.file),
            )
            == burst
        )
    np.testing.assert_array_equal(
        fused("linear-bp", downloaded, there), fused("linear-bp", burst, here)
    )
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    assert len(files) == 8
    there.find(home.raw_uid)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")} == files
    with pytest.raises(BurstNotFound, match="no complete burst 3"):
        there.find(home.raw_uid, [1, 3])


def test_frames_that_nobody_has_are_said_to_be_gone(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)
    folders = home.folders.model_copy(update={"state": tmp_path})
    finder = BurstFinder(folders, lambda: nullcontext(home.catalog))
    (file,) = home.folders.raw.glob(f"{home.raw_uid}_1_phantom.h5")
    file.rename(tmp_path / file.name)
    try:
        with pytest.raises(BurstNotFound, match=r"Tiled does not deliver them: .*500"):
            finder.find(home.raw_uid)
        assert len(finder.find(home.raw_uid, [1])) == 1
    finally:
        (tmp_path / file.name).rename(file)
    assert not list(tmp_path.rglob("*.part"))
    assert len(finder.find(home.raw_uid)) == 2


@pytest.mark.usefixtures("service")
def test_the_journal_is_not_needed(home: Home, tmp_path: Path) -> None:
    moved = [path for path in home.folders.journal.iterdir() if "dual-burst" in path.read_text()]
    for path in moved:
        path.rename(tmp_path / path.name)
    try:
        assert not journal_path(home.folders.journal, home.raw_uid).exists()
        ended = home.type("reprocess", home.raw_uid, "--backend", "linear-bp", "--burst", "1")
    finally:
        for path in moved:
            (tmp_path / path.name).rename(path)
    assert (ended.code, ended.err) == (0, "")
    finder = BurstFinder(home.folders, lambda: nullcontext(home.catalog))
    (burst,) = finder.find(home.raw_uid, [1])
    (run,) = home.runs("linear-bp")
    np.testing.assert_array_equal(run["fused"]["fused"].read(), fused("linear-bp", burst, finder))
    # The truth lies beside the files, which are still the same.
    assert run.metadata["stop"]["quality"]["psnr_db"] > 0


@pytest.mark.usefixtures("service")
def test_a_calibration_makes_another_result(home: Home) -> None:
    unknown = home.type(
        "reprocess", home.raw_uid, "--backend", "bicubic", "--calibration", "no-such-uid"
    )
    refused(unknown, "no such calibration", "runs --processed")
    wrong = home.type(
        "reprocess", home.raw_uid, "--backend", "bicubic", "--calibration", home.raw_uid
    )
    refused(wrong, "is no calibration")
    uid = calibration_run(home, record(LR, HR))
    ended = home.type(
        "reprocess", home.raw_uid, "--backend", "bicubic", "--calibration", uid[:8], "--burst", "1"
    )
    assert (ended.code, ended.err) == (0, "")
    starts = [each.metadata["start"] for each in home.runs("bicubic")]
    first = [start for start in starts if start["raw_seq_num"] == 1]
    assert len({start["reconstruction_key"] for start in first}) == 2
    assert [uid in start["parent_uids"] for start in first].count(True) == 1
    assert [start["calibration_uid"] for start in first].count(uid) == 1
    assert "(calibration)" in home.type("runs", "--processed").out


def calibration_run(home: Home, made: CalibrationRecord) -> str:
    """Store a calibration as its plan does, but in Tiled alone."""
    metadata = {"analysis_stage": "calibration", "plan_name": "calibrate"}
    run = compose_run(metadata={**metadata, "calibration": made.model_dump(mode="json")})
    write = home.catalog.writer(home.catalog.processed)
    write("start", run.start_doc)
    write("stop", run.compose_stop())
    return str(run.start_doc["uid"])


@pytest.mark.usefixtures("service")
def test_a_calibration_shifts_map_and_clock(home: Home, tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=3)
    moved = ((4.0, 0.0, 1.5), (0.0, 4.0, 9.5))
    uid = calibration_run(home, record(LR, HR, moved, offset_ns=-250.0, made_utc=old))
    arguments = ("reprocess", home.raw_uid, "--backend", "linear-bp", "--calibration", uid)
    ended = home.type(*arguments, "--burst", "2")
    assert (ended.code, ended.err) == (0, "")
    (run,) = (each for each in home.runs("linear-bp") if each.start["calibration_uid"] == uid)
    # Two LR columns lie outside of the HR frame now.
    assert run["fused"]["fused"].shape == (N, 32, 32)
    assert list(run["fused"]["time_ns"].read()) == [250.0 + 1000 * i for i in range(N)]
    assert run.metadata["stop"]["quality"]["psnr_db"] > 0
    (flag,) = (each for each in run.metadata["stop"]["flags"] if each["name"] == "old-calibration")
    assert "72.0 h before the burst" in flag["reason"]
    finder = BurstFinder(home.folders, lambda: nullcontext(home.catalog))
    (burst,) = finder.find(home.raw_uid, [2])
    named = replace(burst, start={**burst.start, "calibration_uid": uid})
    np.testing.assert_array_equal(run["fused"]["fused"].read(), fused("linear-bp", named, finder))

    shown = home.type("show", run.start["uid"], "--output", str(tmp_path))
    assert (shown.code, shown.err) == (0, "")


@pytest.mark.usefixtures("service")
def test_a_calibration_that_does_not_fit_fails_and_one_that_is_damaged_is_refused(
    home: Home,
) -> None:
    arguments = ("reprocess", home.raw_uid, "--backend", "hold", "--calibration")
    uid = calibration_run(home, record((4, 4), (16, 16)))
    ended = home.type(*arguments, uid, "--burst", "1")
    assert ended.code == 1
    assert "The calibration does not fit: LR frames are 8 x 10 pixels" in ended.out

    uid = calibration_run(home, record(LR, HR))
    file = CalibrationRecord.file(home.folders.raw, uid)
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"schema_version": 1')
    refused(home.type(*arguments, uid, "--burst", "1"), uid, "is no calibration record")
    file.write_text(record(LR, HR, ((4, 0, 1.5), (0, 4, 5.5))).model_dump_json())
    assert home.type(*arguments, uid, "--burst", "1").code == 0
    (run,) = (each for each in home.runs("hold") if each.start["calibration_uid"] == uid)
    assert run["fused"]["fused"].shape == (N, 32, 36)
    file.unlink()


@pytest.mark.usefixtures("service")
def test_double_holds_every_hr_frame_out(home: Home, tmp_path: Path) -> None:
    uid = calibration_run(home, record(LR, HR, offset_ns=-500.0))
    arguments = ("--burst", "1", "--calibration", uid, "--traverse", "double")
    ended = home.type("reprocess", home.raw_uid, "--backend", "linear", *arguments)
    assert (ended.code, ended.err) == (0, "")
    (run,) = (each for each in home.runs("linear") if each.start["traversal"] == "double")
    assert run.start["num_frames"] == N
    table = run["fused"].read()
    assert list(table["lr_index"].values) == list(table["hr_index"].values) == list(range(N))
    assert list(table["tau"].values) == [1.0, 0.5, 0.5, 0.5, 0.0]
    one_sided = ["one-sided" in flags for flags in table["flags"].values]
    assert one_sided == [True, False, False, False, True]
    # Frames of HR, in time, are independent noise here: no answer is given away.
    assert np.isfinite(table["psnr_db"].values).all()
    assert (table["psnr_db"].values < 20).all()
    assert "held_out_psnr_db" not in run.metadata["stop"]["quality"]

    finder = BurstFinder(home.folders, lambda: nullcontext(home.catalog))
    (burst,) = finder.find(home.raw_uid, [1])
    named = replace(burst, start={**burst.start, "calibration_uid": uid})
    with burst_sequence(named, finder.corrections(named)) as sequence:
        between = 0.5 * (sequence.hr(1) + sequence.hr(3))
        np.testing.assert_allclose(run["fused"]["fused"].read()[2], between, atol=1e-6)

    shown = home.type("show", run.start["uid"], "--output", str(tmp_path))
    assert (shown.code, shown.err) == (0, "")
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".mp4"}
    again = home.type("reprocess", home.raw_uid, "--backend", "linear", *arguments, "--no-wait")
    assert again.out.split() == [run.start["uid"]]
    refused(
        home.type("reprocess", home.raw_uid, "--backend", "linear", "--traverse", "twice"),
        "continuous, double",
    )


@pytest.mark.usefixtures("service")
def test_compare_ranks_what_there_is(home: Home, tmp_path: Path) -> None:
    def command(*settings: str) -> Ended:
        options = [option for setting in settings for option in ("--set", setting)]
        return home.type("reprocess", home.raw_uid, "--backend", "faulty", "--burst", "2", *options)

    assert command("number=2").code == 0
    failed = command("fault=raise", "number=3")
    assert failed.code == 1
    assert "first line" in failed.out
    # Who asks again wants another attempt.
    assert command("fault=raise", "number=3").code == 1

    ended = home.type("compare", home.raw_uid, "--burst", "2", "--output", str(tmp_path))
    assert (ended.code, ended.err) == (0, "")
    ranks, _, backends, parameters, *scores, statuses = zip(*ended.rows, strict=True)
    assert ranks == (*map(str, range(1, len(ranks))), "-")
    assert statuses == (*["success"] * (len(ranks) - 1), "fail")
    psnr_db = [float(value) for value in scores[0][:-1]]
    assert psnr_db == sorted(psnr_db, reverse=True)
    assert {"faulty number=1", "faulty number=2", 'faulty fault="raise" number=3'} <= {
        f"{backend} {settings}" for backend, settings in zip(backends, parameters, strict=True)
    }
    assert len(set(zip(backends, parameters, strict=True))) == len(ranks)
    assert "ValueError: first line" in ended.out
    (picture,) = tmp_path.iterdir()
    assert picture.name == f"{home.raw_uid[:8]}-burst2.png"
    assert str(picture) in ended.out


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["7", "--backend", "linear"], ["3 runs", "scan id 7"]),
        (["../../etc/passwd", "--backend", "linear"], ["No run '../../etc/passwd'"]),
        (["abc\0def", "--backend", "linear"], [r"No run 'abc\x00def'"]),
        (["%%%%%%", "--backend", "linear"], ["No run '%%%%%%'"]),
        (["1" * 30, "--backend", "linear"], ["No run"]),
        (["x" * 100_000, "--backend", "linear"], ["No run"]),
        (["DARK", "--backend", "linear"], ["'dark'", "only raw runs with dual bursts"]),
        (["--backend", "linear"], ["--all"]),
        (["RUN", "--all", "--backend", "linear"], ["--all"]),
        (["RUN", "--backend", "linaer"], ["did you mean 'linear'?"]),
        (["RUN", "--backend", "linear", "--set", "power"], ["KEY=VALUE"]),
        (["RUN", "--backend", "linear", "--set", "power=2"], ["power", "accepts"]),
        (["RUN", "--backend", "edvr-stf"], ["--weights FILE"]),
        (["RUN", "--backend", "edvr-stf", "--weights", "none.pth"], ["none.pth cannot be read"]),
        (["RUN", "--backend", "linear", "--burst", "9"], ["no complete burst 9"]),
        (["RUN", "--backend", "linear", "--calibration", "../x"], ["No run '../x'"]),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    home: Home, arguments: list[str], words: list[str]
) -> None:
    names = {"RUN": home.raw_uid, "DARK": home.catalog.run(home.raw_uid).start["dark_uid"]}
    before = sorted(home.root.rglob("*.h*")), set(home.catalog.processed)
    refused(home.type("reprocess", *(names.get(each, each) for each in arguments)), *words)
    assert (sorted(home.root.rglob("*.h*")), set(home.catalog.processed)) == before
    queue = RequestQueue(home.folders.state)
    assert not [path for path in queue.folder.iterdir() if not path.name.endswith(".malformed")]


@pytest.mark.usefixtures("service")
def test_a_reference_that_is_not_there_is_said_to_be_missing(home: Home) -> None:
    raw_uid = emit_run(
        ReconstructionCallback(home.folders.journal),
        home.folders.raw,
        "dual-burst",
        lambda camera, shape: (np.zeros((N, *shape), "u2"),),
        dark_uid="gone-for-ever",
        flat_uid="gone-for-ever",
    )
    wait_until(lambda: home.catalog.has_stop(raw_uid))
    ended = home.type("reprocess", raw_uid, "--backend", "bicubic")
    refused(ended, "No run 'gone-for-ever'")
