"""Movies play back: number of frames, sizes, contents; a failure says why and leaves nothing."""

import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from xfusion_bluesky.viewer.movie import MovieError, save_movie
from xfusion_bluesky.viewer.pictures import Fused, StripRow


def moments(count, shape=(36, 52)):
    """A scene that gets brighter from frame to frame."""
    hr = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    for k in range(count):
        level = k / max(1, count - 1)
        lr = np.full((shape[0] // 4, shape[1] // 4), level, np.float32)
        fused = Fused("linear", np.full(shape, level, np.float32))
        yield StripRow(1000.0 * k, lr, hr if k % 3 else None, 0.5, (fused,))


def decoded(path):
    """Return what ffmpeg says about the file, and its frames."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    about = done.stderr.decode()
    width, height = map(int, re.search(r"Video: h264.*, yuv420p.*?, (\d+)x(\d+)", about).groups())
    return about, np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def test_a_movie_plays_back(tmp_path):
    path = tmp_path / "fused.mp4"
    assert save_movie(path, moments(12), 10.0, (700, 300), window=(0.0, 1.0)) == 12
    about, frames = decoded(path)
    assert "10 fps" in about
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (12, pytest.approx(1.2))
    assert len(frames) == 12
    height, width, _ = frames[0].shape
    assert width <= 701
    assert height <= 301
    assert width % 2 == height % 2 == 0
    # The fused panel is the last: it goes from black to white.
    brightness = [frame[height // 2, 5 * width // 6].mean() for frame in frames]
    assert brightness[0] < 10
    assert brightness[-1] > 245
    assert np.all(np.diff(brightness) > 0)
    assert list(tmp_path.iterdir()) == [path]


def test_one_frame_at_a_time_is_asked_for(tmp_path):
    held = []

    class Watched:
        def __del__(self):
            held.remove(id(self))

    def frames():
        for row in moments(30):
            mark = Watched()
            held.append(id(mark))
            assert len(held) == 1
            yield row
            del mark

    assert save_movie(tmp_path / "long.mp4", frames(), 30.0, (400, 200)) == 30


@pytest.mark.parametrize("shape", [(120, 400), (800, 1280)])
def test_the_usual_frames_fit(tmp_path, shape):
    path = tmp_path / "movie.mp4"
    assert save_movie(path, moments(2, shape)) == 2
    _, frames = decoded(path)
    assert frames[0].shape[1] <= 1440
    assert frames[0].shape[0] <= 810


def test_no_frames_make_no_movie(tmp_path):
    with pytest.raises(MovieError, match=r"empty\.mp4.*no frames"):
        save_movie(tmp_path / "empty.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_encoder_is_quoted(tmp_path):
    path = tmp_path / "missing" / "movie.mp4"
    with pytest.raises(MovieError, match=r"(?s)missing/movie\.mp4.*No such file or directory"):
        save_movie(path, moments(3))


def test_an_error_among_the_frames_comes_through_and_leaves_nothing(tmp_path):
    def frames():
        yield from moments(3)
        raise LookupError("frame 3 is gone")

    with pytest.raises(LookupError, match="frame 3 is gone"):
        save_movie(tmp_path / "movie.mp4", frames())
    assert list(tmp_path.iterdir()) == []
