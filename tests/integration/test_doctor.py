"""The doctor: a healthy installation is well; what is broken is named, with what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import COMMAND, processes_of, run_command, running_installation

from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.doctor import State
from xfusion_bluesky.doctor.instrument import channel_access
from xfusion_bluesky.doctor.processing import journals, log
from xfusion_bluesky.doctor.storage import read_folder, room, written_folder
from xfusion_bluesky.processing.tiled_server import TiledServer


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running_installation(tmp_path_factory.mktemp("doctor")) as folder:
        yield folder


def _examine(
    folder: Path, *arguments: str, **environment: str
) -> tuple[int, dict[tuple[str, str], Any]]:
    result = run_command(folder, "doctor", "--json", *arguments, **environment)
    assert result.returncode in (0, 1), result.stderr
    answer = json.loads(result.stdout)
    findings = {(each["area"], each["subject"]): each for each in answer["findings"]}
    assert all("\n" not in each["found"] + each["action"] for each in findings.values())
    # Whatever is not well comes with what to do about it.
    assert all(each["state"] == "ok" or each["action"] for each in findings.values())
    assert answer["ok"] == (result.returncode == 0)
    return result.returncode, findings


def test_a_healthy_installation_is_well(home: Path) -> None:
    before = set(processes_of(home))
    code, findings = _examine(home)
    # Somebody may well run the tests with other versions than those of constraints.txt.
    findings.pop(("software", "packages"))
    assert not [each for each in findings.values() if each["state"] != "ok"]
    assert code == 0
    for place in [
        *(("instrument", name) for name in ("phantom", "shimadzu", "delay_generator", "sample")),
        *(("folders", name) for name in ("raw", "processed", "journal", "state")),
        *(("Tiled", name) for name in ("server", "reads raw", "reads processed", "clock")),
        *(("processing", name) for name in ("service", "log", "journals")),
        ("software", "GPU"),
        ("plugins", "backends"),
    ]:
        assert place in findings
    assert not list((home / "raw").iterdir())
    assert set(processes_of(home)) == before


def test_people_get_a_line_for_each_thing(home: Path) -> None:
    result = run_command(home, "doctor", COLUMNS="40")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert any(line.startswith("  ok   phantom: ") for line in lines)
    assert "instrument" in lines


def _plugin(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[xfusion_bluesky]\n{name} = {name}\n")


def test_each_broken_thing_is_named_and_hides_no_other(home: Path, tmp_path: Path) -> None:
    _plugin(tmp_path, "xf_broken", "import a_library_that_is_not_there\n")
    _plugin(tmp_path, "xf_crashing", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (home / "broken.toml").write_text(f"""
