"""The embedded Tiled server as a process: what it leaves, whom it answers, when it ends."""

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import httpx
import pytest

from xfusion_bluesky.processing.child import ProcessStartError, is_alive
from xfusion_bluesky.processing.tiled_server import TiledServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiled") / "state"


@pytest.fixture(scope="module")
def server(folder):
    with TiledServer.start(folder, [folder.parent]) as server:
        yield server
    assert not is_alive(server.pid)
    assert not (folder / "server.json").exists()
    server.stop()


def get(server, path, **headers):
    base = server.uri.removesuffix("/api/v1")
    return httpx.get(base + path, headers=headers, follow_redirects=True, trust_env=False)


def wait_for_end(pid):
    """Wait for a process that is no child of ours without asking again and again."""
    with os.fdopen(os.pidfd_open(pid)) as watched:
        assert select.select([watched], [], [], 20)[0], f"process {pid} did not end"


def test_only_the_owner_may_read_the_key(server, folder):
    assert stat.S_IMODE((folder / "api_key").stat().st_mode) == 0o600
    assert len(server.api_key) == 64
    assert server.api_key.isalnum()


def test_the_key_stands_nowhere_else(server, folder):
    get(server, f"/?api_key={server.api_key}")
    assert server.api_key not in (folder / "server.json").read_text()
    assert server.api_key not in (folder / "server.log").read_text()
    assert server.api_key not in repr(server)


def test_without_the_key_nothing_is_told(server):
    assert get(server, "/api/v1/metadata/").status_code == httpx.codes.UNAUTHORIZED
    allowed = get(server, "/api/v1/metadata/", Authorization=f"Apikey {server.api_key}")
    assert allowed.status_code == httpx.codes.OK


def test_a_browser_gets_the_web_page(server):
    page = httpx.get(server.web_uri, follow_redirects=True, trust_env=False)
    assert page.status_code == httpx.codes.OK
    assert "text/html" in page.headers["content-type"]


def test_nobody_outside_this_machine_is_answered(server):
    port = int(server.uri.split(":")[2].split("/")[0])
    for host in ("127.0.0.2", "::1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as client, pytest.raises(OSError):
            client.connect((host, port))


def test_it_is_found_by_its_folder(server, folder):
    assert TiledServer.running(folder) == server
    assert TiledServer.running(folder.parent) is None


def test_a_second_server_is_refused(server, folder):
    with pytest.raises(ProcessStartError, match=f"process {server.pid} serves it already"):
        TiledServer.start(folder, [])
    assert server.answers()


def test_a_second_server_from_the_command_line_is_refused(server, folder):
    command = [sys.executable, "-m", "xfusion_bluesky.processing.tiled_server", "--folder"]
    second = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "serves it already" in second.stderr
    assert "safe" in second.stderr
    assert TiledServer.running(folder) == server


def test_it_ends_with_its_parent_and_the_folder_serves_again(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from xfusion_bluesky.processing.tiled_server import TiledServer
        server = TiledServer.start(Path(sys.argv[1]), [])
        print(server.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for_end(pid)
    assert TiledServer.running(tmp_path) is None
    assert not (tmp_path / "server.json").exists()

    # Detached, it outlives whoever started it and is ended through its folder.
    detached = TiledServer.start(tmp_path, [], detached=True)
    try:
        found = TiledServer.running(tmp_path)
        assert found == detached
        os.kill(found.pid, signal.SIGINT)
        detached.stop()
    finally:
        detached.stop()
    assert TiledServer.running(tmp_path) is None


def test_a_start_that_fails_says_why(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ProcessStartError, match=f"(?s)port {port} .* cannot be taken.*safe"):
            TiledServer.start(tmp_path, [], port=port)


def test_a_catalogue_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "catalog.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ProcessStartError, match="not a database"):
        TiledServer.start(tmp_path, [])
    assert (tmp_path / "catalog.db").read_bytes().startswith(b"no database")
