"""Tables over the scores: means, spreads, and how sure a difference is."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from grid import Conditions, distance_order, noise_order
from records import Record

BASELINES = ("bicubic", "linear", "linear-bp")
"""What every other backend is compared with: the best of them in each cell."""

CONTROLS = (*BASELINES, "hold")

_USUAL_ORDER = (*BASELINES, "hold", "bayesian-paper", "bayesian-strong", "flow-bp", "experts")
_RESAMPLES = 2000
_BLOCKS = 8

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One backend in one cell; PSNR in dB. Frames at the time of an HR frame are left out."""

    video: str
    distance: str
    separation: int
    lr_psnr: str
    backend: str
    frames: int
    psnr_mean: float
    psnr_median: float
    psnr_q25: float
    psnr_q75: float
    psnr_of_mean_mse: float
    moving_mean: float
    moving_median: float
    moving_share: float
    ssim_mean: float
    aad_mean: float
    flicker_mean: float
    chi2_median: float
    detail_median: float
    elapsed_ms_mean: float
    elapsed_ms_median: float
    coincident_frames: int
    coincident_psnr_median: float

    @property
    def conditions(self) -> Conditions:
        """Of the cell."""
        return Conditions(self.distance, self.separation, self.lr_psnr)


@dataclass(frozen=True)
class Comparison:
    """A backend against the best baseline of a cell, in dB, with a 95 % interval."""

    video: str
    distance: str
    separation: int
    lr_psnr: str
    backend: str
    region: str
    """"full" or "moving"."""
    best_baseline: str
    baseline_psnr: float
    gain: float
    """Mean over frames, of PSNR in the region, less that of the baseline."""
    low: float
    high: float


def cells(records: Iterable[Record]) -> dict[tuple[str, Conditions, str], list[Record]]:
    """Return the records by (video, conditions, backend with its parameters)."""
    grouped: dict[tuple[str, Conditions, str], list[Record]] = {}
    for record in records:
        name = f"{record.backend} {record.parameters}".strip()
        grouped.setdefault((record.video, record.conditions, name), []).append(record)
    return grouped


def rows(records: Iterable[Record]) -> list[Row]:
    """Return one line for each backend and cell."""
    found = []
    for (video, conditions, backend), of_cell in cells(records).items():
        between = [record for record in of_cell if not record.coincident]
        copies = [record.psnr_db for record in of_cell if record.coincident]
        if not between:
            continue
        psnr = _column(between, lambda r: r.psnr_db)
        moving = _column(between, lambda r: r.psnr_moving_db)
        elapsed = _column(of_cell, lambda r: r.elapsed_ms)
        found.append(
            Row(
                video,
                **asdict(conditions),
                backend=backend,
                frames=len(between),
                psnr_mean=_mean(psnr),
                psnr_median=_quantile(psnr, 0.5),
                psnr_q25=_quantile(psnr, 0.25),
                psnr_q75=_quantile(psnr, 0.75),
                psnr_of_mean_mse=-10 * math.log10(max(_mean(10 ** (-psnr / 10)), 1e-30)),
                moving_mean=_mean(moving),
                moving_median=_quantile(moving, 0.5),
                moving_share=_mean(_column(between, lambda r: r.moving_share)),
                ssim_mean=_mean(_column(between, lambda r: r.ssim)),
                aad_mean=_mean(_column(between, lambda r: r.aad)),
                flicker_mean=_mean(_column(of_cell, lambda r: r.flicker)),
                chi2_median=_quantile(_column(between, lambda r: r.chi2), 0.5),
                detail_median=_quantile(_column(between, lambda r: r.detail), 0.5),
                elapsed_ms_mean=_mean(elapsed),
                elapsed_ms_median=_quantile(elapsed, 0.5),
                coincident_frames=len(copies),
                coincident_psnr_median=_quantile(np.array(copies), 0.5),
            )
        )
    return found


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """Compare each backend that is no baseline with the best baseline of its cell."""
    grouped = cells(records)
    found = []
    for (video, conditions, backend), of_cell in grouped.items():
        if backend in CONTROLS:
            continue
        for region in ("full", "moving"):
            mine = _by_frame(of_cell, region)
            best = max(
                (
                    (_mean(np.array(list(scores.values()))), name)
                    for name in BASELINES
                    if (scores := _by_frame(grouped.get((video, conditions, name), []), region))
                ),
                default=None,
            )
            if best is None or not mine:
                continue
            theirs = _by_frame(grouped[video, conditions, best[1]], region)
            common = sorted(set(mine) & set(theirs))
            if not common:
                continue
            intervals = {record.frame: record.interval for record in of_cell}
            gains = np.array([mine[frame] - theirs[frame] for frame in common])
            low, high = bootstrap_interval(gains, [intervals[frame] for frame in common])
            found.append(
                Comparison(
                    video,
                    **asdict(conditions),
                    backend=backend,
                    region=region,
                    best_baseline=best[1],
                    baseline_psnr=best[0],
                    gain=_mean(gains),
                    low=low,
                    high=high,
                )
            )
    return found


