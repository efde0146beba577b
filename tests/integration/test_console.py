"""The console as an operator uses it, on a simulated beamline that `sim start` started."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from installation import (
    COMMAND,
    clean_environment,
    processes_of,
    run_command,
    running_installation,
    wait_for_tiled,
)

from xfusion_bluesky.processing.ledger import wait_for_reconstructions
from xfusion_bluesky.processing.tiled_server import TiledServer

ROOT = Path(__file__).parents[2]
STARTUP = ROOT / "profiles" / "sim" / "startup.py"
UID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running_installation(tmp_path_factory.mktemp("console")) as folder:
        yield folder


def test_a_script_takes_a_burst_that_is_reconstructed(home: Path) -> None:
    before = set(processes_of(home))
    script = """
uid = RE(dual_burst(dual, shutter)).plan_result
for camera in (phantom, shimadzu):

    print(camera.name, camera.frames)
print("taken", uid)
%wa cameras
print(sorted(catalog.raw) is not None, delay_generator.name, sample.name, bec, dark_flat, bp, bps)
"""
    result = run_command(home, "console", text=script)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert "phantom_frames" in result.stdout  # the table
    assert "/85.0" in result.stdout + result.stderr  # the bar
    assert "shimadzu" in result.stdout.partition("taken")[2]  # the magic
    assert set(processes_of(home)) == before
    found = re.search(f"taken {UID}", result.stdout)
    assert found is not None
    assert wait_for_reconstructions(home / "state", found[1], 1, 60)


def test_preflight_reads_the_settings_of_the_running_beamline(home: Path) -> None:
    result = run_command(home, "preflight", "--json", "--hr-last", "400")
    assert result.returncode == 0, result.stdout + result.stderr
    answer = json.loads(result.stdout)
    assert answer["settings"]["phantom"]["period_ns"] == pytest.approx(20_000)
    assert answer["settings"]["phantom"]["memory_frames"] == 1024
    assert answer["settings"]["phantom"]["last"] == 400


def test_at_the_prompt_there_is_a_banner_and_everything_in_it_works(home: Path) -> None:
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "console"],
        cwd=str(home),
        env={**clean_environment(home), "TERM": "dumb"},
        encoding="utf-8",
        timeout=60,
    )
    try:
        child.expect_exact(f"bursts go to {home / 'raw'}")
        child.expect("IOCs +simulated, process")
        child.expect("Tiled +http://127.0.0.1")
        child.expect("service +process")
        child.expect_exact("RE(dual_burst(dual, shutter))")
        child.expect(r"In .*1.*: ")
        child.sendline("RE(dual_burst(dual, shutter)).plan_result")
        child.expect(UID)
        child.expect(r"In .*2.*: ")
        child.sendline("exit")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


def test_an_error_in_a_script_is_an_exit_code(home: Path) -> None:
    result = run_command(home, "console", "--command", "RE(dual_burst(dual, shutter, bursts=0))")
    assert result.returncode == 1
    assert "at least 1 is needed" in result.stdout + result.stderr


def test_the_profile_does_the_same_and_its_import_does_nothing(home: Path) -> None:
    command = [sys.executable, "-m", "IPython", "--no-banner", "-i", str(STARTUP)]
    result = subprocess.run(
        command,
        input="print('ready', RE.state, dual.name)\n%wa shutters\nexit\n",
        cwd=ROOT,
        env=clean_environment(home, XFUSION_FOLDER=str(home)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Type first" in result.stdout, result.stderr
    assert "ready idle dual" in result.stdout
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('startup', "
        f"{str(STARTUP)!r}); spec.loader.exec_module(importlib.util.module_from_spec(spec)); "
        "print(sorted({'bluesky', 'caproto', 'ophyd', 'tiled'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env=clean_environment(home),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_a_pv_that_does_not_answer_is_named_in_one_line(home: Path) -> None:
    (home / "wrong.toml").write_text('[devices]\nshutter = "XFSIM:SHUTER:"\n')
    result = run_command(home, "console", "--config", "wrong.toml", text="1")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "XFSIM:SHUTER:" in result.stderr
    assert "[devices]" in result.stderr


def test_without_a_beamline_it_says_what_to_do(tmp_path: Path) -> None:
    for arguments in (["console"], ["console", "--command", "1"]):
        result = run_command(tmp_path, *arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert "sim start" in result.stderr
    assert not list(tmp_path.iterdir())


def test_bursts_are_taken_while_tiled_is_away_and_the_catalogue_comes_back(home: Path) -> None:
    server = TiledServer.running(home / "state" / "tiled")
    assert server is not None
    server.stop()
    script = """
print("without", catalog, RE(dual_burst(dual, shutter)).exit_status)
import subprocess
subprocess.run([*{command!r}, "sim", "start"], check=True, stdout=subprocess.DEVNULL)
print("with", type(beamline.catalog).__name__)
"""
    result = run_command(home, "console", text=script.format(command=COMMAND))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "without None success" in result.stdout
    assert "with Catalog" in result.stdout
    assert "plans work without" in result.stderr
    wait_for_tiled(home)
