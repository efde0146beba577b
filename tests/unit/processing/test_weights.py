"""Other weights under the same path make another reconstruction, which says which they are."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from xfusion_bluesky.cli.installation import weights_of
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.processing.engine import Engine
from xfusion_bluesky.processing.ledger import Ledger
from xfusion_bluesky.processing.weights import pinned, sha256_of

LIMIT_S = 30.0


def start_of(folder, uid):
    path, end = journal_path(folder, uid), time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        documents = list(read_journal(path)) if path.exists() else []
        if documents:
            return documents[0][1]
        time.sleep(0.02)
    raise TimeoutError(f"no start document of {uid}")


def test_weights_that_the_configuration_names_are_known_by_what_is_in_the_file(tmp_path):
    (tmp_path / "xfusion.toml").write_text(
        "[reconstruction]\nbackends = ['edvr-stf']\n[plugins]\nallow = ['xfusion-edvr']\n"
        f"[reconstruction.parameters.edvr-stf]\nweights = '{tmp_path}/net.pth'\n"
    )
    configuration = Configuration.load(tmp_path / "xfusion.toml")
    weights, folders = tmp_path / "net.pth", configuration.folders
    camera = CameraBurst(tmp_path / "gone.h5", "/d", (1, 4, 4), (0.0,), (True,), (1,), "")
    burst = Burst({"uid": "r"}, 1, camera, camera)
    ledger = Ledger(folders.state)
    engine = Engine(configuration, ledger)
    try:
        weights.write_bytes(b"one")
        (first,) = engine.submit(burst)
        assert engine.submit(burst) == [first]
        # What `reprocess --weights` asks for is the same reconstruction.
        assert engine.submit(burst, backends={"edvr-stf": weights_of(weights)}) == [first]
        start = start_of(folders.journal, first)
        weights.write_bytes(b"two")
        (second,) = engine.submit(burst)
    finally:
        engine.close()
        ledger.close()
    assert second != first
    sha256 = hashlib.sha256(b"one").hexdigest()
    assert start["backend"]["weights"] == start["parameters"]["sha256"] == sha256


def test_a_file_is_read_again_when_it_has_changed_and_only_then(tmp_path, monkeypatch):
    file = tmp_path / "net.pth"
    file.write_bytes(b"one")
    before = file.stat()
    opened = []
    original = Path.open

    def counted(self, *arguments, **options):
        opened.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)
    first = sha256_of(file)
    assert sha256_of(file) == first
    assert opened == [file]
    # Until the clock of the disk has moved on.
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        file.write_bytes(b"two")
        # As after a copy that keeps the times.
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sha256_of(file) == hashlib.sha256(b"two").hexdigest() != first


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        *({"weights": path} for path in ("", 3, "gone.pth", "a\0b")),
        {"weights": __file__, "sha256": "0" * 64},
    ],
)
def test_what_is_no_file_is_left_to_the_backend(parameters):
    assert pinned(parameters) == parameters
