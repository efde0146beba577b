"""The commands on plugins, with a plugin installed that misbehaves in every way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xfusion_bluesky.processing.child import is_alive

Run = Callable[..., subprocess.CompletedProcess[str]]
FAULTY = """
import ctypes, os, subprocess, sys, time
from dataclasses import dataclass
import numpy as np
from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo, FusedFrame
from xfusion_bluesky.backends.hookspecs import hookimpl
from xfusion_bluesky.fusion.operators import upsample_nearest

print("a plugin that talks")

NET = BackendInfo("net", "1", "a network", needs_hr=True, unavailable="needs --weights")

@dataclass(frozen=True)
class Faulty:
    fault: str = "none"
    info = BackendInfo(
        id="faulty", version="1", summary="[/] breaks", needs_hr=False, claims_accuracy=False
    )

    def reconstruct(self, sequence, targets):
        match self.fault:
            case "crash":
                print("last words")
                sys.stdout.flush()
                ctypes.string_at(0)
            case "exit":
                sys.exit(5)
            case "vanish":
                os._exit(7)
            case "hang":
                time.sleep(600)
            case "fork":
                print("left behind", subprocess.Popen(["sleep", "600"]).pid)
                raise RuntimeError("and gone")
            case "raise":
                raise RuntimeError("no [/GPU]\\nanywhere")
            case "nonsense":
                for fd in range(3, 256):
                    try:
                        os.write(fd, b"{nonsense}\\n")
                    except OSError:
                        pass
        for target in targets:
            dtype = np.float64 if self.fault == "dtype" else np.float32
            image = upsample_nearest(sequence.lr(target)).astype(dtype)
            masked = {} if sequence.lr_mask(target).any() else {"masked": 1.0}
            yield FusedFrame(target, image, diagnostics=masked)

@hookimpl
def xfusion_backends():
    return [
        BackendFactory(Faulty.info, Faulty),
        BackendFactory(NET, dict),
    ]
"""
BROKEN = "raise SystemExit('no [/bold] driver\\nat all')"


def _install(folder: Path, name: str, source: str) -> None:
    (folder / f"xfusion_test_{name}.py").write_text(source)
    info = folder / f"{name}_plugin-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}-plugin\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(f"[xfusion_bluesky]\n{name} = xfusion_test_{name}\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two plugins on PYTHONPATH: `faulty`, and one that cannot be imported."""
    folder = tmp_path / "installed"
    folder.mkdir()
    _install(folder, "faulty", FAULTY)
    _install(folder, "broken", BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "here"
    folder.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xfusion_bluesky.cli", "plugins", *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def _one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.usefixtures("installed")
def test_list_shows_what_works_what_is_set_aside_and_what_is_blocked(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "here" / "xfusion.toml").write_text('[plugins]\nblock = ["xfusion-motion"]\n')
    shown = run("list")
    assert shown.returncode == 0, shown.stderr
    assert "bicubic" in shown.stdout
    assert "needs --weights" in shown.stdout
    assert "not loaded: broken (broken-plugin 2.1)" in shown.stdout
    assert "SystemExit: no [/bold] driver at all" in shown.stdout
    assert "update or uninstall broken-plugin" in shown.stdout
    assert "blocked: motion (xfusion-motion" in shown.stdout
    assert "linear-bp" not in shown.stdout

    found = json.loads(run("list", "--json").stdout)
    assert set(found["backends"]) >= {"bicubic", "faulty", "net"}
    assert [each["source"]["plugin"] for each in found["quarantined"]] == ["broken"]
    assert [each["source"]["plugin"] for each in found["blocked"]] == ["motion"]
    assert found["blocked"][0]["fix"]


def test_a_plugin_that_crashes_at_import_takes_no_command_down(run: Run, installed: Path) -> None:
    _install(installed, "deadly", "import ctypes\nctypes.string_at(0)")
    shown = run("list")
    assert shown.returncode == 0, shown.stderr
    assert "linear-bp" in shown.stdout
    assert "not loaded: deadly (deadly-plugin): the process that loaded it" in shown.stdout
    assert run("check", "bicubic").returncode == 0


def test_check_prints_the_card_of_a_backend_that_conforms(run: Run) -> None:
    shown = run("check", "linear-bp")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for words in (
        *("linear-bp 0.1.0", "xfusion-motion", "gives the same bits again", "PSNR dB"),
        *("cubic upsampling", "ms a frame", "peak memory", "It keeps the contract."),
    ):
        assert words in shown.stdout
    assert "failed" not in shown.stdout


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", ["crashed with SIGSEGV during check 'fuses every frame", "last words"]),
        ("vanish", ["exited with 7 during check 'fuses every frame"]),
        ("exit", ["SystemExit: 5"]),
        ("raise", ["RuntimeError: no [/GPU] anywhere"]),
        ("dtype", ["at LR frame 0 expected image: float32"]),
        ("nonsense", ["its process said nonsense during check"]),
    ],
)
def test_a_fault_is_a_finding_and_exit_code_1(run: Run, fault: str, words: list[str]) -> None:
    shown = run("check", "faulty", "--set", f"fault={fault}")
    assert shown.returncode == 1, shown.stdout + shown.stderr
    text = " ".join(shown.stdout.replace("│", " ").split())
    for each in words:
        assert each in text
    assert "It does not keep the contract" in text
    assert "Traceback" not in shown.stderr


@pytest.mark.usefixtures("installed")
def test_a_backend_that_hangs_is_killed_and_one_says_where(run: Run) -> None:
    shown = run("check", "faulty", "--set", "fault=hang", "--limit-s", "2")
    assert shown.returncode == 1
    assert "did not finish within 2 s and was killed during check" in shown.stdout
    assert "xfusion_test_faulty.py" in shown.stdout


@pytest.mark.usefixtures("installed")
def test_what_a_backend_starts_ends_with_the_examination(run: Run) -> None:
    shown = run("check", "faulty", "--set", "fault=fork")
    assert shown.returncode == 1
    pids = re.findall(r"left behind (\d+)", shown.stdout)
    assert pids
    assert not any(is_alive(int(pid)) for pid in pids)


@pytest.mark.usefixtures("installed")
def test_check_says_what_it_leaves_out_and_what_is_missing(run: Run) -> None:
    modest = run("check", "faulty")
    assert modest.returncode == 0, modest.stdout + modest.stderr
    assert modest.stdout.count("left out") == 2
    missing = run("check", "net")
    assert missing.returncode == 1
    assert "not examined: needs --weights" in missing.stdout


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "bicubik"], "did you mean 'bicubic'"),
        (["check", "faulty", "--set", "wrong=1"], "accepts: fault"),
        (["check", "faulty", "--set", "fault"], "not KEY=VALUE"),
        (["new", "Not-A-Name"], "lower case"),
        (["new", "hold"], "xfusion-motion"),
        (["new", "bluesky"], "xfusion_bluesky"),
        (["new", "fresh", "--folder", "."], "exists already"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert words in _one_line(run(*arguments))
    assert not list((tmp_path / "here").iterdir())
