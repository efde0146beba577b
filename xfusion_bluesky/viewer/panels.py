"""One frame as a panel: grey window, common size, pixels that are not known, lettering."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Array = NDArray[np.floating] | NDArray[np.integer]

INK = (32, 36, 42)
FAINT = (110, 116, 124)
PAPER = (255, 255, 255)
_UNKNOWN_DARK = (92, 62, 128)
_UNKNOWN_LIGHT = (150, 116, 190)
_STRIPE_PX = 6


def grey_window(frames: Iterable[Array]) -> tuple[float, float]:
    """Return the values that are shown black and white: percentiles 0.35 and 99.65.

    Parameters
    ----------
    frames : iterable of array
        Frames of any shape, in one unit. Values that are not finite do not count.

    Returns
    -------
    black, white : float
        ``white > black`` always; (0, 1) when there is no finite value at all.
    """
    finite = [frame[np.isfinite(frame)] for frame in frames]
    values = np.concatenate(finite) if finite else np.empty(0)
    if values.size == 0:
        return 0.0, 1.0
    black, white = (float(v) for v in np.percentile(values, (0.35, 99.65)))
    return (black, white) if white > black else (black, black + 1.0)


def panel(
    frame: Array | None, window: tuple[float, float], size: tuple[int, int], *, blocks: bool = False
) -> Image.Image:
    """Draw one frame.

    Pixels that are not finite are shown as violet stripes, so that nobody takes a hole for a dark
    or bright sample; so is a frame that is not there.

    Parameters
    ----------
    frame : (h, w) array or None
        Any real type.
    window : (float, float)
        Values shown black and white; what lies outside is clipped.
    size : (int, int)
        Width and height of the panel in px.
    blocks : bool
        Show the pixels as squares instead of interpolating; meant for LR frames.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    if frame is None:
        return _stripes(size)
    black, white = window
    known = np.isfinite(frame)
    level = np.clip((np.nan_to_num(frame) - black) / (white - black), 0.0, 1.0)
    grey = _fitted(Image.fromarray(np.rint(255.0 * level).astype(np.uint8)), size, blocks)
    image = grey.convert("RGB")
    if not known.all():
        mask = Image.fromarray(np.where(known, 0, 255).astype(np.uint8))
        image.paste(_stripes(size), mask=mask.resize(size, Image.Resampling.NEAREST))
    return image


def _fitted(image: Image.Image, size: tuple[int, int], blocks: bool) -> Image.Image:
    if blocks:
        # Whole multiples first: all squares get one size, whatever the panel's.
        factor = -(-size[0] // image.width)
        image = image.resize(
            (factor * image.width, factor * image.height), Image.Resampling.NEAREST
        )
        return image.resize(size, Image.Resampling.BOX)
    shrinks = size[0] < image.width
    return image.resize(size, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)


@lru_cache(maxsize=4)
def _stripes(size: tuple[int, int]) -> Image.Image:
    width, height = size
    across = np.add.outer(np.arange(height), np.arange(width)) // _STRIPE_PX % 2
    return Image.fromarray(np.array([_UNKNOWN_DARK, _UNKNOWN_LIGHT], np.uint8)[across])


@lru_cache(maxsize=8)
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own scalable font. It knows Latin-1 letters but no micro or minus sign."""
    return ImageFont.load_default(size_px)


def text_width_px(text: str, size_px: int) -> float:
    """Return the width of a line of text."""
    return font(size_px).getlength(text)


def write(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size_px: int,
    *,
    width_px: float | None = None,
    anchor: str = "ls",
    fill: tuple[int, int, int] = INK,
) -> None:
    """Write a line of text, smaller or cut short where `width_px` would be exceeded.

    Parameters
    ----------
    draw : PIL.ImageDraw.ImageDraw
    position : (float, float)
        x, y of the anchor in px.
    text : str
    size_px : int
        Height of the letters.
    width_px : float, optional
        Room there is.
    anchor : str
        Pillow's text anchor; "ls" is left, on the base line.
    fill : (int, int, int)
        Colour.
    """
    if width_px is not None:
        smallest = max(9, round(0.7 * size_px))
        while size_px > smallest and text_width_px(text, size_px) > width_px:
            size_px -= 1
        if text_width_px(text, size_px) > width_px:
            while len(text) > 1 and text_width_px(text + "...", size_px) > width_px:
                text = text[:-1]
            text += "..."
    draw.text(position, text, fill=fill, font=font(size_px), anchor=anchor)
