"""Strips as people see them: size, grey window, holes, columns."""

import numpy as np
import pytest
from PIL import Image

from xfusion_bluesky.viewer.panels import grey_window, panel
from xfusion_bluesky.viewer.pictures import Fused, StripRow, save_strip, strip


def moment(shape=(40, 80), *, backends=("linear",), hr=True, truth=False, seed=0):
    rng = np.random.default_rng(seed)
    sharp = rng.uniform(0.2, 0.8, shape).astype(np.float32)
    lr = sharp.reshape(shape[0] // 4, 4, shape[1] // 4, 4).mean((1, 3))
    return StripRow(
        time_ns=12_340.0,
        lr=lr,
        hr=sharp if hr else None,
        hr_offset_us=-6.5,
        fused=tuple(Fused(backend, sharp, 31.2) for backend in backends),
        truth=sharp if truth else None,
    )


def pixels(image):
    return np.asarray(image).astype(int)


def is_grey(colours):
    return (np.ptp(colours, axis=-1) == 0).all()


@pytest.mark.parametrize("shape", [(120, 400), (800, 1280), (64, 64)])
@pytest.mark.parametrize("backends", [("linear",), ("bicubic", "linear", "experts")])
@pytest.mark.parametrize("truth", [False, True])
def test_a_strip_fits_the_page(shape, backends, truth):
    rows = [moment(shape, backends=backends, truth=truth)] * 2
    picture = strip(rows, title="a title that goes on and on " * 20)
    assert picture.mode == "RGB"
    assert 900 <= picture.width <= 1800
    assert picture.height > 200


def test_more_rows_make_a_higher_picture_of_the_same_width():
    one, three = strip([moment()]), strip([moment()] * 3)
    assert three.width == one.width
    assert three.height > 2 * one.height


def test_the_grey_window_is_that_of_the_hr_frames():
    ramp = np.linspace(0.0, 100.0, 100_001)
    assert grey_window([ramp]) == pytest.approx((0.35, 99.65))
    assert grey_window([ramp, np.full(10, np.nan)]) == pytest.approx((0.35, 99.65))


@pytest.mark.parametrize("frames", [[], [np.full((2, 2), np.nan)], [np.full((2, 2), 7)]])
def test_a_window_is_never_empty(frames):
    black, white = grey_window(frames)
    assert white > black


def test_values_at_the_window_are_black_and_white():
    frame = np.array([[-5.0, 0.2], [0.8, 9.0]])
    drawn = pixels(panel(frame, (0.2, 0.8), (2, 2)))
    np.testing.assert_array_equal(drawn[..., 0], [[0, 0], [255, 255]])


def test_camera_counts_are_drawn_as_they_are():
    counts = np.array([[100, 200], [300, 400]], np.uint16)
    np.testing.assert_array_equal(
        pixels(panel(counts, (100, 400), (2, 2))),
        pixels(panel(counts.astype(float), (100, 400), (2, 2))),
    )


def test_lr_pixels_are_seen_as_equal_squares():
    drawn = pixels(panel(np.array([[0.0, 1.0], [1.0, 0.0]]), (0, 1), (40, 40), blocks=True))
    assert set(np.unique(drawn)) == {0, 255}
    assert (drawn == 0).sum() == (drawn == 255).sum()


def test_unknown_pixels_are_coloured_and_only_they():
    frame = np.full((40, 40), 0.5)
    frame[10:20, 10:30] = np.nan
    drawn = pixels(panel(frame, (0, 1), (40, 40)))
    hole = np.isnan(frame)
    assert (np.ptp(drawn[hole], axis=-1) > 30).all()
    assert is_grey(drawn[~hole])


def test_a_missing_hr_frame_is_marked():
    assert not is_grey(pixels(panel(None, (0, 1), (60, 30))))
    whole, missing = strip([moment()]), strip([moment(hr=False)])
    assert missing.size == whole.size
    violet = np.ptp(pixels(missing), axis=-1) > 30
    assert violet.sum() > 0.1 * violet.size
    assert not (np.ptp(pixels(whole), axis=-1) > 30).any()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [moment(backends=())],
        [moment(), moment(truth=True)],
        [moment(), moment(backends=("bicubic",))],
    ],
)
def test_rows_that_do_not_go_together_are_refused(rows):
    with pytest.raises(ValueError, match="same backends"):
        strip(rows)


def test_the_saved_file_is_the_strip(tmp_path):
    path = tmp_path / "strip.png"
    save_strip(path, [moment(truth=True)], title="run 1")
    with Image.open(path) as saved:
        assert saved.format == "PNG"
        np.testing.assert_array_equal(
            pixels(saved), pixels(strip([moment(truth=True)], title="run 1"))
        )
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_no_strip_could_be_drawn(tmp_path):
    with pytest.raises(ValueError):
        save_strip(tmp_path / "strip.png", [])
    assert list(tmp_path.iterdir()) == []
