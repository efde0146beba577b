"""The picture of a preflight: read back from its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xfusion_bluesky.preflight.examination import examine
from xfusion_bluesky.preflight.pulses import Pulses
from xfusion_bluesky.preflight.timeline import BurstSettings, PhantomSettings, ShimadzuSettings
from xfusion_bluesky.viewer.plots import GREEN, ORANGE, RED, nice_ticks
from xfusion_bluesky.viewer.timeline import save_timeline


def _pixels(path, lr, hr, **known):
    settings = BurstSettings(ShimadzuSettings(**lr), PhantomSettings(**hr))
    save_timeline(examine(settings, **known), path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def _lane(pixels, number):
    """The middle line of a lane of the whole burst."""
    return pixels[118 + 62 * number + 31]


def _share(line, colour, others):
    own = np.all(line == colour, axis=-1).sum()
    return own / sum(np.all(line == each, axis=-1).sum() for each in (colour, *others))


def test_outputs_without_hr_frames_are_red(tmp_path):
    pixels = _pixels(
        tmp_path / "new" / "burst.png",
        {"interval_ns": 200, "exposure_ns": 200},
        {"exposure_ns": 200, "last": 2},
        decay_ns=70,
    )
    assert pixels.shape[1] == 1800
    assert _share(_lane(pixels, 2), GREEN, [RED]) == 1
    assert _share(_lane(pixels, 3), GREEN, [RED]) == pytest.approx(66 / 128, abs=0.01)


def test_frames_that_are_not_fetched_are_not_drawn_as_fetched(tmp_path):
    def fetched(last):
        pixels = _pixels(
            tmp_path / f"{last}" / "burst.png",
            {},
            {"period_ns": 20_000, "last": last},
            pulses=Pulses(153.4),
        )
        orange = np.all(_lane(pixels, 1) == ORANGE, axis=-1)
        return np.count_nonzero(np.diff(orange.astype(int)) == 1)

    assert (fetched(3), fetched(6)) == (4, 7)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-0.3, 0.3, [-0.2, 0, 0.2]), (5, 5, []), (0, np.inf, [])],
)
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high, 5 if high == 10 else 3) == ticks
