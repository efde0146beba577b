"""Figures over the scores: box plots, times, and scores over the number of clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from grid import Conditions, distance_order, noise_order
from records import Record
from summary import cells

matplotlib.use("Agg")

from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

_COLOURS = [colormaps["tab10"](k) for k in range(10)]
_DPI = 130


@dataclass(frozen=True)
class Metric:
    """What a box plot shows."""

    name: str
    label: str
    value: Callable[[Record], float]


PSNR = Metric("psnr", "PSNR / dB", lambda record: record.psnr_db)
MOVING = Metric("psnr_moving", "PSNR of the moving region / dB", lambda r: r.psnr_moving_db)
AAD = Metric("aad", "AAD / grey levels", lambda record: record.aad)
SSIM = Metric("ssim", "SSIM", lambda record: record.ssim)


def box_figure(
    path: Path,
    title: str,
    records: Sequence[Record],
    backends: Sequence[str],
    metric: Metric,
) -> None:
    """Draw boxes over LR noise: one panel for each HR distance (columns) and LR separation.

    Boxes span the quartiles, whiskers 1.5 of their distance, points are outliers. Frames at the
    time of an HR frame are left out.
    """
    grouped = cells(records)
    known = {conditions for _, conditions, _ in grouped}
    distances = sorted({c.distance for c in known}, key=distance_order)
    separations = sorted({c.separation for c in known})
    noises = sorted({c.lr_psnr for c in known}, key=noise_order)
    figure, panels = plt.subplots(
        len(separations),
        len(distances),
        figsize=(max(6.5, 3.6 * len(distances)), 0.8 + 2.6 * len(separations)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, separation in enumerate(separations):
        for column, distance in enumerate(distances):
            panel = panels[row][column]
            for index, backend in enumerate(backends):
                values = []
                for noise in noises:
                    conditions = Conditions(distance, separation, noise)
                    of_cell = [
                        record
                        for (_, at, name), found in grouped.items()
                        if at == conditions and name == backend
                        for record in found
                    ]
                    values.append(_finite(of_cell, metric))
                _boxes(panel, values, index, len(backends))
            panel.set_xticks(range(len(noises)), noises)
            panel.grid(axis="y", linewidth=0.4)
            if row == 0:
                panel.set_title(f"HR distance {distance}", fontsize=9)
            if row == len(separations) - 1:
                panel.set_xlabel("noise of the LR frames: their PSNR / dB", fontsize=8)
            if column == 0:
                panel.set_ylabel(f"{metric.label}\nLR separation {separation}", fontsize=8)
            panel.tick_params(labelsize=8)
    _legend(figure, backends)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def time_figure(path: Path, title: str, times_ms: dict[str, list[float]]) -> None:
    """Draw the time a frame takes: a bar at the mean (shared work included), quartiles on it."""
    names = sorted(times_ms, key=lambda name: float(np.mean(times_ms[name])))
    means = [float(np.mean(times_ms[name])) for name in names]
    figure, panel = plt.subplots(figsize=(6.5, 0.9 + 0.42 * len(names)), layout="constrained")
    panel.barh(range(len(names)), means, color=_COLOURS[0])
    for place, name in enumerate(names):
        low, high = np.percentile(times_ms[name], (25, 75))
        panel.plot([low, high], [place, place], color="black", linewidth=2)
        panel.annotate(
            f" {means[place]:.3g} ms", (max(means[place], high), place), va="center", fontsize=8
        )
    panel.set_yticks(range(len(names)), names)
    panel.set_xscale("log")
    panel.margins(x=0.2)
    panel.set_xlabel("time for a frame / ms: mean (bar) and quartiles (line)")
    panel.set_title(title, fontsize=10)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def cluster_figure(
    path: Path, title: str, records: Sequence[Record], number_of: Callable[[Record], int]
) -> None:
    """Draw PSNR and time over the number of clusters, one line for each video."""
    figure, (scores, times) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    for index, video in enumerate(dict.fromkeys(record.video for record in records)):
        by_number: dict[int, list[Record]] = {}
        for record in records:
            if record.video == video and not record.coincident:
                by_number.setdefault(number_of(record), []).append(record)
        numbers = sorted(by_number)
        label = f"{video}: {by_number[numbers[0]][0].conditions.label}"
        for panel, value in ((scores, PSNR.value), (times, lambda record: record.elapsed_ms)):
            columns = [np.array([value(record) for record in by_number[n]]) for n in numbers]
            low, middle, high = np.array(
                [np.percentile(c[np.isfinite(c)], (25, 50, 75)) for c in columns]
            ).T
            colour = _COLOURS[index % len(_COLOURS)]
            panel.plot(numbers, middle, "o-", color=colour, label=label)
            panel.fill_between(numbers, low, high, color=colour, alpha=0.2, linewidth=0)
    for panel, label in ((scores, PSNR.label), (times, "time for a frame / ms")):
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted({number_of(record) for record in records}))
        panel.xaxis.set_major_formatter("{x:.0f}")
        panel.set_xlabel("clusters")
        panel.set_ylabel(label)
        panel.grid(linewidth=0.4)
    handles, labels = scores.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _boxes(panel: Axes, values: list[list[float]], index: int, count: int) -> None:
    width = 0.8 / count
    places = [k - 0.4 + width * (index + 0.5) for k in range(len(values))]
    known = [(v, place) for v, place in zip(values, places, strict=True) if v]
    if not known:
        return
    colour = _COLOURS[index % len(_COLOURS)]
    panel.boxplot(
        [v for v, _ in known],
        positions=[place for _, place in known],
        widths=0.85 * width,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "linewidth": 0.5},
        medianprops={"color": "black", "linewidth": 0.8},
        whiskerprops={"linewidth": 0.5},
        capprops={"linewidth": 0.5},
        flierprops={"marker": ".", "markersize": 1.5, "markeredgecolor": colour},
    )


def _legend(figure: Figure, backends: Sequence[str]) -> None:
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=_COLOURS[k % len(_COLOURS)]) for k in range(len(backends))
    ]
    figure.legend(
        handles, backends, loc="outside lower center", ncols=min(len(backends), 4), fontsize=8
    )


def _finite(records: Sequence[Record], metric: Metric) -> list[float]:
    values = [metric.value(record) for record in records if not record.coincident]
    return [value for value in values if np.isfinite(value)]
