"""XFusion's calibration files as maps from LR to HR pixels, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.xfusion_calibration import (
    XFusionTransform,
    from_lr_to_hr,
    read_results,
    read_transform,
    read_transform_folder,
    to_lr_to_hr,
    write_transform,
)

LR, HR = (250, 400), (800, 1280)


def rigid(degrees: float, x: float, y: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


def as_xfusion_moves(transform: XFusionTransform, row: float, column: float) -> tuple[float, float]:
    """Where a point of an LR frame comes to lie, step by step as section 7.4 of the facts."""
    position = []
    for value, side, hr_side, scale in (
        (row, LR[0], HR[0], transform.scale_row),
        (column, LR[1], HR[1], transform.scale_col),
    ):
        resized = int(np.floor(3 * side * scale))
        # A resize maps the corners of the frame onto each other: pixels are areas.
        moved = (value + 0.5) / side * resized - 0.5
        position.append(moved + (hr_side - resized) // 2)
    x, y, _ = transform.matrix @ [position[1], position[0], 1]
    return y, HR[1] - 1 - x


def test_a_point_goes_where_xfusion_brings_it() -> None:
    transform = XFusionTransform(rigid(1.5, 12.5, -7.25), 1.3402, 1.3317)
    full = to_lr_to_hr(transform, LR, HR)

    for row, column in ((0, 0), (249, 399), (17.25, 311.5)):
        np.testing.assert_allclose(
            full @ [row, column, 1], as_xfusion_moves(transform, row, column), atol=1e-9
        )


def test_the_convention_of_its_fit_differs_by_half_a_pixel_of_the_enlarged_frame() -> None:
    transform = XFusionTransform(np.eye(3), 4 / 3, 4 / 3)

    applied = to_lr_to_hr(transform, LR, HR)
    fitted = to_lr_to_hr(transform, LR, HR, convention="fitted")

    np.testing.assert_allclose(applied[:, :2], fitted[:, :2], atol=1e-9)
    np.testing.assert_allclose(fitted[:, 2] - applied[:, 2], [-1 / 6, 1 / 6], atol=1e-9)


@settings(max_examples=30)
@given(
    degrees=st.floats(-5, 5),
    rows=st.integers(900, 1100),
    columns=st.integers(1500, 1700),
    x=st.floats(-200, 200),
    y=st.floats(-200, 200),
)
def test_a_map_that_xfusion_can_express_comes_back(
    degrees: float, rows: int, columns: int, x: float, y: float
) -> None:
    scales = rows / 750 * (1 + 1e-12), columns / 1200 * (1 + 1e-12)
    full = to_lr_to_hr(XFusionTransform(rigid(degrees, x, y), *scales), LR, HR)

    back = from_lr_to_hr(full, LR, HR)

    corners = np.array([[r, c, 1.0] for r in (0, 249) for c in (0, 399)])
    np.testing.assert_allclose(corners @ to_lr_to_hr(back, LR, HR).T, corners @ full.T, atol=1e-6)
    assert back.residual_rms_px < 1e-6


def test_what_it_cannot_express_is_said_as_a_number() -> None:
    full = np.array([[4.0, 0.04, -100.0], [0.0, -4.0, 1440.0]])

    nearest = from_lr_to_hr(full, LR, HR)

    points = np.array([[r, c, 1.0] for r in np.linspace(0, 249, 9) for c in np.linspace(0, 399, 9)])
    rest = points @ to_lr_to_hr(nearest, LR, HR).T - points @ full.T
    rms = np.sqrt(np.square(rest).sum(axis=1).mean())
    assert 0.5 < rms < 4
    assert nearest.residual_rms_px == pytest.approx(rms)


def test_cameras_that_are_not_mirrored_are_refused() -> None:
    with pytest.raises(FormatError, match="not mirrored"):
        from_lr_to_hr([[4, 0, -100], [0, 4, -160]], LR, HR)


def test_files_go_out_and_in(tmp_path: Path) -> None:
    transform = XFusionTransform(rigid(-0.5, 3.0, 4.0), 1.34, 1.33)

    tfm, scale = write_transform(
        tmp_path, transform, "012_0.1_0.1", {"num_pairs": 81, "changed": "False"}
    )

    for found in (read_transform(tfm, scale), read_transform_folder(tmp_path)):
        np.testing.assert_array_equal(found.matrix, transform.matrix)
        assert (found.scale_row, found.scale_col, found.rotation_deg) == (1.34, 1.33, 0.0)
    results = read_results(tmp_path / "calibration_results_012_0.1_0.1.txt")
    assert results == {"num_pairs": "81", "changed": "False"}


def test_a_folder_with_two_calibrations_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"0 files tfm_\*.npy"):
        read_transform_folder(tmp_path)
    for name in ("a", "b"):
        write_transform(tmp_path, XFusionTransform(np.eye(3), 1.3, 1.3), name)
    with pytest.raises(FormatError, match=r"2 files tfm_\*.npy"):
        read_transform_folder(tmp_path)
    with pytest.raises(FormatError, match="calibration id"):
        write_transform(tmp_path, XFusionTransform(np.eye(3), 1.3, 1.3), "../a")


def test_a_fit_to_a_turned_image_is_refused() -> None:
    transform = XFusionTransform(np.eye(3), 1.3, 1.3, rotation_deg=4.0)

    with pytest.raises(FormatError, match=r"turned the LR image by 4.00 degrees"):
        to_lr_to_hr(transform, LR, HR)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("trap"),))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.eye(2), r"shape \(2, 2\)"),
        (np.diag([2.0, 1, 1]), "no rotation and shift"),
        (np.diag([-1.0, 1, 1]), "no rotation and shift"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.full((3, 3), "a"), "holds <U1"),
        (np.full((3, 3), Trap(), dtype=object), "holds object"),
    ],
)
def test_arrays_that_mean_nothing_are_refused(
    tmp_path: Path, values: np.ndarray, words: str
) -> None:
    tfm, scale = write_transform(tmp_path, XFusionTransform(np.eye(3), 1.3, 1.3), "a")
    np.save(tfm, values, allow_pickle=True)

    with pytest.raises(FormatError, match=words):
        read_transform(tfm, scale)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no .npy file"),
        (b"PK\x03\x04" * 10, "no .npy file"),
        (b"x" * 2_000_000, "2.0 MB"),
        (
            b"\x93NUMPY\x01\x00\x46\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3)}".ljust(69)
            + b"\n",
            "cut short",
        ),
        (
            b"\x93NUMPY\x01\x00\x56\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000)}".ljust(85)
            + b"\n",
            "has the shape",
        ),
    ],
)
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    tfm, scale = write_transform(tmp_path, XFusionTransform(np.eye(3), 1.3, 1.3), "a")
    tfm.write_bytes(data)

    with pytest.raises(FormatError, match=words):
        read_transform(tfm, scale)
