"""Attention scores: where they come from, how they are normalised, and their figure."""

import numpy as np
import pytest
from PIL import Image
from xfusion_edvr.attention_figure import draw, range_of
from xfusion_edvr.attention_scores import AttentionScores

from xfusion_bluesky.backends.contract import FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence


def test_scores_are_divided_by_those_at_the_hr_frame_before():
    scores = AttentionScores(
        np.array([2, 3, 0, 1, 2, 0, 1]),
        np.array([9.0, 9, 4, 2, 1, -5, -10]),
        np.array([9.0, 9, 2, 3, 4, 1, 2]),
    )

    normalised = scores.normalised()

    # The first stretch has no target at its HR frame.
    np.testing.assert_array_equal(normalised.place, [0, 1, 2, 0, 1])
    np.testing.assert_allclose(normalised.before, [1, 0.5, 0.25, 1, 2])
    np.testing.assert_allclose(normalised.after, [1, 1.5, 2, 1, 2])


def test_scores_come_from_frames_and_from_tables_and_are_drawn(tmp_path):
    n = 41
    sequence = DualSequence.from_arrays(
        np.ones((n, 2, 2)), np.ones((3, 8, 8)), np.arange(n), [0.0, 20.0, 40.0]
    )
    frames = [
        FusedFrame(
            t,
            np.ones((8, 8), np.float32),
            diagnostics={"score_hr_before": 3 - t % 20 / 10, "score_hr_after": 1 + t % 20 / 10},
        )
        for t in range(n)
    ]
    frames[7] = FusedFrame(7, np.full((8, 8), np.nan, np.float32), diagnostics={"masked": 1.0})
    lines = ["psnr,t-1 hi,t+1 hi,mask", "40,1,1,0"]
    for frame in frames:
        scores = [
            str(frame.diagnostics.get(f"score_hr_{side}", "")) for side in ("before", "after")
        ]
        lines.append(",".join(["40", *scores, str(int(frame.target % 20 == 0))]))
    (tmp_path / "error.csv").write_text("\n".join(lines))

    made = AttentionScores.from_frames(sequence, frames)
    read = AttentionScores.from_csv(tmp_path / "error.csv")

    for name in ("place", "before", "after"):
        np.testing.assert_allclose(getattr(made, name), getattr(read, name))
    # The lost frame is not there, nor the last one, which no HR frame follows.
    assert (made.place.min(), made.place.max(), made.place.size) == (0, 19, 39)
    draw(made, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == (1350, 900)


def test_a_table_of_a_backend_without_scores_has_none(tmp_path):
    (tmp_path / "error.csv").write_text("t-1 hi,t+1 hi,mask\n,,1\n,,0\n,,1\n")
    assert AttentionScores.from_csv(tmp_path / "error.csv").place.size == 0


def test_a_score_near_zero_to_divide_by_does_not_flatten_the_figure():
    values = np.concatenate((np.linspace(0.3, 1, 200), [4e5, -7e4]))
    low, high = range_of(values)
    assert -0.1 < low < 0.3
    assert 1 < high < 1.1
    assert range_of(np.zeros(0)) == (0, 1)
    low, high = range_of(np.full(3, -2.0))
    assert low < -2 < high


def test_tables_without_scores_and_nothing_to_draw_are_refused(tmp_path):
    (tmp_path / "error.csv").write_text("psnr,mask\n40,1\n")
    with pytest.raises(ValueError, match="line 2: columns mask, t-1 hi"):
        AttentionScores.from_csv(tmp_path / "error.csv")
    with pytest.raises(ValueError, match="no attention scores"):
        draw(AttentionScores(*np.zeros((3, 0))), tmp_path / "figure.png")