def bootstrap_interval(differences: Values, intervals: Sequence[int]) -> tuple[float, float]:
    """Return the 95 % interval of a mean of paired differences, by block bootstrap.

    Frames between the same two HR frames err together: whole HR intervals are drawn, with
    replacement. With fewer than 8 of them, each is cut into runs of neighbouring frames so that
    there are about 8 blocks; such an interval is too narrow rather than too wide.

    Parameters
    ----------
    differences : (n,) float64
        In the order of the frames.
    intervals : sequence of int
        HR interval of each.
    """
    _, labels = np.unique(np.asarray(intervals), return_inverse=True)
    blocks = [differences[labels == label] for label in range(labels.max() + 1)]
    if len(blocks) < _BLOCKS:
        pieces = math.ceil(_BLOCKS / len(blocks))
        blocks = [
            piece for block in blocks for piece in np.array_split(block, pieces) if piece.size
        ]
    sums = np.array([block.sum() for block in blocks])
    sizes = np.array([block.size for block in blocks])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(blocks), (_RESAMPLES, len(blocks)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def write_csv(path: Path, found: Sequence[Row] | Sequence[Comparison], kind: type) -> None:
    """Write rows or comparisons as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f.name for f in fields(kind)]
        writer.writerow(names)
        for each in found:
            writer.writerow([_text(getattr(each, name), "{:.4f}") for name in names])


def markdown(found: Sequence[Row], compared: Sequence[Comparison]) -> str:
    """Return the tables people read: scores of every cell, and the worst case of each backend."""
    videos = list(dict.fromkeys(row.video for row in found))
    backends = sorted({row.backend for row in found}, key=order)
    lines = [
        "# Fidelity",
        "",
        "Mean PSNR in dB over the targets between two HR frames, full frame / moving region; the "
        "best of a row is bold. `scores.csv` holds medians, quartiles, SSIM, AAD, flicker and "
        "times.",
    ]
    for video in videos:
        by_cell: dict[Conditions, dict[str, Row]] = {}
        for row in found:
            if row.video == video:
                by_cell.setdefault(row.conditions, {})[row.backend] = row
        lines += ["", f"## {video}", "", "| conditions | targets | " + " | ".join(backends) + " |"]
        lines.append("|---" * (len(backends) + 2) + "|")
        for conditions, of_cell in sorted(by_cell.items(), key=_cell_order):
            lines.append(_score_line(conditions, of_cell, backends))
    lines += ["", "## Against the best of " + ", ".join(BASELINES), ""]
    lines += ["Gain in dB; the interval is the 95 % block bootstrap of that cell.", ""]
    lines += ["| video | backend | region | mean gain | worst cell | gain there | interval |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += _worst_lines(compared)
    return "\n".join(lines) + "\n"


def _score_line(conditions: Conditions, of_cell: dict[str, Row], backends: list[str]) -> str:
    best = (
        max((row.psnr_mean for row in of_cell.values()), default=math.nan),
        max((row.moving_mean for row in of_cell.values()), default=math.nan),
    )
    parts = []
    for name in backends:
        row = of_cell.get(name)
        if row is None:
            parts.append("")
            continue
        values = (row.psnr_mean, row.moving_mean)
        texts = [_text(value, "{:.2f}") or "-" for value in values]
        bold = [
            f"**{text}**" if value == top else text
            for text, value, top in zip(texts, values, best, strict=True)
        ]
        parts.append(" / ".join(bold))
    count = max(row.frames for row in of_cell.values())
    return f"| {conditions.label} | {count} | " + " | ".join(parts) + " |"


def _worst_lines(compared: Sequence[Comparison]) -> list[str]:
    grouped: dict[tuple[str, str, str], list[Comparison]] = {}
    for each in compared:
        grouped.setdefault((each.video, each.backend, each.region), []).append(each)
    lines = []
    for (video, backend, region), of_backend in grouped.items():
        worst = min(of_backend, key=lambda each: each.gain)
        where = Conditions(worst.distance, worst.separation, worst.lr_psnr).label
        mean = float(np.mean([each.gain for each in of_backend]))
        lines.append(
            f"| {video} | {backend} | {region} | {mean:+.2f} | {where} ({worst.best_baseline}) | "
            f"{worst.gain:+.2f} | {worst.low:+.2f} to {worst.high:+.2f} |"
        )
    return lines


def _by_frame(records: Sequence[Record], region: str) -> dict[int, float]:
    pairs = (
        (record.frame, record.psnr_db if region == "full" else record.psnr_moving_db)
        for record in records
        if not record.coincident
    )
    return {frame: score for frame, score in pairs if math.isfinite(score)}


def _column(records: Sequence[Record], value: Callable[[Record], float]) -> Values:
    return np.array([value(record) for record in records], dtype=np.float64)


def _mean(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _quantile(values: Values, q: float) -> float:
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan
    return float(np.quantile(known, q, method="nearest"))  # copies have an infinite PSNR


def order(backend: str) -> tuple[int, str]:
    """Sort key of backends: baselines first."""
    return (_USUAL_ORDER.index(backend) if backend in _USUAL_ORDER else len(_USUAL_ORDER), backend)


def _cell_order(item: tuple[Conditions, object]) -> tuple[object, ...]:
    conditions = item[0]
    return (
        distance_order(conditions.distance),
        conditions.separation,
        noise_order(conditions.lr_psnr),
    )


def _text(value: object, pattern: str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else pattern.format(value)
    return str(value)
