"""`xfusion-bluesky sync` completes what is missing and says what it did."""

import shutil
import subprocess
import sys

import pytest
from synthetic_runs import references_and_burst

from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import journal_path
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.tiled_server import TiledServer

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("sync")
    (root / "xfusion.toml").write_text('[reconstruction]\nbackends = ["bicubic"]\n')
    folders = Configuration.load(root / "xfusion.toml").folders
    for each in (folders.raw, folders.processed, folders.journal, folders.state):
        each.mkdir()
    with TiledServer.start(folders.state / "tiled", [folders.raw, folders.processed]) as server:
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        yield root, folders, catalog
        catalog.close()


def sync(root):
    return subprocess.run(
        [sys.executable, "-m", "xfusion_bluesky.cli", "sync", "--config", root / "xfusion.toml"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_sync_completes_what_a_dead_service_left_and_then_finds_nothing(home):
    root, folders, catalog = home
    uid = references_and_burst(ReconstructionCallback(folders.journal), folders.raw)
    path = journal_path(folders.journal, uid)
    lines = path.read_bytes().splitlines(keepends=True)
    lines.insert(-1, b'["event", {"half of a\n')
    path.write_bytes(b"".join(lines))

    result = sync(root)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"run {uid}: journal repaired" in result.stdout
    assert "1 lost" in result.stdout
    assert f"run {uid}: written to Tiled" in result.stdout
    assert result.stdout.count("reconstructed as") == 2
    assert catalog.raw[uid].metadata["stop"]["exit_status"] == "success"
    assert len(catalog.reconstructions_of(uid)) == 2
    again = sync(root)
    assert (again.returncode, again.stdout.strip()) == (0, "Nothing was missing.")

    catalog.delete_run(catalog.raw, uid)
    restored = sync(root)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert "is not any more" in restored.stdout
    assert catalog.has_stop(uid)
    assert len(catalog.reconstructions_of(uid)) == 2


def test_sync_reconstructs_a_run_of_which_only_tiled_knows(home, tmp_path):
    root, folders, catalog = home
    uid = references_and_burst(ReconstructionCallback(folders.journal), folders.raw)
    assert sync(root).returncode == 0
    first = catalog.reconstructions_of(uid)
    for run in first:
        catalog.delete_run(catalog.processed, run.metadata["start"]["uid"])
    # What another computer has: Tiled, the files, and no journal of its own.
    shutil.move(folders.journal, tmp_path / "journal")
    folders.journal.mkdir()
    for database in folders.state.glob("ledger.db*"):
        database.unlink()

    result = sync(root)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"run {uid}: has no reconstruction; requested bicubic" in result.stdout
    assert len(catalog.reconstructions_of(uid)) == 2


def test_sync_says_what_to_do_where_tiled_is_away(tmp_path):
    (tmp_path / "xfusion.toml").write_text("[folders]\n")
    result = sync(tmp_path)
    assert result.returncode == 2
    assert "embedded Tiled server" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
