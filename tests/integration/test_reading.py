"""Runs and reconstructions as people read them: the command line, and the blocks of the how-to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ended, refused, type_command
from event_model import compose_run
from synthetic_runs import HR, LR, N, emit_run

from xfusion_bluesky.catalog import Catalog, RunNotFound, connect
from xfusion_bluesky.configuration import Configuration, Folders
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.ledger import wait_for_reconstructions
from xfusion_bluesky.processing.service import ServiceProcess
from xfusion_bluesky.processing.tiled_server import TiledServer

PAGE = Path(__file__).parents[2] / "docs/how-to/query-tiled.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
LIMIT_S = 60.0


@dataclass
class Home:
    """An installation with a dark, a flat, two corrected bursts and one that is not corrected."""

    root: Path
    folders: Folders
    catalog: Catalog
    dark_uid: str
    raw_uid: str
    plain_uid: str

    def type(self, *arguments: str) -> Ended:
        return type_command(*arguments, "--config", str(self.root / "xfusion.toml"))


def counts(level: int, truth: Any = None) -> Callable[..., Any]:
    rng = np.random.default_rng(0)

    def make(camera: str, shape: tuple[int, int]) -> tuple[Any, ...]:
        frames = rng.poisson(level, (N, *shape)).astype("u2")
        if camera == "phantom":
            return (frames,)
        return (frames << 6,) if truth is None else (frames << 6, truth)

    return make


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("reading") / "beamtime"
    root.mkdir()
    config = '[reconstruction]\nbackends = ["bicubic", "linear-bp"]\n'
    (root / "xfusion.toml").write_text(config)
    folders = Configuration.load(root / "xfusion.toml").folders
    for _, folder in folders:
        folder.mkdir()
    truth = np.random.default_rng(0).integers(20, 180, (N, *HR)).astype("u1")
    record = ReconstructionCallback(folders.journal)
    readable = [folders.raw, folders.processed]
    with (
        TiledServer.start(folders.state / "tiled", readable) as server,
        ServiceProcess.start(root / "xfusion.toml"),
    ):
        dark = emit_run(record, folders.raw, "dark", counts(10), scan_id=1)
        flat = emit_run(record, folders.raw, "flat", counts(900), scan_id=2)
        about = {"dark_uid": dark, "flat_uid": flat, "sample_name": "wall 1", "scan_id": 3}
        raw = emit_run(record, folders.raw, "dual-burst", counts(500, truth), 2, **about)
        odd = {"sample_name": "[/] 100% 'wall'", "scan_id": 4}
        plain = emit_run(record, folders.raw, "dual-burst", counts(500), **odd)
        wait_for_reconstructions(folders.state, raw, 2, LIMIT_S)
        wait_for_reconstructions(folders.state, plain, 1, LIMIT_S)
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        try:
            wait_until(lambda: all(catalog.has_stop(uid) for uid in (dark, flat, raw, plain)))
            yield Home(root, folders, catalog, dark, raw, plain)
        finally:
            catalog.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def emit_failed(catalog: Catalog, raw_uid: str, *, stop: bool) -> str:
    about = {"raw_uid": raw_uid, "raw_seq_num": 1, "backend": {"id": "broken"}, "attempt": 1}
    run = compose_run(metadata={**about, "analysis_stage": "fusion"})
    write = catalog.writer(catalog.processed)
    write("start", run.start_doc)
    if stop:
        write("stop", run.compose_stop(exit_status="fail", reason="the [GPU] was out of memory"))
    return str(run.start_doc["uid"])


def test_the_python_blocks_of_the_how_to_run_as_they_stand(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home.root.parent)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    assert len(BLOCKS) == 5
    # What this project, plain Tiled and databroker read is what the files hold.
    burst_file = next(home.folders.raw.glob(f"{home.raw_uid}_0_shimadzu.h5"))
    import h5py

    with h5py.File(burst_file) as file:
        np.testing.assert_array_equal(names["first"], file["/entry/data/data"][0])
    assert names["times_ns"].shape == (2, N)
    assert names["newest"].start["backend"]["id"] == "linear-bp"
    assert dict(names["table"].sizes) == {"time": N}
    printed = capsys.readouterr().out
    assert f"{home.raw_uid} ({N}, {HR[0]}, {HR[1]})" in printed
    assert printed.count(f"(2, {N}, {LR[0]}, {LR[1]})") == 2
    assert "True 4" in printed


def test_search_finds_by_what_a_person_knows(home: Home) -> None:
    search = home.catalog.search

    def found(**criteria: Any) -> list[tuple[str, int]]:
        starts = [run.start for run in search(**criteria).values()]
        assert [s["time"] for s in starts] == sorted((s["time"] for s in starts), reverse=True)
        return sorted((start["backend"]["id"], start["raw_seq_num"]) for start in starts)

    both = [(backend, k) for backend in ("bicubic", "linear-bp") for k in (1, 2)]
    assert found(sample="wall 1") == both
    assert found(sample="wall 1", backend="bicubic") == both[:2]
    assert found(raw_uid=home.raw_uid, seq_num=2) == both[1::2]
    assert found(sample="[/] 100% 'wall'") == [("bicubic", 1), ("linear-bp", 1)]
    assert found(sample="wall%") == found(sample="wall") == []
    # The burst that is not corrected has no truth; its noise is estimated from its LR frames.
    uncorrected = found(sample="[/] 100% 'wall'")
    assert found(min_psnr_db=0.0) == both
    assert found(max_chi2=1e9) == sorted(both + uncorrected)
    assert found(min_psnr_db=99.0) == found(max_chi2=0.0) == []
    assert found(since=datetime.now() + timedelta(hours=1)) == []
    assert len(found(since=datetime.now() - timedelta(hours=1), status="success")) == 6
    scores = [run.stop["quality"]["psnr_db"] for run in search(sample="wall 1").values()]
    assert len(search(min_psnr_db=max(scores))) == scores.count(max(scores))
    assert home.catalog.latest(sample="wall 1", backend="bicubic").start["raw_uid"] == home.raw_uid
    with pytest.raises(RunNotFound, match="by nothing of wall 1"):
        home.catalog.latest(sample="wall 1", backend="nothing")


def test_runs_lists_the_newest_first(home: Home) -> None:
    ended = home.type("runs")
    assert (ended.code, ended.err) == (0, "")
    assert [row[0] for row in ended.rows] == ["4", "3", "2", "1"]
    assert ended.rows[1][1] == home.raw_uid[:8]
    assert ended.rows[1][4:] == ["dual-burst", "wall 1", "2", "success", "4"]
    assert ended.rows[0][5] == "[/] 100% 'wall'"
    assert [row[0] for row in home.type("runs", "--limit", "1").rows] == ["4"]
    assert [row[0] for row in home.type("runs", "--sample", "wall 1").rows] == ["3"]
    assert home.type("runs", "--status", "fail").rows == []
    (first, *_), *others = home.type("runs", "--processed", "--sample", "wall 1").rows
    assert home.catalog.run(first).start["raw_uid"] == home.raw_uid
    assert len(others) == 3
    rows = home.type("runs", "--backend", "linear-bp").rows
    assert [row[4] for row in rows] == ["linear-bp"] * 3
    assert all(float(row[8]) > 0 for row in rows if row[5] == "wall 1")


def test_show_tells_of_every_kind_of_run(home: Home, tmp_path: Path) -> None:
    ended = home.type("show", "3", "--output", str(tmp_path / "raw"))
    assert (ended.code, ended.err) == (0, "")
    assert [row[1:5] for row in ended.rows] == [
        [k, backend, "success", str(N)] for k in "12" for backend in ("bicubic", "linear-bp")
    ]
    assert {path.suffix for path in (tmp_path / "raw").iterdir()} == {".png", ".mp4"}

    (row,) = home.type("runs", "--sample", "[/] 100% 'wall'", "--backend", "bicubic").rows
    ended = home.type("show", row[0], "--output", str(tmp_path / "plain"))
    assert (ended.code, ended.err) == (0, "")
    psnr_db, ssim, held_out_db, chi2 = ended.rows[0][5:9]
    assert (psnr_db, ssim) == ("-", "-")
    assert float(held_out_db) > 0
    assert float(chi2) > 0
    assert len(list((tmp_path / "plain").iterdir())) == 2

    ended = home.type("show", home.dark_uid, "--output", str(tmp_path / "dark"))
    assert (ended.code, ended.err) == (0, "")
    for words in ("dark", f"1 burst(s) of {N} frames, {LR[1]} x {LR[0]} px", "_0_phantom.h5"):
        assert words in ended.out
    assert not (tmp_path / "dark").exists()


def test_show_tells_why_there_is_nothing_to_see(home: Home, tmp_path: Path) -> None:
    no_reconstruction = compose_run(metadata={"purpose": "dual-burst", "scan_id": 5})
    write = home.catalog.writer(home.catalog.raw)
    write("start", no_reconstruction.start_doc)
    raw_uid = no_reconstruction.start_doc["uid"]
    for command in ("show", "compare"):
        refused(
            home.type(command, raw_uid, "--output", str(tmp_path / "none")), "no reconstruction"
        )
        refused(
            home.type(command, "3", "--burst", "7", "--output", str(tmp_path / "none")), "burst 7"
        )
    failed = emit_failed(home.catalog, raw_uid, stop=True)
    unfinished = emit_failed(home.catalog, raw_uid, stop=False)
    for uid, status in ((failed, "fail"), (unfinished, "unfinished")):
        ended = home.type("show", uid, "--output", str(tmp_path / "none"))
        assert (ended.code, ended.err) == (0, "")
        assert ended.rows[0][3:5] == [status, "0"]
        assert ("the [GPU] was out of memory" in ended.out) == (status == "fail")
        assert [row[0] for row in home.type("runs", "--processed", "--status", status).rows] == [
            uid[:8]
        ]
    ended = home.type("compare", raw_uid, "--output", str(tmp_path / "none"))
    assert sorted((row[0], row[-1]) for row in ended.rows) == [("-", "fail"), ("-", "unfinished")]
    assert not (tmp_path / "none").exists()
    assert [row[7] for row in home.type("runs", "--status", "unfinished").rows] == ["unfinished"]


@pytest.mark.parametrize(
    "identifier",
    ["", "abc", "../../etc/passwd", "%%%%%%", "_____", "abc\0def", "no-such-uid", "9" * 30],
)
def test_a_wrong_uid_is_one_line_and_nothing_is_written(
    home: Home, tmp_path: Path, identifier: str
) -> None:
    command = "compare" if identifier.startswith("no") else "show"
    refused(home.type(command, identifier, "--output", str(tmp_path / "out")), "No run")
    assert not (tmp_path / "out").exists()


def test_an_ambiguous_uid_is_one_line_that_names_the_runs(home: Home) -> None:
    write = home.catalog.writer
    for k in range(2):
        run = compose_run(uid=f"ambiguous-{k}")
        writer = write(home.catalog.raw)
        writer("start", run.start_doc)
        writer("stop", run.compose_stop())
    refused(home.type("show", "ambiguous"), "ambiguous-0", "ambiguous-1")
