"""The line of a frame in the CSV file: XFusion's columns hold what XFusion writes there."""

from __future__ import annotations

import numpy as np
import pytest

from xfusion_bluesky.backends.contract import FusedFrame
from xfusion_bluesky.backends.runner import TimedFrame
from xfusion_bluesky.fusion.normalisation import UNIT
from xfusion_bluesky.fusion.quality import SequenceQuality
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.inference.frames import FramePass
from xfusion_bluesky.inference.scoring import COLUMNS, Scorer

SCORES = ("t-1 lo", "t lo", "t+1 lo", "t-1 hi", "t+1 hi")
SHARES = ("attention_before", "attention_after", "attention_neither")


@pytest.mark.parametrize(
    ("diagnostics", "expected"),
    [
        (
            {
                **{"score_lr-1": -1.5, "score_lr+0": 2.0, "score_lr+1": 0.25},
                **{"score_hr_before": 7.0, "score_hr_after": -8.0, "tiles": 2.0},
            },
            ["-1.5", "2.0", "0.25", "7.0", "-8.0"],
        ),
        ({"score_lr-1": 1.0, "score_lr+0": 2.0, "score_lr+1": 3.0}, ["1.0", "2.0", "3.0", "", ""]),
        ({"flow_px": 3.0}, [""] * 5),
    ],
    ids=["edvr-stf", "edvr", "another backend"],
)
def test_raw_scores_are_in_the_columns_of_xfusion_and_shares_in_their_own(
    diagnostics: dict[str, float], expected: list[str]
) -> None:
    generator = np.random.default_rng(0)
    sequence = DualSequence.from_arrays(
        generator.random((3, 4, 4)), generator.random((2, 16, 16)), range(3), [0.0, 2.0]
    )
    scorer = Scorer(sequence, FramePass((4, 5, 6), (4, 6), (5,)), SequenceQuality(sequence), UNIT)
    image = generator.random((16, 16), np.float32)
    frame = FusedFrame(1, image, attention=(0.5, 0.25, 0.25), diagnostics=diagnostics)

    score = scorer.score(TimedFrame(frame, 1.0), None, given=False)

    line = dict(zip(COLUMNS, score.cells(), strict=True))
    assert [line[name] for name in SCORES] == expected
    assert [line[name] for name in SHARES] == ["0.5", "0.25", "0.25"]
    assert (line["index"], line["hr_before"], line["hr_after"]) == ("5", "4", "6")
