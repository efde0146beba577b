"""Axes, curves, bands and badges on a Pillow picture, for reports that are drawn, not plotted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from .panels import FAINT, INK, PAPER, text_width_px, write

__all__ = ["AMBER", "BLUE", "GREEN", "GRID", "ORANGE", "RED", "Axes", "Page", "nice_ticks"]

Colour = tuple[int, int, int]
BLUE: Colour = (38, 98, 168)
ORANGE: Colour = (222, 122, 28)
GREEN: Colour = (44, 140, 86)
AMBER: Colour = (214, 150, 0)
RED: Colour = (200, 48, 48)
GRID: Colour = (224, 227, 231)
# Drawn twice as large and reduced: Pillow's own lines have steps.
_FINE = 2


class Page:
    """A white page on which everything is placed in px of the finished picture."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px = width_px
        self._image = Image.new("RGB", (_FINE * width_px, _FINE * height_px), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(
        self,
        position: tuple[float, float],
        text: str,
        size_px: int,
        *,
        anchor: str = "ls",
        fill: Colour = INK,
        width_px: float | None = None,
    ) -> None:
        """Write a line; smaller or cut short where it would exceed `width_px`."""
        room = None if width_px is None else _FINE * width_px
        x, y = position
        write(
            self._draw,
            (_FINE * x, _FINE * y),
            text,
            _FINE * size_px,
            width_px=room,
            anchor=anchor,
            fill=fill,
        )

    def box(
        self,
        corners: tuple[float, float, float, float],
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
    ) -> None:
        """Draw a rectangle: left, top, right, bottom."""
        left, top, right, bottom = (_FINE * each for each in corners)
        # Never thinner than a line: one frame of a long burst has to be seen.
        corner = (max(right, left + 1), max(bottom, top + 1))
        self._draw.rectangle(((left, top), corner), fill=fill, outline=outline, width=_FINE)

    def line(self, points: ArrayLike, colour: Colour, width_px: float = 1.5) -> None:
        """Draw a line through (x, y) points."""
        fine = [(float(x), float(y)) for x, y in _FINE * np.asarray(points, dtype=np.float64)]
        self._draw.line(fine, fill=colour, width=max(1, round(_FINE * width_px)), joint="curve")

    def dot(self, position: tuple[float, float], colour: Colour, radius_px: float = 2.5) -> None:
        """Draw a disc."""
        x, y = position
        self._draw.circle((_FINE * x, _FINE * y), _FINE * radius_px, fill=colour)

    def badge(self, position: tuple[float, float], text: str, colour: Colour, size_px: int) -> None:
        """Draw white letters on a coloured box whose left upper corner is given."""
        x, y = position
        width = text_width_px(text, size_px) + size_px
        self.box((x, y, x + width, y + 1.4 * size_px), fill=colour)
        self.text((x + width / 2, y + 0.72 * size_px), text, size_px, anchor="mm", fill=PAPER)

    def paste(self, image: Image.Image, position: tuple[float, float]) -> None:
        """Put a picture with its left upper corner at a position, in finished px."""
        size = (_FINE * image.width, _FINE * image.height)
        x, y = position
        self._image.paste(
            image.resize(size, Image.Resampling.NEAREST), (round(_FINE * x), round(_FINE * y))
        )

    def finished(self) -> Image.Image:
        """Return the page as an RGB picture."""
        width, height = self._image.size
        return self._image.resize((width // _FINE, height // _FINE), Image.Resampling.BOX)

    def save(self, path: Path) -> None:
        """Write the page as PNG; the file appears only when it is complete.

        Parameters
        ----------
        path : Path
            Name of the picture; its folder is made when missing.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.part")
        try:
            self.finished().save(draft, format="PNG")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Axes:
    """A region of a page with a scale in each direction.

    Parameters
    ----------
    page : Page
    corners : (float, float, float, float)
        Left, top, right, bottom on the page, px.
    x_range, y_range : (float, float)
        Values at the left and right, and at the bottom and top.
    """

    page: Page
    corners: tuple[float, float, float, float]
    x_range: tuple[float, float]
    y_range: tuple[float, float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        """Return where a value lies on the page, within the axes."""
        left, _, right, _ = self.corners
        low, high = self.x_range
        part = min(max((value - low) / (high - low), 0.0), 1.0)
        return left + part * (right - left)

    def y(self, value: float) -> float:
        """Return where a value lies on the page, within the axes."""
        _, top, _, bottom = self.corners
        low, high = self.y_range
        part = min(max((value - low) / (high - low), 0.0), 1.0)
        return bottom - part * (bottom - top)

    def frame(self, x_label: str = "", y_label: str = "", size_px: int = 15) -> None:
        """Draw the grid with its numbers, the frame, and the labels of the axes."""
        left, top, right, bottom = self.corners
        for value in nice_ticks(*self.x_range, (right - left) / (6 * size_px)):
            at = self.x(value)
            self.page.line([(at, top), (at, bottom)], GRID, 1)
            self.page.text((at, bottom + 5), f"{value:g}", size_px, anchor="mt", fill=FAINT)
        for value in nice_ticks(*self.y_range, (bottom - top) / (3 * size_px)):
            at = self.y(value)
            self.page.line([(left, at), (right, at)], GRID, 1)
            self.page.text((left - 6, at), f"{value:g}", size_px, anchor="rm", fill=FAINT)
        self.page.box(self.corners, outline=FAINT)
        self.page.text((right, bottom + 2.6 * size_px), x_label, size_px, anchor="rs", fill=FAINT)
        self.page.text((left, top - 6), y_label, size_px, fill=FAINT)

    def curve(self, x: ArrayLike, y: ArrayLike, colour: Colour, width_px: float = 1.5) -> None:
        """Draw a line through the points that are finite."""
        points = [
            (self.x(float(a)), self.y(float(b)))
            for a, b in zip(np.asarray(x), np.asarray(y), strict=True)
            if math.isfinite(a) and math.isfinite(b)
        ]
        if len(points) > 1:
            self.page.line(points, colour, width_px)

    def dots(self, x: ArrayLike, y: ArrayLike, colour: Colour, radius_px: float = 2.5) -> None:
        """Draw a disc at each point that is finite."""
        for a, b in zip(np.asarray(x), np.asarray(y), strict=True):
            if math.isfinite(a) and math.isfinite(b):
                self.page.dot((self.x(float(a)), self.y(float(b))), colour, radius_px)


def nice_ticks(low: float, high: float, about: float) -> list[float]:
    """Return round numbers from `low` to `high`, about as many as wanted."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return []
    raw = span / max(about, 1.0)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * number, 12) for number in range(first, last + 1)]


def wrapped(text: str, size_px: int, width_px: float) -> Sequence[str]:
    """Break a text into lines that fit into a width."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width_px(longer, size_px) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
