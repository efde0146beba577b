"""The report of a calibration as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..calibration.record import CalibrationRecord
from .calibration_numbers import calibration_numbers
from .calibration_panels import (
    Corners,
    draw_cost,
    draw_lattice,
    draw_overlay,
    draw_residuals,
    draw_trace,
)
from .panels import FAINT, text_width_px
from .plots import GRID, Page, wrapped

if TYPE_CHECKING:
    from ..calibration.spatial import SpatialEvidence
    from ..calibration.time_fit import TimeFit

__all__ = ["save_report"]

WIDTH_PX = 1800
_MARGIN = 28
_GAP = 40
_PANEL = (WIDTH_PX - 2 * _MARGIN - 2 * _GAP) / 3
_HEIGHT = 360
_TITLE = 20
_TEXT = 18
_LINE = 26


def save_report(
    record: CalibrationRecord,
    spatial: SpatialEvidence | None,
    temporal: TimeFit | None,
    file: Path,
) -> None:
    """Draw what a calibration found and what it rests on.

    Parameters
    ----------
    record : CalibrationRecord
        The numbers.
    spatial : SpatialEvidence or None
        Nodes, images and lattice scores; None = they were not kept.
    temporal : TimeFit or None
        Cost curve and traces; None = there are none.
    file : Path
        PNG file; its folder is made when missing.
    """
    numbers = calibration_numbers(record)
    remarks = [
        line for text in record.remarks for line in wrapped(text, _TEXT, WIDTH_PX - 2 * _MARGIN)
    ]
    first, second = 110, 110 + _HEIGHT + 100
    third = second + _HEIGHT + 90
    height = third + _LINE * (max(map(len, numbers.values())) + len(remarks) + 2) + _MARGIN
    page = Page(WIDTH_PX, height)
    page.text((_MARGIN, 48), "Calibration of the pair of cameras", 28)
    made = f"made {record.made_utc:%Y-%m-%d %H:%M} UTC, good for {record.valid_hours:g} h"
    page.text((_MARGIN, 74), made, _TEXT, fill=FAINT)

    found = record.spatial
    colours = "HR orange, LR blue, equal grey"
    places = [_place(column, first) for column in range(3)]
    if spatial is None:
        for place, title in zip(places, ("before", "after", "residuals"), strict=True):
            _missing(page, place, title, "what it rests on was not kept")
    else:
        _title(page, places[0], "before: nominal map", colours)
        draw_overlay(page, places[0], spatial, spatial.initial_lr_to_hr)
        _title(page, places[1], "after: calibrated map", colours)
        draw_overlay(page, places[1], spatial, found.affine, found.radial_per_px2)
        _title(page, places[2], "residuals of the nodes", "red: left out of the fit")
        draw_residuals(page, places[2], spatial, found)

    places = [_place(column, second) for column in range(3)]
    if spatial is None:
        _missing(page, places[0], "lattice check", "what it rests on was not kept")
    else:
        _title(page, places[0], f"lattice shift, by {found.lattice.method}", "darker is better")
        draw_lattice(page, places[0], spatial.lattice_scores, found)
    if temporal is None or record.temporal is None:
        why = "not measured" if record.temporal is None else "what it rests on was not kept"
        _missing(page, places[1], "time offset", why)
        _missing(page, places[2], "traces", why)
    else:
        left, top, right, bottom = places[1]
        _title(page, places[1], "time offset", "green: chosen, with its error")
        draw_cost(page, (left + 60, top + 24, right, bottom - 24), temporal, record.temporal)
        left, top, right, bottom = places[2]
        _title(page, places[2], "traces", "")
        draw_trace(page, (left + 60, top + 24, right, bottom - 24), temporal)

    for column, (topic, lines) in enumerate(numbers.items()):
        left, top, right, _ = _place(column, third)
        page.text((left, top), topic, _TITLE)
        page.line([(left, top + 8), (right, top + 8)], GRID, 1.5)
        for number, (name, value) in enumerate(lines, 1):
            page.text((left, top + 8 + number * _LINE), name, _TEXT, fill=FAINT)
            page.text((left + 170, top + 8 + number * _LINE), value, _TEXT, width_px=_PANEL - 170)
    bottom = height - _MARGIN - _LINE * len(remarks)
    for number, text in enumerate(remarks):
        page.text((_MARGIN, bottom + number * _LINE), text, _TEXT)
    page.save(file)


def _place(column: int, top: float) -> Corners:
    left = _MARGIN + column * (_PANEL + _GAP)
    return left, top + 14, left + _PANEL, top + 14 + _HEIGHT


def _title(page: Page, place: Corners, title: str, text: str) -> None:
    left, top, right, _ = place
    page.text((left, top - 12), title, _TITLE)
    room = right - left - text_width_px(title, _TITLE) - 12
    page.text((right, top - 12), text, 15, anchor="rs", fill=FAINT, width_px=room)


def _missing(page: Page, place: Corners, title: str, why: str) -> None:
    left, top, right, bottom = place
    _title(page, place, title, "")
    page.box(place, outline=GRID)
    page.text(((left + right) / 2, (top + bottom) / 2), why, _TEXT, anchor="mm", fill=FAINT)
