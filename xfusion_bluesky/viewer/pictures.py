"""Strips: what both cameras saw and what was made of it, one row a moment, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from xfusion_bluesky.viewer.panels import (
    FAINT,
    PAPER,
    Array,
    grey_window,
    panel,
    text_width_px,
    write,
)

ERROR_GAIN = 4.0
WIDTH_PX = 1800
_MARGIN = 24
_GAP = 12
_TEXT = 20
_TITLE = 26
_WIDE = 2.5
_LARGEST_ZOOM = 4.0


@dataclass(frozen=True)
class Fused:
    """What one backend made of one moment."""

    backend: str
    """Id of the backend."""
    image: Array
    """(H, W), in the unit of the other frames; NaN where it has no answer."""
    psnr_db: float | None = None
    """PSNR against the truth in dB, where there is a truth."""


@dataclass(frozen=True)
class StripRow:
    """All frames of one moment, in one unit of intensity."""

    time_ns: float
    """Time of the LR frame."""
    lr: Array
    """(h, w) LR frame."""
    hr: Array | None
    """(H, W) nearest HR frame on the fused grid, None when there is none."""
    hr_offset_us: float
    """Time of that HR frame less that of the LR frame, in microseconds."""
    fused: tuple[Fused, ...]
    """One or more reconstructions; the error is shown for the last."""
    truth: Array | None = None
    """(H, W) what a perfect instrument would have seen, where it is known."""


@dataclass(frozen=True)
class Cell:
    """A panel of a row with what is written above it."""

    title: str
    caption: str
    image: Image.Image


def cells(row: StripRow, window: tuple[float, float], size: tuple[int, int]) -> list[Cell]:
    """Draw the panels of one row: LR, nearest HR, fused, and truth and error where known.

    Parameters
    ----------
    row : StripRow
    window : (float, float)
        Values shown black and white.
    size : (int, int)
        Width and height of each panel in px.
    """
    offset = "no frame" if row.hr is None else f"dt {row.hr_offset_us:+.2f} us"
    drawn = [
        Cell("LR camera", _frame_size(row.lr), panel(row.lr, window, size, blocks=True)),
        Cell("nearest HR", offset, panel(row.hr, window, size)),
    ]
    for fused in row.fused:
        psnr = "" if fused.psnr_db is None else f"PSNR {fused.psnr_db:.2f} dB"
        drawn.append(Cell(fused.backend, psnr, panel(fused.image, window, size)))
    if row.truth is not None:
        drawn.append(Cell("truth", "", panel(row.truth, window, size)))
        error = np.abs(row.fused[-1].image.astype(float) - row.truth)
        span = (window[1] - window[0]) / ERROR_GAIN
        title = f"|error| x {ERROR_GAIN:g}"
        drawn.append(Cell(title, row.fused[-1].backend, panel(error, (0.0, span), size)))
    return drawn


def strip(rows: Sequence[StripRow], *, title: str = "", width_px: int = WIDTH_PX) -> Image.Image:
    """Draw a strip.

    All panels share one grey window, percentiles 0.35 and 99.65 of the HR frames (of the LR
    frames when there is no HR frame), and one scale.

    Parameters
    ----------
    rows : sequence of StripRow
        At least one. All rows have the same backends, and all or none a truth.
    title : str
        Written above.
    width_px : int
        Largest width of the picture.

    Returns
    -------
    PIL.Image.Image
        RGB picture.

    Raises
    ------
    ValueError
        There are no rows, or they do not have the same columns.
    """
    columns = {(tuple(f.backend for f in r.fused), r.truth is None) for r in rows}
    if len(columns) != 1 or not rows[0].fused:
        raise ValueError(
            "A strip needs rows which all have the same backends, at least one, and all or none a "
            f"truth; got {len(rows)} rows with {len(columns)} sets of columns."
        )
    window = grey_window([r.hr for r in rows if r.hr is not None] or [r.lr for r in rows])
    times = [f"{row.time_ns / 1000:.2f} us" for row in rows]
    gutter = round(max(text_width_px(text, _TEXT) for text in times)) + _MARGIN
    count = 2 + len(rows[0].fused) + (0 if rows[0].truth is None else 2)
    height, width = rows[0].fused[0].image.shape
    # Four or more wide frames beside each other would be slits.
    across = -(-count // 2) if count > 3 and width > _WIDE * height else count
    room = (width_px - 2 * _MARGIN - gutter - (across - 1) * _GAP) / across
    zoom = min(room / width, _LARGEST_ZOOM)
    size = (max(1, int(zoom * width)), max(1, int(zoom * height)))

    head = _MARGIN + (_TITLE + _MARGIN if title else 0)
    line = _TEXT + _GAP + size[1]
    row_px = -(-count // across) * line + _MARGIN
    picture_width = 2 * _MARGIN + gutter + across * (size[0] + _GAP) - _GAP
    picture = Image.new("RGB", (picture_width, head + len(rows) * row_px), PAPER)
    draw = ImageDraw.Draw(picture)
    if title:
        room_px = picture_width - 2 * _MARGIN
        write(draw, (_MARGIN, _MARGIN + _TITLE - 4), title, _TITLE, width_px=room_px)
    for i, (row, time) in enumerate(zip(rows, times, strict=True)):
        top = head + i * row_px
        middle = top + _TEXT + (row_px - _MARGIN - _TEXT) / 2
        write(draw, (_MARGIN, middle), time, _TEXT, anchor="lm")
        for k, cell in enumerate(cells(row, window, size)):
            x = _MARGIN + gutter + k % across * (size[0] + _GAP)
            y = top + k // across * line + _TEXT
            label(draw, (x, y - 5), cell, size[0], _TEXT)
            picture.paste(cell.image, (x, y))
    return picture


def label(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], cell: Cell, width_px: int, size_px: int
) -> None:
    """Write title (left) and caption (right) of a panel on one line.

    Parameters
    ----------
    draw : PIL.ImageDraw.ImageDraw
    place : (float, float)
        x, y of the left end of the base line.
    cell : Cell
    width_px : int
        Width of the panel.
    size_px : int
        Height of the letters of the title.
    """
    small = round(0.8 * size_px)
    taken = min(text_width_px(cell.caption, small) + size_px / 2, 0.6 * width_px)
    write(draw, place, cell.title, size_px, width_px=width_px - taken)
    end = (place[0] + width_px, place[1])
    write(draw, end, cell.caption, small, width_px=taken, anchor="rs", fill=FAINT)


def save_strip(
    path: Path, rows: Sequence[StripRow], *, title: str = "", width_px: int = WIDTH_PX
) -> None:
    """Draw a strip and write it as PNG.

    Parameters
    ----------
    path : Path
        Name of the picture; its folder exists. The file appears only when it is complete.
    rows, title, width_px
        As in `strip`.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        strip(rows, title=title, width_px=width_px).save(draft, format="PNG", optimize=True)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _frame_size(frame: Array) -> str:
    height, width = frame.shape
    return f"{width} x {height} px"