[folders]
raw = "/proc"
processed = "{elsewhere}"
readable = ["{tmp_path / "not-mounted"}"]
[devices]
shutter = "XFSIM:SHUTER:"
[reconstruction]
backends = ["linaer"]
""")
    code, findings = _examine(home, "--config", "broken.toml", PYTHONPATH=str(tmp_path))
    assert code == 1
    expected = {
        ("instrument", "shutter"): ("XFSIM:SHUTER:", "[devices]"),
        ("folders", "raw"): ("/proc", "[folders]"),
        ("folders", "readable"): ("not-mounted", "[folders]"),
        ("Tiled", "reads raw"): ("/proc", "above"),
        ("Tiled", "reads processed"): ("elsewhere", "readable_storage"),
        ("plugins", "backends"): ("'linaer'", "[reconstruction]"),
        ("plugins", "xf_broken"): ("a_library_that_is_not_there", "install"),
        ("plugins", "xf_crashing"): ("SIGSEGV", "uninstall"),
    }
    assert expected.keys() <= findings.keys(), findings
    for place, (found, action) in expected.items():
        assert findings[place]["state"] == "FAIL", findings[place]
        assert found in findings[place]["found"]
        assert action in findings[place]["action"]
    well = {place for place in findings if findings[place]["state"] == "ok"}
    assert {
        ("instrument", "phantom"),
        ("instrument", "sample"),
        ("folders", "state"),
        ("Tiled", "server"),
        ("processing", "service"),
    } <= well


def test_when_tiled_is_away_the_rest_is_looked_at(home: Path) -> None:
    server = TiledServer.running(home / "state" / "tiled")
    assert server is not None
    server.stop()
    code, findings = _examine(home)
    assert code == 1
    assert findings["Tiled", "server"]["state"] == "FAIL"
    assert "sim start" in findings["Tiled", "server"]["action"]
    assert findings["instrument", "sample"]["state"] == "ok"
    assert findings["plugins", "backends"]["state"] == "ok"
    (home / "far.toml").write_text('[tiled]\nuri = "http://127.0.0.1:9"\n')
    _, findings = _examine(home, "--config", "far.toml")
    assert "http://127.0.0.1:9" in findings["Tiled", "server"]["found"]
    assert "TILED_API_KEY" in findings["Tiled", "server"]["action"]


def test_where_nothing_was_ever_started_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    code, findings = _examine(tmp_path)
    assert code == 1
    for place in (("instrument", "IOCs"), ("Tiled", "server"), ("processing", "service")):
        assert findings[place]["state"] == "FAIL"
        assert "sim start" in findings[place]["action"]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Any]:
    mounted = []

    def make(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("only root may mount a file system")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_mounted_read_only_is_told(mount: Any) -> None:
    finding = written_folder("raw", mount("ro"))
    assert finding.state is State.FAIL
    assert "mounted read-only" in finding.found


def test_a_full_disk_is_told_and_how_many_bursts_fit(mount: Any) -> None:
    folder = mount("size=64k")
    configuration = Configuration.model_validate({"folders": {"raw": folder}})
    raw = next(each for each in room(configuration.located(folder.parent).folders, 1))
    assert raw.state is State.FAIL
    assert "about 0 bursts" in raw.found
    with pytest.raises(OSError, match="No space"):
        (folder / "much").write_bytes(bytes(100_000))
    assert "is full" in written_folder("raw", folder).found


def test_a_folder_that_cannot_be_made_is_told_and_one_that_can_is_not_made(tmp_path: Path) -> None:
    assert written_folder("raw", tmp_path / "raw").state is State.WARN
    assert not list(tmp_path.iterdir())
    assert read_folder(tmp_path).state is State.OK


@pytest.mark.parametrize(
    ("variables", "state"),
    [
        ({}, State.OK),
        ({"EPICS_CA_AUTO_ADDR_LIST": "NO", "EPICS_CA_ADDR_LIST": " "}, State.FAIL),
        ({"EPICS_CA_AUTO_ADDR_LIST": "NO", "EPICS_CA_ADDR_LIST": "127.0.0.1"}, State.OK),
        ({"EPICS_CA_MAX_ARRAY_BYTES": "16384"}, State.WARN),
        ({"EPICS_CA_MAX_ARRAY_BYTES": "10000000"}, State.OK),
    ],
)
def test_variables_that_hide_iocs_are_told(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], state: State
) -> None:
    for name in [name for name in os.environ if name.startswith("EPICS_CA_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert channel_access(simulated=False).state is state


def test_journals_that_wait_and_recent_errors_are_told(tmp_path: Path) -> None:
    for name, age_s in (("a", 7200), ("b", 300), ("c", 0)):
        path = tmp_path / f"{name}.jsonl"
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    finding = journals(tmp_path, tmp_path)
    assert finding.state is State.WARN
    assert "2 wait" in finding.found
    assert "2 h" in finding.found
    path = tmp_path / "service.log"
    assert log(path).state is State.OK
    path.write_text("2001-01-01 00:00:00,000 ERROR old\nTraceback\n")
    assert log(path).state is State.OK
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    writer = "xfusion_bluesky.processing.writer"
    path.write_text(f"{now},1 ERROR {writer} no Tiled\n{now},2 INFO {writer} Connected to Tiled\n")
    assert log(path).state is State.OK
    with path.open("a") as stream:
        stream.write(f"{now},123 ERROR module disk on fire\n{now},124 INFO fine\n")
    finding = log(path)
    assert finding.state is State.WARN
    assert "disk on fire" in finding.found


def test_it_ends_even_when_something_hangs(tmp_path: Path) -> None:
    code = f"""
import threading
from pathlib import Path
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.doctor import examination
def hang(configuration, ended):
    yield examination.fail("first", "seen", "do")
    threading.Event().wait()
examination._AREAS = {{"disk": hang}}
configuration = Configuration().located(Path({str(tmp_path)!r}))
[(area, findings)] = examination.examine(configuration, limit_s=0.2)
print([each.subject for each in findings], findings[1].found)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "['first', 'disk'] no answer within 0.2 s"


def test_help_names_both_commands() -> None:
    result = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "console" in result.stdout
    assert "doctor" in result.stdout
