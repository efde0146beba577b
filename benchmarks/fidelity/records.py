"""Scores of single frames in one CSV file, to which finished cells are added."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from grid import Conditions


@dataclass(frozen=True)
class CellKey:
    """What makes two computations the same."""

    video: str
    fingerprint: str
    seed: int
    every: int
    backend: str
    version: str
    parameters: str
    distance: str
    separation: int
    lr_psnr: str

    @property
    def conditions(self) -> Conditions:
        """The virtual experiment."""
        return Conditions(self.distance, self.separation, self.lr_psnr)


@dataclass(frozen=True)
class Record(CellKey):
    """Scores of one fused frame; NaN where something is not known."""

    records: int
    """Frames in the cell: with fewer in the file it was not finished."""
    frame: int
    interval: int
    """Number of the HR interval that holds it; frames of one interval are not independent."""
    tau: float
    coincident: bool
    """True at the time of an input HR frame."""
    psnr_db: float
    psnr_moving_db: float
    moving_share: float
    ssim: float
    aad: float
    flicker: float
    psnr_xfusion_db: float
    ssim_xfusion: float
    chi2: float
    contradicted: float
    detail: float
    elapsed_ms: float

    @property
    def key(self) -> CellKey:
        """The cell it belongs to."""
        return CellKey(**{f.name: getattr(self, f.name) for f in fields(CellKey)})


class Table:
    """The CSV file of a benchmark.

    Parameters
    ----------
    path : Path
        It; made when the first cell is finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        found = list(_read(path)) if path.exists() else []
        counts: dict[CellKey, int] = {}
        for record in found:
            counts[record.key] = counts.get(record.key, 0) + 1
        self.finished = {r.key for r in found if counts[r.key] >= r.records}
        self.records = [record for record in found if record.key in self.finished]
        if len(self.records) < len(found):
            self._write(self.records, "w")

    def add(self, records: list[Record]) -> None:
        """Add a finished cell, on disk before it returns."""
        self._write(records, "a")
        self.records += records
        self.finished |= {record.key for record in records}

    def _write(self, records: Iterable[Record], mode: str) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(Record)], lineterminator="\n")
        if mode == "w" or not self.path.exists():
            writer.writeheader()
        for record in records:
            writer.writerow({name: _cell(value) for name, value in asdict(record).items()})
        with self.path.open(mode, encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path) -> Iterable[Record]:
    kinds = {f.name: f.type for f in fields(Record)}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(kinds):
            raise ValueError(
                f"{path} was not written by this version of the benchmark: choose another folder "
                f"with --out; the file is untouched"
            )
        for row in reader:
            if None in row.values() or None in row:
                continue  # the last line of a run that was killed
            yield Record(**{name: _value(kinds[name], text) for name, text in row.items()})


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return int(value) if isinstance(value, bool) else value


def _value(kind: Any, text: str) -> Any:
    if kind == "float":
        return float(text) if text else math.nan
    if kind == "bool":
        return text == "1"
    return int(text) if kind == "int" else text
