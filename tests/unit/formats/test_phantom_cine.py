"""Phantom .cine files: pixels of every packing, exact times, and damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.packed_pixels import pack_10, pack_12, unpack_10, unpack_12
from xfusion_bluesky.formats.phantom_cine import PACKED_10, PACKED_12, UNPACKED, read_cine
from xfusion_bluesky.formats.phantom_cine_writer import write_cine

RNG = np.random.default_rng(8)
TIMES = 13_157.9 * np.arange(-2, 3)
FLAGS = [False, False, True, True, False]


def make(folder: Path, bits: int = 12, compression: int = UNPACKED) -> tuple[Path, np.ndarray]:
    frames = RNG.integers(0, 1 << bits, (5, 6, 9)).astype(np.uint16)
    path = folder / "shot.cine"
    write_cine(
        path,
        list(frames),
        time_ns=TIMES.tolist(),
        event_flag=FLAGS,
        frame_rate_hz=76_000.5,
        exposure_ns=900,
        first_frame_number=-2,
        bits=bits,
        compression=compression,
    )
    return path, frames


@pytest.mark.parametrize(
    ("bits", "compression"), [(8, UNPACKED), (12, UNPACKED), (16, UNPACKED), (12, PACKED_12)]
)
def test_what_is_written_is_read_again(tmp_path: Path, bits: int, compression: int) -> None:
    path, frames = make(tmp_path, bits, compression)

    cine = read_cine(path)

    assert (len(cine), cine.shape, cine.bits, cine.first_frame_number) == (5, (6, 9), bits, -2)
    assert (cine.frame_rate_hz, cine.exposure_ns) == (76_000.5, 900)
    assert cine.event_flag.tolist() == FLAGS
    # The two lowest bits of a time are flags: 4 units of 2**-32 s are 0.93 ns.
    np.testing.assert_allclose(cine.time_ns, TIMES, atol=1.5)
    for k in range(5):
        np.testing.assert_array_equal(cine.frame(k), frames[k])
        assert cine.frame(k).dtype == np.uint16


def test_codes_of_ten_bits_need_the_table_of_their_meaning(tmp_path: Path) -> None:
    path, frames = make(tmp_path, 10, PACKED_10)
    table = np.arange(1024, dtype=np.uint16) * 3

    np.testing.assert_array_equal(read_cine(path).frame(1, table), table[frames[1]])
    with pytest.raises(FormatError, match="Save the cine with 12 or 16 bits"):
        read_cine(path).frame(1)


@settings(max_examples=30)
@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 1023))
)
def test_packed_pixels_are_unpacked(image: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack_10(pack_10(image), image.shape), image)
    np.testing.assert_array_equal(unpack_12(pack_12(image), image.shape), image)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "words"),
    [
        (0, "<2s", b"CX", "does not begin as a .cine file does"),
        (6, "<H", 2, "does not begin as a .cine file does"),
        (20, "<I", 0, "holds 0 frames"),
        (20, "<I", 0xFFFFFFFF, "holds 4294967295 frames"),
        (20, "<I", 1000, "the table of images would be at bytes"),
        (24, "<I", 0xFFFFFFF0, "the bitmap header would be at bytes"),
        (28, "<I", 0xFFFFFF00, "the camera's setup would be at bytes"),
        (48, "<i", 1 << 30, "images would have 1073741824 x 6 px"),
        (52, "<i", 0, "images would have 9 x 0 px"),
        (58, "<H", 24, "images have 24 bits"),
        (60, "<I", 5, "compression 5"),
        (84 + 808, "<I", 3, "colour camera"),
        (84 + 6024, "<f", 2.2, "gamma is 2.2"),
        (84 + 11_000, "<I", 3, "impossible size of 3"),
        (84 + 11_000, "<I", 0xFFFFFFFF, "impossible size of 4294967295"),
        (84 + 11_000, "<I", 16, "times of 1 images, but 5 images"),
        (84 + 11_012, "<I", 0, "years before or after its trigger"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, offset: int, layout: str, value: object, words: str
) -> None:
    path, _ = make(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, offset, value)
    path.write_bytes(data)

    with pytest.raises(FormatError, match=words) as caught:
        read_cine(path)
    assert "shot.cine" in str(caught.value)


def test_a_file_that_was_cut_short_says_which_frame(tmp_path: Path) -> None:
    path, frames = make(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])

    cine = read_cine(path)

    np.testing.assert_array_equal(cine.frame(3), frames[3])
    with pytest.raises(FormatError, match="the pixels of frame 4 would be at"):
        cine.frame(4)
    with pytest.raises(IndexError):
        cine.frame(5)


def test_a_cine_without_times_has_none(tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, 84 + 11_004, 1004)
    path.write_bytes(data)

    assert np.isnan(read_cine(path).time_ns).all()
