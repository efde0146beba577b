"""`xfusion-bluesky infer --actual` on experiments in XFusion's layout."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_records import record
from command_line import Ended, refused, type_command

from xfusion_bluesky.formats.images import read_image
from xfusion_bluesky.formats.xfusion_calibration import from_lr_to_hr, write_transform
from xfusion_bluesky.formats.xfusion_case_writer import write_case
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.pixelmap import PixelMap

LR, HR = (16, 24), (76, 112)
N, PERIOD_NS, RATIO = 17, 1000.0, 4
MIRRORED = ((4.0, 0.0, 7.5), (0.0, -4.0, 103.5))
GAIN, OFFSET = 0.7, 0.05


def scene(time_ns: float) -> np.ndarray:
    """A dark disc that moves over a resting texture, on the fused grid of all LR pixels."""
    rows, columns = np.indices((4 * LR[0], 4 * LR[1]))
    texture = np.random.default_rng(0).normal(0, 0.03, rows.shape)
    disc = (rows - 30) ** 2 + (columns - 16 - 3e-3 * time_ns) ** 2 < 80
    return np.clip(0.6 + texture - 0.3 * disc, 0, 1)


def on_hr_camera(image: np.ndarray) -> np.ndarray:
    frame = np.full(HR, 0.5)
    frame[6 : 6 + image.shape[0], 10 : 10 + image.shape[1]] = image[:, ::-1]
    return frame


def counts(image: np.ndarray) -> np.ndarray:
    return np.rint(65535 * image).astype(np.uint16)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases; frames 0, 4, 8 ... of LR have an HR frame, the first and last one no flag."""
    root = tmp_path_factory.mktemp("xfusion") / "weld"
    lr_time_ns = PERIOD_NS * np.arange(N)
    hr_time_ns = RATIO * PERIOD_NS * np.arange(-1, N // RATIO + 2)
    for name in ("001_a", "002_b"):
        write_case(
            root / name,
            [counts(OFFSET + GAIN * block_mean(scene(t))) for t in lr_time_ns],
            [counts(on_hr_camera(scene(t))) for t in hr_time_ns],
            lr_time_ns=lr_time_ns.tolist(),
            hr_time_ns=hr_time_ns.tolist(),
            hr_event_flag=[0 <= t <= lr_time_ns[-1] for t in hr_time_ns],
        )
    made = record(LR, HR, MIRRORED)
    (root.parent / "weld.json").write_text(made.model_dump_json())
    transform = from_lr_to_hr(MIRRORED, LR, HR)
    write_transform(root.parent, transform, "weld")
    return root


def infer(root: Path, *options: str, backend: str = "linear-bp") -> Ended:
    return type_command("infer", "--actual", str(root), "--backend", backend, *options)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def calibrated(root: Path) -> tuple[str, str]:
    return "--calibration", str(root.parent / "weld.json")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_double_compares_with_frames_that_were_left_out(experiment: Path) -> None:
    options = ("--traverse", "double", "--npz", "--csv")
    ended = infer(experiment, *calibrated(experiment), *options)
    assert ended.code == 0, ended
    for case in ("001_a", "002_b"):
        folder = Path("inference/weld") / case / "double"
        rows = table(folder / "scores.csv")
        assert [(row["index"], row["hr_before"], row["hr_after"]) for row in rows] == [
            ("0", "-1", "2"),
            ("4", "1", "3"),
            ("8", "2", "4"),
            ("12", "3", "5"),
            ("16", "4", "-1"),
        ]
        assert {row["mask"] for row in rows} == {"0"}
        # The linear mean of two discs would score worse, a copy of the truth better.
        assert all(20 < float(row["psnr"]) < 60 for row in rows)
        made = arrays(folder / f"{case}.npz")
        assert {name: (each.shape, str(each.dtype)) for name, each in made.items()} == {
            "result_img": ((5, 64, 96), "uint8"),
            "lo_img": ((5, 16, 24), "uint8"),
            "hi_img": ((5, 64, 96), "uint8"),
        }
        for k, row in enumerate(rows):
            truth = scene(PERIOD_NS * int(row["index"]))
            np.testing.assert_allclose(made["hi_img"][k] / 255, truth, atol=3e-3)
            lr = block_mean(truth)
            # Brought to the brightness of the HR camera.
            np.testing.assert_allclose(made["lo_img"][k] / 255, lr, atol=0.01)
        errors = table(folder / f"error_weld_{case}.csv")
        assert list(errors[0]) == ["index", "psnr", "aad", "ssim"]
        assert [float(row["aad"]) for row in errors] == [float(row["aad"]) for row in rows]
        cameras = json.loads((folder / "inference.json").read_text())["cameras"]
        assert cameras["gain"] == pytest.approx(GAIN, abs=0.02)
        assert cameras["offset"] == pytest.approx(OFFSET, abs=0.02)


def test_continuous_makes_every_lr_frame_and_xfusion_those_between_flags(experiment: Path) -> None:
    options = ("--cases", "002_b", "--npz")
    ended = infer(experiment, *calibrated(experiment), *options, "--output", "ours")
    assert ended.code == 0, ended
    folder = Path("ours/weld/002_b/continuous")
    rows = table(folder / "scores.csv")
    assert [int(row["index"]) for row in rows] == list(range(N))
    # The frame after the burst has no flag, and serves.
    assert (rows[-1]["hr_before"], rows[-1]["hr_after"]) == ("5", "6")
    assert {row["psnr"] for row in rows} == {""}
    assert len(list(folder.glob("002_b_*.png"))) == N
    assert arrays(folder / "002_b.npz").keys() == {"result_img", "lo_img"}
    image, kind = read_image(folder / "002_b_003.png")
    assert kind.bits == 16
    errors = [np.sqrt(np.mean((image - scene(k * PERIOD_NS)) ** 2)) for k in (1, 2, 3)]
    assert errors[1] < 0.03
    assert errors[1] == min(errors)

    ended = infer(
        *(experiment / "002_b", "--tfm-file", str(experiment.parent / "tfm_weld.npy")),
        *("--meta-file-scale", str(experiment.parent / "scale_factor_weld_corrected.npy")),
        *("--xfusion-matching", "--as-recorded"),
    )
    assert ended.code == 0, ended
    folder = Path("inference/002_b/002_b/continuous")
    rows = table(folder / "scores.csv")
    assert [int(row["index"]) for row in rows] == list(range(N - 1))
    cameras = json.loads((folder / "inference.json").read_text())["cameras"]
    assert (cameras["gain"], cameras["source"]) == (1.0, "tfm_weld")
    written = PixelMap.from_lr_to_hr(cameras["lr_to_hr"], LR, HR)
    wanted = PixelMap.from_lr_to_hr(MIRRORED, LR, HR)
    np.testing.assert_allclose(written.affine, wanted.affine, atol=1e-6)


def test_the_clock_of_the_record_counts(experiment: Path) -> None:
    Path("late.json").write_text(record(LR, HR, MIRRORED, offset_ns=1000.0).model_dump_json())
    options = ("--calibration", "late.json", "--cases", "001_a", "--traverse", "double")
    assert infer(experiment, *options, backend="bicubic").code == 0
    rows = table(Path("inference/weld/001_a/double/scores.csv"))
    assert [int(row["index"]) for row in rows] == [3, 7, 11, 15]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--calibration"),
        (["--tfm-file", "tfm.npy"], "--meta-file-scale"),
        (["--calibration", "RECORD", "--cases", "003"], "no case '003'; there are 001_a, 002_b"),
        (["--calibration", "RECORD", "--csv"], "--traverse double"),
        (["--calibration", "gone.json"], "gone.json cannot be read"),
        (["--calibration", "other.json"], "was made with 8 x 8"),
        (["--calibration", "away.json"], "share no field"),
        (["--calibration", "RECORD", "--virtual", "x"], "one of --virtual"),
        (["--calibration", "RECORD", "--mode", "triple"], "continuous, double"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    experiment: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    (tmp_path / "other.json").write_text(record((8, 8), (32, 32)).model_dump_json())
    far = json.loads(record(LR, HR, MIRRORED).model_dump_json())
    far["spatial"]["lr_to_hr"][0][2] = 5000.0
    (tmp_path / "away.json").write_text(json.dumps(far))
    known = {"RECORD": calibrated(experiment)[1]}
    refused(infer(experiment, *(known.get(each, each) for each in options)), words)
    assert not Path("inference").exists()


def test_a_damaged_image_is_found_before_work_begins(experiment: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(experiment, tmp_path / "copy")
    (damaged,) = copy.glob("002_b/*_phantom/img_000004.tif")
    damaged.write_bytes(damaged.read_bytes()[:400])
    ended = infer(copy, *calibrated(experiment))
    refused(ended, "img_000004.tif", "Nothing was changed")
    assert not Path("inference").exists()
