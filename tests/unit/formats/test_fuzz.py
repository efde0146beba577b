"""Files with random damage: whatever a reader says, it is a FormatError, or it reads them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from xfusion_bluesky.formats.areadetector_hdf5 import open_detector_file
from xfusion_bluesky.formats.burst_file_writer import write_burst_file
from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.hpvx2_dat import SHAPE, read_hpv_dat, write_hpv_dat
from xfusion_bluesky.formats.images import read_pixels, write_tiff
from xfusion_bluesky.formats.phantom_cine import PACKED_12, read_cine
from xfusion_bluesky.formats.phantom_cine_writer import write_cine
from xfusion_bluesky.formats.phantom_xml import PhantomXml, read_phantom_xml, write_phantom_xml
from xfusion_bluesky.formats.shimadzu_ini import ShimadzuIni, read_shimadzu_ini, write_shimadzu_ini
from xfusion_bluesky.formats.small_array import read_small_array
from xfusion_bluesky.formats.xfusion_calibration import read_results

_ROUNDS = 80
_EXTREME = (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"9999")
_FRAME = np.arange(48, dtype=np.uint16).reshape(6, 8)
_HEAD = 3000
"""Damage is done to these first bytes: behind them are pixels, which may be anything."""


def _ini(path: Path) -> Callable[[], object]:
    write_shimadzu_ini(path, ShimadzuIni(5000, (0, 5000, 10_000)))
    return lambda: read_shimadzu_ini(path)


def _xml(path: Path) -> Callable[[], object]:
    write_phantom_xml(path, PhantomXml(76e3, (0, 13_160, 26_320), (False, True, True)))
    return lambda: read_phantom_xml(path)


def _cine(path: Path) -> Callable[[], object]:
    write_cine(
        path,
        [_FRAME] * 3,
        time_ns=[0, 10, 20],
        event_flag=[True] * 3,
        frame_rate_hz=76e3,
        compression=PACKED_12,
    )

    def read() -> None:
        cine = read_cine(path)
        for k in range(min(3, len(cine))):
            cine.frame(k)

    return read


def _dat(path: Path) -> Callable[[], object]:
    frame = np.zeros(SHAPE, dtype=np.uint16)
    write_hpv_dat(path, [frame], interval_ns=200, exposure_ns=100, recorded=datetime(2026, 1, 1))
    return lambda: read_hpv_dat(path).frame(0)


def _hdf5(path: Path) -> Callable[[], object]:
    write_burst_file(
        path,
        [_FRAME] * 2,
        (2, 6, 8),
        frame_number=range(2),
        frame_time_ns=range(2),
        event_flag=[True] * 2,
    )

    def read() -> None:
        with open_detector_file(path) as file:
            file.frame(0)

    return read


def _tiff(path: Path) -> Callable[[], object]:
    write_tiff(path, _FRAME)
    return lambda: read_pixels(path)


def _npy(path: Path) -> Callable[[], object]:
    with path.open("wb") as file:
        np.save(file, np.eye(3))
    return lambda: read_small_array(path, (3, 3))


def _results(path: Path) -> Callable[[], object]:
    path.write_text("num_pairs:81\nscale_factor:1.333\nchanged:False\n")
    return lambda: read_results(path)


def _damaged(rng: np.random.Generator, good: bytes, filled: np.ndarray) -> bytes:
    data = bytearray(good)
    for _ in range(rng.integers(1, 6)):
        anywhere = int(rng.integers(min(len(good), _HEAD)))
        at = int(rng.choice(filled)) if rng.random() < 0.5 else anywhere
        some = slice(at, at + int(rng.integers(1, 40)))
        match rng.integers(4):
            case 0:
                data[at : at + 1] = bytes([rng.integers(256)])
            case 1:
                data[at : at + 4] = _EXTREME[rng.integers(len(_EXTREME))]
            case 2:
                del data[some]
            case _:
                data[at:at] = data[some]
    if rng.random() < 0.2:
        del data[int(rng.integers(len(data) + 1)) :]
    return bytes(data)


@pytest.mark.parametrize("make", [_ini, _xml, _cine, _dat, _hdf5, _tiff, _npy, _results])
def test_damaged_files_end_in_a_format_error(
    tmp_path: Path, make: Callable[[Path], Callable[[], object]]
) -> None:
    rng = np.random.default_rng(11)
    path = tmp_path / "file"
    read = make(path)
    good = path.read_bytes()
    read()
    # A setup is mostly zeros: half of the damage goes where something stands.
    filled = np.flatnonzero(np.frombuffer(good[: 4 * _HEAD], dtype=np.uint8))
    for _ in range(_ROUNDS):
        path.write_bytes(_damaged(rng, good, filled))
        try:
            read()
        except FormatError as error:
            text = str(error)
            assert text.isprintable(), ascii(text)
            assert str(path) in text
            assert len(text) < 700
