"""An installation as `sim start` makes it, and its command line as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from xfusion_bluesky.configuration import FILE_NAME
from xfusion_bluesky.processing.service import ServiceProcess

COMMAND = [sys.executable, "-m", "xfusion_bluesky.cli"]


def clean_environment(folder: Path, **more: str) -> dict[str, str]:
    """Without what other tests told this process about their IOCs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EPICS_")}
    return {**kept, "IPYTHONDIR": str(folder / "ipython"), "COLUMNS": "160", **more}


def run_command(
    folder: Path, *arguments: str, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=clean_environment(folder, **environment),
    )


@contextmanager
def running_installation(folder: Path) -> Iterator[Path]:
    """IOCs, Tiled and service of a folder; stopped at the end, whatever happens."""
    try:
        started = run_command(folder, "sim", "start")
        assert started.returncode == 0, started.stderr
        wait_for_tiled(folder)
        yield folder
    finally:
        stopped = run_command(folder, "sim", "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert not processes_of(folder)


def wait_for_tiled(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        service = ServiceProcess.running(folder / "state")
        if service is not None and not service.tiled_trouble:
            return
        time.sleep(0.05)
    raise AssertionError(f"the service of {folder / FILE_NAME} did not connect to Tiled")


def processes_of(folder: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]
