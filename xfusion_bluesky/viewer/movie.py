"""Movies: LR, nearest HR and fused side by side, as MP4 that any browser plays."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from PIL import Image, ImageDraw

from xfusion_bluesky.viewer.panels import PAPER, grey_window, write
from xfusion_bluesky.viewer.pictures import StripRow, cells, label

_MARGIN = 16
_GAP = 12
_LAST_FRAMES_S = 60.0


class MovieError(RuntimeError):
    """The encoder failed; the message names the file and what the encoder said."""


def save_movie(
    path: Path,
    frames: Iterable[StripRow],
    fps: float = 15.0,
    size: tuple[int, int] = (1440, 810),
    *,
    window: tuple[float, float] | None = None,
) -> int:
    """Encode a movie (H.264, yuv420p) while its frames arrive; only one is held in memory.

    Parameters
    ----------
    path : Path
        Name of the movie, usually ``.mp4``. The file appears only when it is complete.
    frames : iterable of StripRow
        Frames in the order of their times, all of the same shapes and backends.
    fps : float
        Frames a second when it is played.
    size : (int, int)
        Largest width and height in px; the movie takes what its panels need, in even numbers.
    window : (float, float), optional
        Values shown black and white; from the first HR frame (`grey_window`) by default.

    Returns
    -------
    int
        Number of frames in the movie.

    Raises
    ------
    MovieError
        The encoder failed or there are no frames.
    """
    incoming = iter(frames)
    first = next(incoming, None)
    if first is None:
        raise MovieError(f"No movie {path} was made: there are no frames to show.")
    layout = _Layout(first, size, window)
    draft = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with _encoder(draft, path, layout.size, fps) as pixels:
            for row in _chain(first, incoming):
                pixels.write(layout.draw(row).tobytes())
                count += 1
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _chain(first: StripRow, others: Iterator[StripRow]) -> Iterator[StripRow]:
    yield first
    yield from others


class _Layout:
    """Where things stand in each picture; found once, from the first frame."""

    def __init__(
        self, first: StripRow, limit: tuple[int, int], window: tuple[float, float] | None
    ) -> None:
        self._window = window or grey_window([first.lr if first.hr is None else first.hr])
        self._text = max(14, min(24, limit[0] // 60))
        self._head = _MARGIN + self._text + _GAP
        self._foot = _GAP + self._text + _MARGIN
        height, width = first.fused[0].image.shape
        count = len(cells(first, self._window, (1, 1)))
        room = limit[0] - 2 * _MARGIN - (count - 1) * _GAP
        zoom = min(room / count / width, (limit[1] - self._head - self._foot) / height)
        self._panel = (max(2, int(zoom * width)), max(2, int(zoom * height)))
        # Even numbers: yuv420p keeps one colour for two by two pixels.
        self.size = (
            _even(2 * _MARGIN + count * self._panel[0] + (count - 1) * _GAP),
            _even(self._head + self._panel[1] + self._foot),
        )

    def draw(self, row: StripRow) -> Image.Image:
        picture = Image.new("RGB", self.size, PAPER)
        draw = ImageDraw.Draw(picture)
        width, height = self._panel
        for k, cell in enumerate(cells(row, self._window, self._panel)):
            x = _MARGIN + k * (width + _GAP)
            picture.paste(cell.image, (x, self._head))
            label(draw, (x, self._head - 5), cell, width, self._text)
        time = f"t = {row.time_ns / 1000:.2f} us"
        write(draw, (_MARGIN, self._head + height + _GAP + self._text - 2), time, self._text)
        return picture


def _even(number: int) -> int:
    return number + number % 2


@contextlib.contextmanager
def _encoder(draft: Path, path: Path, size: tuple[int, int], fps: float) -> Iterator[IO[bytes]]:
    """Run the bundled ffmpeg; what is written into the result is encoded; it always ends."""
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{fps:g}",
        "-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18",
        "-movflags", "+faststart", "-f", "mp4", str(draft),
    ]  # fmt: skip
    # A file, not a pipe: nobody reads while we write, and a full pipe would stop the encoder.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
        try:
            if process.stdin is None:
                raise MovieError(f"The encoder of {path} takes no input.")
            # A broken pipe only says that the encoder has ended; why, it says itself.
            with contextlib.suppress(BrokenPipeError), process.stdin as pixels:
                yield pixels
            code = process.wait(_LAST_FRAMES_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
        if code != 0:
            errors.seek(0)
            said = errors.read()[-2000:].decode(errors="replace").strip() or "nothing"
            raise MovieError(
                f"Could not write the movie {path}: ffmpeg ended with code {code} and said:\n"
                f"{said}\n"
                "Check that the folder exists and has room; the frames themselves are safe."
            )
