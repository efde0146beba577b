"""A case of XFusion: images and times that belong together, or the reason why not."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.phantom_xml import read_phantom_xml, write_phantom_xml
from xfusion_bluesky.formats.xfusion_case import list_cases, open_case
from xfusion_bluesky.formats.xfusion_case_writer import write_case

RNG = np.random.default_rng(5)
LR = RNG.integers(0, 1024, (6, 5, 8)).astype(np.uint16) << 6
HR = RNG.integers(0, 4096, (5, 20, 32)).astype(np.uint16)
LR_NS = 5000.0 * np.arange(6)
HR_NS = 10_000.0 * np.arange(-1, 4)
FLAGS = [False, True, True, True, False]


def make(root: Path, name: str = "case1") -> Path:
    write_case(root / name, LR, HR, lr_time_ns=LR_NS, hr_time_ns=HR_NS, hr_event_flag=FLAGS)
    return root / name


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def test_a_case_that_was_written_is_read_again(tmp_path: Path) -> None:
    case = open_case(make(tmp_path))

    assert (case.name, case.lr_shape, case.hr_shape) == ("case1", (5, 8), (20, 32))
    assert (case.n_lr, case.n_hr) == (6, 5)
    np.testing.assert_array_equal(case.lr_time_ns, LR_NS)
    np.testing.assert_array_equal(case.hr_time_ns, HR_NS)
    assert case.hr_event_flag.tolist() == FLAGS
    assert (case.lr_interval_ns, case.hr_interval_ns) == (5000.0, pytest.approx(10_000.0))
    assert case.recorded == datetime(2026, 1, 1, 12)
    for k in range(6):
        np.testing.assert_array_equal(case.lr_frame(k), LR[k])
    for k in range(5):
        np.testing.assert_array_equal(case.hr_frame(k), HR[k])
    assert case.hr_frame(0).dtype == np.uint16


def test_averages_are_those_of_xfusion(tmp_path: Path) -> None:
    case = open_case(make(tmp_path))

    np.testing.assert_allclose(case.lr_average(), LR[1:].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(case.hr_average(), HR[1:4].mean(axis=0), rtol=1e-6)


def test_a_calibration_case_needs_no_times(tmp_path: Path) -> None:
    folder = make(tmp_path)
    only(folder, "*.ini").unlink()
    only(folder, "*.xml").unlink()

    case = open_case(folder, calibration=True)

    assert case.lr_time_ns.size == case.hr_time_ns.size == case.hr_event_flag.size == 0
    assert case.recorded is None
    np.testing.assert_allclose(case.hr_average(), HR.mean(axis=0), rtol=1e-6)
    with pytest.raises(FormatError, match=r"no \.ini file with the times of the Shimadzu"):
        open_case(folder)


def test_times_may_lie_beside_the_folder_of_images(tmp_path: Path) -> None:
    folder = make(tmp_path)
    only(folder, "*.xml").rename(folder / "times.xml")
    (folder / ".DS_Store").write_bytes(b"what a file browser leaves")

    assert open_case(folder).n_hr == 5


def test_cases_are_listed_in_natural_order(tmp_path: Path) -> None:
    for name in ("exp10", "exp9"):
        make(tmp_path, name)
    (tmp_path / "notes").mkdir()

    assert [path.name for path in list_cases(tmp_path)] == ["exp9", "exp10"]
    assert list_cases(tmp_path / "exp9") == (tmp_path / "exp9",)
    with pytest.raises(FormatError, match="holds no case"):
        list_cases(tmp_path / "notes")
    with pytest.raises(FormatError, match="No such file"):
        list_cases(tmp_path / "away")


def _no_event(folder: Path) -> None:
    path = only(folder, "*.xml")
    path.write_text(path.read_text().replace(" E<", "<"))


def _one_time_less(folder: Path) -> None:
    xml = read_phantom_xml(only(folder, "*.xml"))
    short = type(xml)(xml.frame_rate_hz, xml.time_ns[:-1], xml.event_flag[:-1])
    write_phantom_xml(only(folder, "*.xml"), short)


def _truncated(folder: Path) -> None:
    path = only(folder, "case1_004.tiff")
    path.write_bytes(path.read_bytes()[:-20])


def _another_size(folder: Path) -> None:
    Image.fromarray(np.zeros((5, 9), np.uint16)).save(only(folder, "case1_004.tiff"))


def _eight_bits(folder: Path) -> None:
    for path in folder.rglob("img_*.tif"):
        Image.fromarray(np.zeros((20, 32), np.uint8)).save(path)


def _link_out(folder: Path) -> None:
    outside = folder.parent / "outside.tif"
    only(folder, "img_000002.tif").rename(outside)
    (only(folder, "*.xml").parent / "img_000002.tif").symlink_to(outside)


def _folder_out(folder: Path) -> None:
    inner = only(folder, "*.xml").parent
    inner.rename(folder.parent / "elsewhere")
    inner.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "TIFF16"), "TIFF16 cannot be read: No such file"),
        (lambda folder: shutil.rmtree(folder / "TIFF16/case1"), "no folder with the Shimadzu"),
        (lambda folder: shutil.rmtree(folder / "case1_phantom"), "no folder with the Phantom"),
        (lambda folder: (folder / "more").mkdir(), r"more than one folder \('case1_phantom'"),
        (lambda folder: (folder / "b.ini").touch(), r"more than one \.ini file"),
        (lambda folder: (folder / "b.xml").touch(), r"more than one \.xml file"),
        (lambda folder: only(folder, "*.xml").unlink(), r"no \.xml file with the times"),
        (lambda folder: only(folder, "case1_003.tiff").unlink(), "no image of number 3"),
        (lambda folder: only(folder, "case1_006.tiff").unlink(), "times of 6 images, but .* 5"),
        (lambda folder: only(folder, "img_000000.tif").rename(folder / "x.tif"), "times of 5"),
        (lambda folder: only(folder, "*.xml").with_name("a.png").touch(), "holds a.png"),
        (_no_event, "has the event flag E"),
        (_one_time_less, "times of 4 images, but .* 5"),
        (_eight_bits, "8 bits, not 16"),
        (_link_out, "img_000002.tif is a link that leads out of"),
        (_folder_out, "case1_phantom is a link that leads out of"),
        (_truncated, "case1_004.tiff cannot be read"),
        (_another_size, r"case1_004.tiff has 9 x 5 px .* has 8 x 5 px"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    folder = make(tmp_path)
    spoil(folder)

    with pytest.raises(FormatError, match=words) as caught:
        open_case(folder).lr.check()
    assert str(caught.value).endswith("Nothing was changed.")


def test_nothing_is_written_over_a_case_or_outside_of_its_folder(tmp_path: Path) -> None:
    make(tmp_path)

    with pytest.raises(FormatError, match="exists already"):
        make(tmp_path)
    with pytest.raises(FormatError, match="cannot be part of a file name"):
        make(tmp_path, "..")
