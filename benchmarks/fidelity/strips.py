"""Picture strip: what the LR camera saw, the truth, and what each backend made of it."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import BoolArray
from xfusion_bluesky.fusion.metrics import psnr

matplotlib.use("Agg")

from matplotlib import pyplot as plt

Image = npt.NDArray[np.float32]

_ERROR_RANGE = 0.2
_COLUMN_AREA_IN2 = 9.0
_WIDTH_IN = 16.0
_DPI = 100


def strip(
    path: Path,
    title: str,
    lr: Image,
    truth: Image,
    moving: BoolArray,
    fused: dict[str, Image],
) -> None:
    """Draw LR frame and truth, then each backend's image above its signed error.

    Parameters
    ----------
    path : Path
        Picture to write.
    title : str
        Video, frame and conditions.
    lr : (h, w)
        LR frame.
    truth : (H, W)
        Truth; grey from 0 to 1.
    moving : (H, W) bool
        Moving region, whose edge is drawn on the truth.
    fused : dict
        Image of each backend.
    """
    ratio = truth.shape[0] / truth.shape[1]
    wide_in = math.sqrt(_COLUMN_AREA_IN2 / ratio)
    columns = max(1, min(len(fused) + 1, int(_WIDTH_IN // wide_in)))
    rows = math.ceil((len(fused) + 1) / columns)
    figure, panels = plt.subplots(
        2 * rows,
        columns,
        figsize=(columns * wide_in + 0.8, 2 * rows * (wide_in * ratio + 0.35) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for panel in panels.flat:
        panel.set_axis_off()
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    panels[0][0].imshow(lr, **grey)
    panels[0][0].set_title("LR frame", fontsize=9)
    panels[1][0].imshow(truth, **grey)
    panels[1][0].set_title("truth, moving region outlined", fontsize=9)
    if moving.any() and not moving.all():
        panels[1][0].contour(moving, levels=[0.5], colors="tab:orange", linewidths=0.6)
    for place, (name, image) in enumerate(fused.items(), start=1):
        top, column = 2 * (place // columns), place % columns
        panels[top][column].imshow(image, **grey)
        scores = f"{psnr(image, truth):.2f} dB"
        if moving.any():
            scores += f", moving {psnr(image, truth, region=moving):.2f} dB"
        panels[top][column].set_title(f"{name}\n{scores}", fontsize=9)
        error = panels[top + 1][column].imshow(
            image - truth,
            cmap="RdBu",
            vmin=-_ERROR_RANGE,
            vmax=_ERROR_RANGE,
            interpolation="nearest",
        )
    bar = figure.colorbar(error, ax=panels, shrink=0.4, aspect=30)
    bar.set_label("error, of the range", fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
