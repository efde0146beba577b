"""`xfusion-bluesky infer --virtual` on folders as XFusion has them, with real backend processes."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from command_line import Ended, refused, type_command
from faulty_backend import install
from PIL import Image

from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.xfusion_metrics import psnr_xfusion

N, SHAPE = 13, (48, 64)
XFUSION_COLUMNS = [
    *("index", "time", "psnr", "aad", "ssim"),
    *("t-1 lo", "t lo", "t+1 lo", "t-1 hi", "t+1 hi", "mask"),
]


def write_set(folder: Path, dtype: type = np.uint8) -> Path:
    """A dark disc that moves over a resting texture, and its block means."""
    rows, columns = np.indices(SHAPE)
    texture = np.random.default_rng(0).normal(0, 0.05, SHAPE)
    white = np.iinfo(dtype).max
    for name in ("LR", "HR"):
        (folder / name).mkdir(parents=True)
    for k in range(N):
        disc = (rows - 24) ** 2 + (columns - 12 - 2 * k) ** 2 < 60
        hr = np.clip(0.7 + texture - 0.4 * disc, 0, 1)
        for name, image in (("HR", hr), ("LR", block_mean(hr))):
            pixels = np.rint(image * white).astype(dtype)
            Image.fromarray(pixels).save(folder / name / f"case_{k:04d}.png")
    return folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "disc_b0_0")


@pytest.fixture
def disc(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the set, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(pristine, tmp_path / pristine.name)


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "installed", "faulty-backend")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"), prepend=os.pathsep)


def infer(folder: Path, backend: str, *options: str) -> Ended:
    return type_command("infer", "--virtual", str(folder), "--backend", backend, *options)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def snapshot(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_images_and_scores_are_those_of_xfusion(disc: Path) -> None:
    ended = infer(disc, "linear-bp", "--hr-separation", "5")

    assert ended.code == 0, ended
    name = "linear-bp_stf_lr_r_1_hr_d_5_b0_0"
    results = disc / name
    rows = table(results / f"error_{name}.csv")
    assert list(rows[0])[: len(XFUSION_COLUMNS)] == XFUSION_COLUMNS
    assert [int(row["index"]) for row in rows] == list(range(1, N))
    assert [int(row["index"]) for row in rows if row["mask"] == "1"] == [5, 10, 12]
    assert [(row["hr_before"], row["hr_after"]) for row in rows[3:6]] == [
        *(("0", "5"), ("5", "10"), ("5", "10"))
    ]
    assert (rows[-1]["hr_before"], rows[-1]["hr_after"]) == ("12", "-1")

    images = {path.name for path in results.glob("*.png")}
    assert images == {f"case_{int(row['index']):04d}_{float(row['psnr']):.2f}.png" for row in rows}
    for row in rows:
        stem = f"case_{int(row['index']):04d}"
        (file,) = results.glob(f"{stem}_*.png")
        made, truth = pixels(file) / 255, pixels(disc / "HR" / f"{stem}.png") / 255
        assert made.shape == SHAPE
        # The score is that of the image as it lies there.
        assert float(row["psnr"]) == pytest.approx(psnr_xfusion(made, truth), abs=1e-6)
        if row["mask"] == "0":
            assert float(row["psnr_db"]) == pytest.approx(float(row["psnr"]), abs=0.2)
        shares = [float(row[f"attention_{side}"]) for side in ("before", "after", "neither")]
        assert sum(shares) == pytest.approx(1)
        # Raw scores are something that only XFusion's networks have.
        assert not any(row[name] for name in XFUSION_COLUMNS[5:-1])

    record = json.loads((results / "inference.json").read_text())
    assert record["status"] == "success"
    assert record["backend"]["id"] == "linear-bp"
    assert record["summary"]["without mask"]["frames"] == N - 1 - 3
    unmasked = [float(row["psnr"]) for row in rows if row["mask"] == "0"]
    assert record["summary"]["without mask"]["psnr_xfusion"] == pytest.approx(np.mean(unmasked))
    assert ended.rows[0][:2] == ["all frames", "12"]
    assert ended.rows[1][:2] == ["without mask", "9"]
    assert (results / "inference.log").exists()
    assert not list(results.glob(".*"))

    again = snapshot(disc)
    refused(infer(disc, "linear-bp", "--hr-separation", "5"), name, "exists already", "--output")
    assert snapshot(disc) == again


def test_lr_frames_further_apart_noise_and_parameters(disc: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere" / "results"
    options = ["--lr-separation", "2", "--hr-separation", "4", "--b0", "1000"]

    ended = infer(disc, "bicubic", *options, "--output", str(output))

    assert ended.code == 0, ended
    name = "bicubic_stf_lr_r_2_hr_d_4_b0_3"
    noisy = table(output / f"error_{name}.csv")
    # The runs make 2, 4, .. and then 1, 3, ..; the file is in order.
    assert [int(row["index"]) for row in noisy] == list(range(1, N))
    assert noisy[0]["attention_before"] in ("", "0.0")
    record = json.loads((output / "inference.json").read_text())
    assert (record["blank_photons"], record["lr_separation"]) == (1000.0, 2)

    clean = infer(disc, "bicubic", "--hr-separation", "4", "--output", str(tmp_path / "clean"))
    assert clean.code == 0, clean
    (file,) = (tmp_path / "clean").glob("error_*.csv")
    for with_noise, without in zip(noisy, table(file), strict=True):
        assert float(with_noise["psnr"]) < float(without["psnr"])
    same = infer(disc, "bicubic", *options, "--output", str(tmp_path / "same"))
    assert same.code == 0, same
    scores = [row["psnr"] for row in table(tmp_path / "same" / f"error_{name}.csv")]
    assert scores == [row["psnr"] for row in noisy]


def test_double_mode_makes_hr_frames_that_the_backend_does_not_get(
    disc: Path, tmp_path: Path
) -> None:
    ended = infer(disc, "hold", "--mode", "double", "--hr-separation", "4")

    assert ended.code == 0, ended
    name = "hold_stf_lr_r_1_hr_d_4_b0_0_double"
    rows = table(disc / name / f"error_{name}.csv")
    assert [(row["index"], row["hr_before"], row["hr_after"], row["mask"]) for row in rows] == [
        ("0", "-1", "4", "0"),
        ("4", "0", "8", "0"),
        ("8", "4", "12", "0"),
        ("12", "8", "-1", "0"),
    ]
    # `hold` would be perfect if it had been given the frame.
    assert all(math.isfinite(float(row["psnr"])) for row in rows)


def test_images_of_16_bits_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deep = write_set(tmp_path / "deep", np.uint16)

    ended = infer(deep, "bicubic", "--hr-separation", str(N - 1))

    assert ended.code == 0, ended
    images = list(deep.glob("bicubic_*/*.png"))
    assert len(images) == N - 1
    assert {pixels(file).dtype for file in images} == {np.dtype(np.uint16)}


def spoil(disc: Path, how: str) -> None:
    lr, hr = disc / "LR", disc / "HR"
    match how:
        case "no folder":
            shutil.rmtree(hr)
        case "empty":
            for file in lr.iterdir():
                file.unlink()
        case "text":
            (lr / "notes.txt").write_text("taken on Monday")
        case "size":
            for file in lr.iterdir():
                Image.fromarray(np.zeros((12, 15), dtype=np.uint8)).save(file)
        case "gap":
            (lr / "case_0006.png").unlink()
            (hr / "case_0006.png").unlink()
        case "count":
            (lr / "case_0012.png").unlink()
        case "damaged":
            file = hr / "case_0007.png"
            file.write_bytes(file.read_bytes()[:500])
        case "around":
            inner = disc / "inner"
            inner.mkdir()
            lr.rename(inner / "LR")
            hr.rename(inner / "HR")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no folder", "There is no folder"),
        ("empty", "holds no image"),
        ("text", "notes.txt is no image"),
        ("size", "4 times as wide"),
        ("gap", "no image of number 6"),
        ("count", "12 images and"),
        ("damaged", "case_0007.png cannot be read"),
        ("around", "did you mean"),
    ],
)
def test_a_folder_that_is_no_virtual_experiment_is_refused(
    disc: Path, how: str, words: str
) -> None:
    spoil(disc, how)
    before = snapshot(disc)

    refused(infer(disc, "bicubic", "--hr-separation", "4"), words, "Nothing was changed")

    assert snapshot(disc) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bicubik"], "did you mean 'bicubic'"),
        (["linear-bp", "--set", "wrong=1"], "it accepts"),
        (["linear-bp", "--set", "wrong"], "not KEY=VALUE"),
        (["bicubic", "--hr-separation", "13"], "2 to 12"),
        (["bicubic", "--mode", "triple"], "continuous, double"),
        (["bicubic", "--mode", "double", "--hr-separation", "12"], "at least 3 HR frames"),
        (["bicubic", "--b0", "-3"], "no number of photons"),
        (["bicubic", "--b0", "nan"], "no number of photons"),
        (["bicubic", "--b0", "1e30"], "no number of photons"),
        (["bicubic", "--output", "disc_b0_0/LR/case_0000.png/out"], "cannot be written"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(disc: Path, arguments: list[str], words: str) -> None:
    before = snapshot(disc)

    separation = [] if "--hr-separation" in arguments else ["--hr-separation", "4"]
    refused(infer(disc, *arguments, *separation), words)

    assert snapshot(disc) == before


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise", "ValueError: first line second line"),
        ("segfault", "ended with signal SIGSEGV"),
        ("hang", "nothing came for 8 s (deadline_s)"),
        ("nan", "broke its contract at LR frame 3"),
        ("garbage", "said nonsense"),
    ],
)
def test_a_backend_that_fails_costs_the_frames_that_were_to_come(
    disc: Path, fault: str, words: str
) -> None:
    Path("xfusion.toml").write_text("[reconstruction]\ndeadline_s = 8.0\n")

    ended = infer(disc, "faulty", "--set", f"fault={fault}", "--hr-separation", "4")

    assert ended.code == 1, ended
    assert "failed after 2 of 12 frames" in ended.out
    assert words in ended.out
    name = "faulty_stf_lr_r_1_hr_d_4_b0_0"
    rows = table(disc / name / f"error_{name}.csv")
    assert [row["index"] for row in rows] == ["1", "2"]
    assert len(list((disc / name).glob("*.png"))) == 2
    record = json.loads((disc / name / "inference.json").read_text())
    assert record["status"] == "fail"
    assert words in record["reason"]


@pytest.mark.usefixtures("faulty")
def test_what_a_backend_prints_is_kept_within_bounds(disc: Path) -> None:
    ended = infer(disc, "faulty", "--set", "fault=print", "--hr-separation", "4")

    assert ended.code == 0, ended
    (log,) = disc.glob("faulty_*/inference.log")
    assert log.stat().st_size < 2_000_000
    assert "last words" in log.read_text()


@pytest.mark.usefixtures("faulty")
def test_an_interruption_keeps_what_was_made_and_leaves_no_process(disc: Path) -> None:
    command = ["infer", "--virtual", str(disc), "--backend", "faulty", "--set", "fault=hang"]
    process = subprocess.Popen(
        [sys.executable, "-m", "xfusion_bluesky.cli", *command, "--hr-separation", "4"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # What runs these tests in the background may have them ignore interruptions.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    name = "faulty_stf_lr_r_1_hr_d_4_b0_0"
    file = disc / name / f"error_{name}.csv"
    deadline = time.monotonic() + 60
    while not (file.exists() and len(table(file)) == 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children

    process.send_signal(signal.SIGINT)

    assert process.wait(30) != 0
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert [row["index"] for row in table(file)] == ["1", "2"]
    record = json.loads((disc / name / "inference.json").read_text())
    assert (record["status"], record["reason"]) == ("fail", "it was cut short")
