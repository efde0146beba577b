"""The benchmarks run on a tiny video, can be continued, and read every kind of file."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from pathlib import Path

import h5py
import imageio_ffmpeg
import numpy as np
import pytest
from imageio.v3 import imwrite

ROOT = Path(__file__).parents[2]
FIDELITY = ROOT / "benchmarks" / "fidelity"
MODULES = ("grid", "records", "summary", "videos")


@pytest.fixture
def modules(monkeypatch):
    """The modules of the fidelity benchmark, by name."""
    monkeypatch.syspath_prepend(str(FIDELITY))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


def tiny(n=25, shape=(32, 48)):
    """A dark disc that moves over a resting texture."""
    rows, columns = np.indices(shape)
    texture = np.random.default_rng(0).normal(0, 0.05, shape)
    discs = [(rows - 16) ** 2 + (columns - 8 - t) ** 2 < 30 for t in range(n)]
    frames = [0.7 + texture - 0.4 * disc for disc in discs]
    return np.clip(255 * np.array(frames), 0, 255).astype(np.uint8)


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_scored_continued_and_drawn(tmp_path):
    video, out = tmp_path / "disc.h5", tmp_path / "out"
    with h5py.File(video, "w") as file:
        file["frames"] = tiny()
    command = (
        FIDELITY,
        video,
        "--out",
        out,
        "--backends",
        "bicubic",
        "linear",
        "linear-bp",
        "hold",
    )
    small = ("--distances", 4, "--separations", 1, 2, "--lr-psnr", "30", "--targets-every", 1)
    done = run(*command, *small)
    assert done.returncode == 0, done.stderr
    first = (out / "frames.csv").read_text()
    records = table(out / "frames.csv")
    assert len(records) == 2 * 4 * 23
    # The same frames are scored at each separation; HR frames are told from the others.
    by_separation = [{r["frame"] for r in records if r["separation"] == s} for s in ("1", "2")]
    assert by_separation[0] == by_separation[1] == {str(k) for k in range(1, 24)}
    copies = [r for r in records if r["backend"] == "linear" and r["coincident"] == "1"]
    assert {r["frame"] for r in copies} == {"4", "8", "12", "16", "20"}
    assert {r["psnr_db"] for r in copies} == {"inf"}
    assert all(float(r["moving_share"]) > 0.02 for r in records if r["coincident"] == "0")
    assert all(float(r["flicker"]) >= 0 for r in records if r["frame"] != "1")

    # A run that was killed while it wrote: the unfinished cell alone is computed again.
    (out / "frames.csv").write_text(first[: first.rindex("\n", 0, -200)])
    again = run(*command, *small[:5], "--lr-psnr", "30", "clean", *small[-2:])
    assert again.returncode == 0, again.stderr
    lines = [line for line in again.stdout.splitlines() if line.startswith("disc ")]
    assert len(lines) == 2 * 4 + 1
    rewritten = table(out / "frames.csv")
    assert len(rewritten) == 4 * 4 * 23

    scores = {(r["backend"], r["separation"], r["lr_psnr"]): r for r in table(out / "scores.csv")}
    assert len(scores) == 4 * 4
    linear = scores["linear", "1", "clean"]
    assert (linear["frames"], linear["coincident_frames"]) == ("18", "5")
    assert linear["psnr_mean"] == scores["linear", "2", "30"]["psnr_mean"]  # it never looks at LR
    better = scores["linear-bp", "1", "clean"]
    assert float(better["moving_mean"]) > float(linear["moving_mean"])
    text = (out / "scores.md").read_text()
    assert "| D = 4, separation 1, clean | 18 |" in text
    pictures = {path.name for path in out.glob("*.png")}
    boxes = {f"boxes_{m}_disc.png" for m in ("psnr", "psnr_moving", "aad", "ssim")}
    assert boxes | {"times_disc.png", "strip_disc_clean.png", "strip_disc_30.png"} == pictures


def test_bad_input_costs_one_line(tmp_path):
    (tmp_path / "still.npy").write_bytes(b"")
    for arguments, words in (
        ([tmp_path / "none.h5"], "does not exist"),
        ([tmp_path / "still.npy"], "cannot be read"),
        ([tmp_path], "must hold at least 3 grey frames"),
    ):
        done = run(FIDELITY, *arguments, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    np.save(tmp_path / "even.npy", np.zeros((4, 16, 16)))
    done = run(FIDELITY, tmp_path / "even.npy", "--out", tmp_path / "out")
    assert (done.returncode, "constant" in done.stderr) == (2, True)


def test_videos_are_read_from_every_kind_of_file(tmp_path, modules):
    import tifffile

    read, wrong = modules["videos"].read_video, modules["videos"].VideoError
    frames = tiny(5)
    tifffile.imwrite(tmp_path / "stack.tif", frames)
    np.save(tmp_path / "stack.npy", frames)
    (tmp_path / "images").mkdir()
    for k, frame in enumerate(frames):
        imwrite(tmp_path / "images" / f"{k:03}.png", frame)
    for name in ("stack.tif", "stack.npy", "images"):
        np.testing.assert_array_equal(read(tmp_path / name), frames)
        assert len(read(tmp_path / name, first=3)) == 3
    (tmp_path / "colour").mkdir()
    for k, frame in enumerate(frames):
        imwrite(tmp_path / "colour" / f"{k}.png", np.repeat(frame[..., None], 3, axis=2))
    np.testing.assert_allclose(read(tmp_path / "colour"), frames, atol=1)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = frames, frames
    with pytest.raises(wrong, match="found: a, b"):
        read(tmp_path / "two.h5")
    imwrite(tmp_path / "images" / "003.png", frames[3][:20])
    with pytest.raises(wrong, match=r"frame 3 of .* has shape \(20, 48\)"):
        read(tmp_path / "images")

    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo"]
    raw = ["-pix_fmt", "gray", "-s", "48x32", "-i", "-"]
    subprocess.run(
        [*program, *raw, "-c:v", "libx264", "-qp", "0", str(tmp_path / "film.mp4")],
        input=frames.tobytes(),
        check=True,
        timeout=60,
    )
    decoded = read(tmp_path / "film.mp4")
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(float) - frames).mean() < 5
    assert len(read(tmp_path / "film.mp4", first=3)) == 3
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    with pytest.raises(wrong, match="cannot be decoded"):
        read(tmp_path / "broken.mp4")


def test_chosen_frames_are_pairs_at_every_distance_from_hr_frames(modules):
    chosen = modules["grid"].chosen_frames(450, 5)
    assert len(chosen) == 90
    assert {k % 10 for k in chosen} == set(range(10))
    assert all(k + 1 in chosen or k - 1 in chosen for k in chosen)
    assert modules["grid"].chosen_frames(9, 1) == list(range(1, 8))


def test_a_paired_difference_is_as_sure_as_its_blocks(modules):
    interval = modules["summary"].bootstrap_interval
    rng = np.random.default_rng(0)
    of_block = np.repeat(rng.normal(0.5, 0.2, 40), 10)
    low, high = interval(of_block, list(np.repeat(np.arange(40), 10)))
    assert low < 0.5 < high
    assert (high - low) / 2 == pytest.approx(1.96 * 0.2 / np.sqrt(40), rel=0.3)
    low, high = interval(np.full(12, 0.3), [0] * 12)
    assert (low, high) == pytest.approx((0.3, 0.3))


def test_time_and_memory_are_measured():
    script = ROOT / "benchmarks" / "speed" / "backends.py"
    done = run(script, "--backends", "bicubic", "--frames", 22, "--targets", 3, "--threads", 1)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("| bicubic"))
    assert line.count("ms") == 4
    assert "GEMM" in done.stdout.splitlines()[-3] + done.stdout.splitlines()[-1]
