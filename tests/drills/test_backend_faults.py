"""A backend may do what it likes: it costs one reconstruction, which says so, and nothing else."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from faulty_backend import install
from synthetic_runs import HR, N, emit_run

from xfusion_bluesky.backends.registry import UnknownBackendError
from xfusion_bluesky.configuration import Configuration, Plugins
from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.documents.raw import bursts_of
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.child import is_alive
from xfusion_bluesky.processing.discovery import discover
from xfusion_bluesky.processing.engine import Engine
from xfusion_bluesky.processing.ledger import Ledger

LIMIT_S = 60.0
DEADLINE_S = 3.0
MEMORY_MB = 500


@dataclass
class Line:
    """An engine with its folders, and raw runs to reconstruct."""

    engine: Engine
    configuration: Configuration
    ledger: Ledger

    def burst(self, lr_file_exists=True):
        def blank(camera, shape):
            return (np.full((N, *shape), 100 << 6, "u2"),)

        folders = self.configuration.folders
        callback = ReconstructionCallback(folders.journal)
        uid = emit_run(callback, folders.raw, "dual-burst", blank)
        (burst,) = bursts_of(read_journal(journal_path(folders.journal, uid)))
        if not lr_file_exists:
            burst.shimadzu.file.unlink()
        return burst

    def documents(self, uid: str) -> list[tuple[str, dict[str, Any]]]:
        """Wait until a processed run has ended and return its documents."""
        path = journal_path(self.configuration.folders.journal, uid)
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            documents = list(read_journal(path)) if path.exists() else []
            if documents and documents[-1][0] == "stop":
                return documents
            time.sleep(0.02)
        raise TimeoutError(f"no stop document of {uid}")

    def stop_of(self, uid):
        return self.documents(uid)[-1][1]

    def reconstruct(self, fault, burst=None, **parameters):
        """Return the stop document of a reconstruction by the faulty backend."""
        (uid,) = self.engine.submit(
            burst or self.burst(),
            backends={"faulty": {"fault": fault, **parameters}},
        )
        return self.stop_of(uid)


@contextlib.contextmanager
def line(root: Path, text: str = ""):
    (root / "xfusion.toml").write_text(
        f"[reconstruction]\nbackends = ['faulty']\nshard_frames = 2\nconcurrency = 2\n"
        f"deadline_s = {DEADLINE_S}\nmemory_limit_mb = {MEMORY_MB}\n{text}"
    )
    configuration = Configuration.load(root / "xfusion.toml")
    for _, folder in configuration.folders:
        folder.mkdir(exist_ok=True)
    ledger = Ledger(configuration.folders.state)
    engine = Engine(configuration, ledger)
    try:
        yield Line(engine, configuration, ledger)
    finally:
        engine.close()
        ledger.close()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "faulty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def faulty(plugin, tmp_path_factory):
    with line(tmp_path_factory.mktemp("line")) as one:
        yield one


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "ValueError: first line second line xxx"),
        ("raise unspeakable", "Unspeakable: it cannot say more"),
        ("raise surrogate", r"ValueError: file \udcff"),
        ("sys.exit", "SystemExit: the backend called sys.exit(3)"),
        ("os._exit", "ended with exit code 4"),
        ("segfault", "ended with signal SIGSEGV"),
        ("hang", "killed after the deadline of 3 s"),
        ("leak", "MB of memory, the limit is 500 MB"),
        ("leak in children", "MB of memory, the limit is 500 MB"),
        ("shape", "got float32 of shape (3, 3)"),
        ("dtype", "got float64"),
        ("order", "expected the frame of target 3, got target 0"),
        ("nan", "pixels that are not finite"),
        ("few", "expected a frame for every target, got the end"),
        ("many", "expected 5 frames, got more than that"),
        ("lie", "said nonsense: it has finished with 5 + 0 frames, 2 are in files"),
        ("garbage", "said nonsense"),
        ("endless line", "said nonsense: a line without end"),
        ("close pipes", "backend process"),
    ],
)
def test_a_fault_costs_one_reconstruction(faulty, fault, reason):
    burst = faulty.burst()
    stop = faulty.reconstruct(fault, burst)
    assert stop["exit_status"] == "fail"
    assert reason in stop["reason"]
    assert "\n" not in stop["reason"]
    assert len(stop["reason"]) <= 500
    made = N if fault == "many" else 3 if fault in FLUSHED else 2
    assert stop["frames"] == {"made": made, "masked": 0, "failed": N - made}
    assert stop["num_events"] == {"fused": made}
    assert faulty.reconstruct("none", burst)["exit_status"] == "success"


# What the backend made before it broke its contract in good order is kept; a killed process, and
# one that is not believed, loses what was not in a file.
FLUSHED = ("raise", "raise unspeakable", "raise surrogate", "sys.exit", "shape", "dtype", "order")
FLUSHED += ("nan", "few")


def test_the_deadline_is_for_a_frame_and_not_for_the_burst(faulty):
    stop = faulty.reconstruct("none", pause_s=DEADLINE_S / 4)
    assert stop["exit_status"] == "success"
    assert N * DEADLINE_S / 4 > DEADLINE_S
    assert stop["frames"]["made"] == N


def test_printing_100_mb_fills_no_disk_and_stops_nothing(faulty):
    stop = faulty.reconstruct("print")
    assert stop["exit_status"] == "success"
    logs = faulty.configuration.folders.state / "logs"
    text = (logs / "backend-faulty.log").read_bytes()
    assert b"bytes more were printed and are not kept" in text
    assert b"last words" in text
    assert len(text) < 2e6
    assert faulty.reconstruct("print a lie")["exit_status"] == "success"


def test_what_is_said_between_jobs_does_not_count(faulty, tmp_path):
    burst = faulty.burst()
    assert faulty.reconstruct("lie later", burst, folder=str(tmp_path))["exit_status"] == "success"
    (tmp_path / "lie").touch()
    end = time.monotonic() + LIMIT_S
    while not (tmp_path / "lied").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert faulty.reconstruct("none", burst)["exit_status"] == "success"


@pytest.mark.parametrize("fault", ["sleepers", "sleepers and segfault"])
def test_what_a_backend_leaves_behind_is_dead(faulty, fault, tmp_path):
    stop = faulty.reconstruct(fault, folder=str(tmp_path))
    assert stop["exit_status"] == ("success" if fault == "sleepers" else "fail")
    pids = [int((tmp_path / name).read_text()) for name in ("child", "daemon")]
    assert not [pid for pid in pids if is_alive(pid)]


def test_the_same_backend_with_other_parameters_keeps_its_own_files(faulty):
    burst = faulty.burst()
    uids = [
        faulty.engine.submit(burst, backends={"faulty": {"number": number}})[0] for number in (1, 2)
    ]
    files = {
        document["uri"]
        for uid in uids
        for name, document in faulty.documents(uid)
        if name == "stream_resource"
    }
    assert len(files) == 2 * 3
    again = faulty.engine.submit(burst, backends={"faulty": {"number": 1}})
    assert again == uids[:1]


def test_a_backend_nobody_offers_is_refused_with_a_near_miss(faulty):
    with pytest.raises(UnknownBackendError, match="did you mean 'faulty'"):
        faulty.engine.submit(faulty.burst(), backends={"faulti": {}, "faulty": {}})


def test_the_fallback_answers_and_a_backend_that_keeps_dying_is_set_aside(plugin, tmp_path):
    text = "fallback = 'bicubic'\nset_aside_after = 2\n[reconstruction.parameters.faulty]\n"
    with line(tmp_path, text + "fault = 'segfault'\n") as one:
        bursts = [one.burst() for _ in range(4)]
        failed = [one.engine.submit(burst)[0] for burst in bursts]
        for burst, uid in zip(bursts, failed, strict=True):
            stop = one.stop_of(uid)
            assert stop["exit_status"] == "fail"
            documents = one.documents(stop["fallback_uid"])
            assert documents[0][1]["fallback_for"] == uid
            assert documents[0][1]["raw_uid"] == burst.raw_uid
            assert documents[0][1]["backend"]["id"] == "bicubic"
            assert documents[-1][1]["exit_status"] == "success"
            assert documents[-1][1]["quality"]["frame_ms"] > 0
        reasons = [one.stop_of(uid)["reason"] for uid in failed]
        assert ["set aside" in reason for reason in reasons] == [False, False, True, True]

        # A later answer by the fallback is the one that is there; asked for again, it is tried.
        (again,) = one.engine.submit(bursts[3], retry=True)
        stop = one.stop_of(again)
        assert "SIGSEGV" in stop["reason"]
        assert stop["fallback_uid"] == one.stop_of(failed[3])["fallback_uid"]
        # With other parameters the backend is as good as any.
        (other,) = one.engine.submit(bursts[0], backends={"faulty": {}})
        assert one.stop_of(other)["exit_status"] == "success"

        # When the fallback fails as well, that is all.
        (lost,) = one.engine.submit(one.burst(lr_file_exists=False), retry=True)
        stop = one.stop_of(one.stop_of(lost)["fallback_uid"])
        assert stop["exit_status"] == "fail"
        assert "fallback_uid" not in stop
        assert stop["quality"] == {}


def test_what_had_not_begun_when_the_engine_ended_begins_under_the_same_uid(plugin, tmp_path):
    with line(tmp_path, "set_aside_after = 0\n") as one:
        # One hangs, the second waits for it, and never begins.
        burst = one.burst()
        backends = {"faulty": {"fault": "hang"}}
        (hangs,) = one.engine.submit(burst, backends=backends)
        (waits,) = one.engine.submit(one.burst(), backends={"faulty": {}})
        second = [r for r in one.ledger.running() if r.uid == waits]
        end = time.monotonic() + LIMIT_S
        folder = one.configuration.folders.journal
        while not journal_path(folder, hangs).exists() and time.monotonic() < end:
            time.sleep(0.01)
        one.engine.close()
        assert one.stop_of(hangs)["exit_status"] == "abort"
        assert not journal_path(folder, waits).exists()
        for entry in one.ledger.running():
            one.ledger.end(entry.uid, "abort")
    with line(tmp_path) as one:
        (raw,) = bursts_of(read_journal(journal_path(folder, second[0].raw_uid)))
        assert one.engine.submit(raw, backends={"faulty": {}}) == [waits]
        assert one.stop_of(waits)["exit_status"] == "success"
        (retried,) = one.engine.submit(burst, backends=backends)
        assert retried != hangs


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "processed"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True
    )
    if mount.returncode:
        pytest.skip(f"no small disk can be mounted here: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_before_fusing_and_while_it_fills(plugin, small_disk, tmp_path):
    with line(tmp_path) as one:
        stop = one.reconstruct("fill disk", folder=str(small_disk))
        assert stop["exit_status"] == "fail"
        assert f"The disk of {small_disk}" in stop["reason"]
        assert "is full" in stop["reason"]
        assert "raw data are safe" in stop["reason"]
        assert stop["frames"] == {"made": 2, "masked": 0, "failed": 3}
        assert not list(small_disk.rglob("*.part"))
        (shard,) = small_disk.rglob("*.h5")
        with h5py.File(shard) as file:
            assert file["/entry/data/data"].shape == (2, *HR)

        stop = one.reconstruct("none")
        assert stop["exit_status"] == "fail"
        assert "The fused frames need 0.0 MB" in stop["reason"]
        (small_disk / "ballast").unlink()
        assert one.reconstruct("none")["exit_status"] == "success"


HOOK = "from faulty import xfusion_backends\n"
AT_IMPORT = {
    "dies": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "hangs": "import ctypes\nctypes.PyDLL(None).sleep(600)\n",
    "ends": "import os\nos._exit(0)\n",
    "leaves": "raise SystemExit('no licence')\n",
    "chatters": "from faulty_backend import write_to_pipes\nwrite_to_pipes(b'{}')\n",
}


def test_a_plugin_that_kills_who_imports_it_is_set_aside_alone(monkeypatch, tmp_path):
    install(tmp_path, "faulty")
    shutil.copy(tmp_path / "faulty.py", tmp_path / "faulty_backend.py")
    for name, code in AT_IMPORT.items():
        install(tmp_path, name, code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = discover(Plugins(block=("linear",)), threading.Event(), together_s=10.0, alone_s=5.0)
    reasons = {each.source.plugin: each.reason for each in found.quarantined}
    assert reasons.keys() == AT_IMPORT.keys()
    assert "SIGSEGV" in reasons["dies"]
    assert "did not end within 5 s" in reasons["hangs"]
    assert "exit code 0" in reasons["ends"]
    assert "no licence" in reasons["leaves"]
    assert "said nonsense: b'{}" in reasons["chatters"]
    assert {"faulty", "bicubic", "linear-bp"} <= found.backends.keys()
    with pytest.raises(UnknownBackendError, match=r"plugins set aside: .*SIGSEGV"):
        found.find("dies")


def test_an_engine_leaves_no_process(plugin, tmp_path):
    others = workers()
    with line(tmp_path) as one:
        one.engine.warm()
        assert one.reconstruct("none")["exit_status"] == "success"
        mine = workers() - others
        assert len(mine) == 1
    assert not [pid for pid in mine if is_alive(pid)]


def workers():
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and b".worker" in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return found
