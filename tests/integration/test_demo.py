"""The main job, as a new user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from xfusion_bluesky.calibration.record import CalibrationRecord


def map_error_px(raw: Path) -> float:
    """Rms error of the calibration against the truth of the simulator, HR px."""
    (file,) = (raw / "calibration").glob("*.corrections.json")
    record = CalibrationRecord.load(file.with_name(file.name.replace(".corrections", "")))
    truth = next(raw.glob("*/shimadzu_*.truth.h5"))
    with h5py.File(truth) as opened:
        grid = np.asarray(opened["truth"].attrs["lr_to_hr_grid"])
        offsets_ns = opened["truth"].attrs["clock_offset_ns"]
    found = grid[:, :2] @ record.spatial.affine[:, :2].T + record.spatial.affine[:, 2]
    assert record.temporal is not None
    shimadzu_ns, phantom_ns = offsets_ns
    error_ns = abs(record.temporal.offset_ns - (phantom_ns - shimadzu_ns))
    assert error_ns < max(100.0, 3 * record.temporal.offset_sigma_ns)
    return float(np.sqrt(np.square(found - grid[:, 2:]).sum(axis=1).mean()))


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
    assert map_error_px(folder / "raw") < 0.05
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]
    assert not left
