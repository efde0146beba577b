"""The main job, as a new user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest


@pytest.mark.timeout(300)
def test_the_demo_makes_a_fused_movie_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = subprocess.run(
        [sys.executable, "-m", "xfusion_bluesky.cli", "demo", "--folder", str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )
    assert result.returncode == 0, result.stderr
    psnr_db: dict[str, float] = {}
    for backend, score in re.findall(r"│ 1 +│ (\S+) +│ success │ 81 +│ ([\d.]+)", result.stdout):
        psnr_db[backend] = float(score)
    assert psnr_db["linear-bp"] > psnr_db["linear"] > psnr_db["bicubic"]
    assert len(list(folder.glob("*.png"))) == 1
    assert len(list(folder.glob("*.mp4"))) == 1
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]
    assert not left
