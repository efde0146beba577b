"""Images of cameras in folders: values, order, and what is refused, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.image_folder import ImageFolder
from xfusion_bluesky.formats.images import read_image, write_image

RAMP = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)


def save(path: Path, pixels: np.ndarray = RAMP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("a.png", RAMP),
        ("a.tif", RAMP),
        ("a.bmp", RAMP),
        ("a.png", RAMP.astype(np.uint16) * 1000),
        ("a.tiff", RAMP.astype(np.uint16) * 1000),
        ("a.png", np.stack([RAMP] * 3, axis=-1)),
    ],
)
def test_pixels_become_floats_from_black_to_white(
    tmp_path: Path, name: str, pixels: np.ndarray
) -> None:
    image, kind = read_image(save(tmp_path / name, pixels))

    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, grey / np.iinfo(pixels.dtype).max, rtol=1e-6)
    assert (kind.shape, kind.bits) == ((6, 8), 8 * pixels.itemsize)


def test_big_endian_tiff(tmp_path: Path) -> None:
    pixels = RAMP.astype(np.uint16) * 1000
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=">")

    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0], pixels / 65535, rtol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_written_is_read_again_rounded_half_to_even(tmp_path: Path, bits: int) -> None:
    white = (1 << bits) - 1
    image = np.array([[-0.5, 0.125, 0.25, 0.5, 2.0]], dtype=np.float32)

    write_image(tmp_path / "a.png", image, bits)

    found, kind = read_image(tmp_path / "a.png")
    assert kind.bits == bits
    np.testing.assert_allclose(found, np.rint(np.clip(image, 0, 1) * white) / white, atol=1e-7)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_images_come_in_natural_order_and_hidden_ones_do_not(tmp_path: Path) -> None:
    for number in (9, 10, 11, 100):
        save(tmp_path / f"img_{number}.png", np.full((6, 8), number, dtype=np.uint8))
    (tmp_path / "img_100.png").rename(tmp_path / "img_8.png")
    (tmp_path / ".DS_Store").write_bytes(b"what a file browser leaves")
    (tmp_path / "results").mkdir()

    folder = ImageFolder.open(tmp_path)

    assert [file.name for file in folder.files] == [f"img_{k}.png" for k in (8, 9, 10, 11)]
    assert [round(float(frame[0, 0]) * 255) for frame in folder] == [100, 9, 10, 11]
    folder.check()


@pytest.mark.parametrize("names", [["a.png", "b7.png", "c2.png"], ["f0.png", "f2.png", "f4.png"]])
def test_names_without_a_number_and_steps_that_are_all_alike_pass(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        save(tmp_path / name)

    assert len(ImageFolder.open(tmp_path)) == 3


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no image"),
        (["f0.png", "f1.png", "f3.png", "f4.png"], "no image of number 2"),
        (["f0.png", "f1.png", "f01.png"], "two images of number 1"),
        (["f0.png", "f0.tif", "f1.png"], "two images of the name f0"),
        (["f0.png", "notes.txt"], "notes.txt is no image"),
    ],
)
def test_a_folder_that_is_no_sequence_is_refused(
    tmp_path: Path, names: list[str], words: str
) -> None:
    for name in names:
        if name.endswith(".txt"):
            (tmp_path / name).write_text("taken on Monday")
        else:
            save(tmp_path / name)

    with pytest.raises(FormatError, match=words):
        ImageFolder.open(tmp_path)


def spoil(path: Path, how: str) -> None:
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "text":
            path.write_text("no image")
        case "empty":
            path.write_bytes(b"")
        case "wider":
            save(path, np.zeros((6, 9), dtype=np.uint8))
        case "deeper":
            save(path, np.zeros((6, 8), dtype=np.uint16))
        case "colour":
            save(path, np.stack([RAMP, RAMP, RAMP + 1], axis=-1))
        case "float":
            tifffile.imwrite(path, np.zeros((6, 8), dtype=np.float32))
        case "stack":
            tifffile.imwrite(path, np.zeros((2, 6, 8), dtype=np.uint8))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "cannot be read"),
        ("text", "cannot be read"),
        ("empty", "cannot be read"),
        ("wider", "9 x 6 px of 8 bits"),
        ("deeper", "8 x 6 px of 16 bits"),
        ("colour", "in colour"),
        ("float", "pixels of kind 'F'"),
        ("stack", "more than one image"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(tmp_path: Path, how: str, words: str) -> None:
    for number in range(3):
        save(
            tmp_path / f"f{number}.png",
            np.random.default_rng(0).integers(0, 255, (6, 8), dtype=np.uint8),
        )
    spoil(tmp_path / "f1.png", how)

    with pytest.raises(FormatError, match=words) as error:
        ImageFolder.open(tmp_path).check()

    assert "f1.png" in str(error.value)
    assert "\n" not in str(error.value)
