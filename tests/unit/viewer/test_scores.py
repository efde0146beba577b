"""Which reconstruction is the best, and which attempt at it counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from xfusion_bluesky.viewer.scores import Reconstruction, Score, best_last, ranked


def made(
    backend: str,
    psnr_db: float = math.nan,
    chi2: float = math.nan,
    status: str = "success",
    attempt: int = 1,
    seq_num: int = 1,
    held_out_psnr_db: float = math.nan,
    traversal: str = "continuous",
) -> Reconstruction:
    score = Score(
        uid=f"{backend}-{seq_num}-{attempt}",
        raw_uid="raw",
        seq_num=seq_num,
        key=f"{backend}-{seq_num}",
        attempt=attempt,
        backend=backend,
        parameters={},
        status=status,
        reason="",
        frames=1,
        psnr_db=psnr_db,
        ssim=math.nan,
        held_out_psnr_db=held_out_psnr_db,
        chi2=chi2,
        frame_ms=1.0,
        traversal=traversal,
    )
    return Reconstruction(score, np.array([psnr_db]), None)


def order(*reconstructions: Reconstruction) -> list[str]:
    return [each.score.uid for each in ranked(reconstructions)]


def test_psnr_decides_where_there_is_a_truth() -> None:
    found = order(made("a", 30.0, chi2=1.0), made("b", 40.0, chi2=9.0), made("c", 35.0))
    assert found == ["b-1-1", "c-1-1", "a-1-1"]


def test_without_truth_the_best_leaves_what_the_noise_leaves() -> None:
    # chi2 of 0 fits the noise, too: no better than one that is far above 1.
    found = order(made("a", chi2=0.0), made("b", chi2=1.4), made("c", chi2=0.9), made("d"))
    assert found[:2] == ["c-1-1", "b-1-1"]
    assert order(made("x", 10.0), made("y", chi2=1.0)) == ["x-1-1", "y-1-1"]


def test_without_truth_who_guesses_hidden_hr_frames_better_wins() -> None:
    found = order(made("a", chi2=1.0, held_out_psnr_db=28.0), made("b", held_out_psnr_db=31.0))
    assert found == ["b-1-1", "a-1-1"]


def test_what_compares_with_other_frames_comes_after() -> None:
    held_out = made("a", 50.0, traversal="double")
    assert order(held_out, made("b", 20.0), made("c")) == ["b-1-1", "c-1-1", "a-1-1"]
    assert held_out.score.label == "a double"


def test_frames_are_found_by_their_lr_frame() -> None:
    every, some = made("a"), replace(made("b"), lr_frames=(3, 7, 11))
    assert (every.places, some.places) == ({0: 0}, {3: 0, 7: 1, 11: 2})


def test_the_last_successful_attempt_counts_or_else_the_last() -> None:
    a = [
        made("a", 30.0, status=s, attempt=k) for k, s in enumerate(("fail", "success", "abort"), 1)
    ]
    b = [made("b", 50.0, status=s, attempt=k) for k, s in enumerate(("fail", "abort"), 1)]
    assert order(*b, *reversed(a)) == ["a-1-2", "b-1-2"]


def test_shown_is_the_first_burst_that_has_a_success() -> None:
    shown = best_last(
        [
            made("a", status="fail"),
            made("a", 30.0, seq_num=2),
            made("b", 40.0, seq_num=2),
            made("c", 50.0, seq_num=3),
        ]
    )
    assert [each.score.uid for each in shown] == ["a-2-1", "b-2-1"]
    assert best_last([made("a", status="fail")]) == []
