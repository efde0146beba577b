"""Which frames a backend gets: XFusion's rule, and where it had to be completed."""

from __future__ import annotations

import pytest

from xfusion_bluesky.inference.frames import FramePass, Mode, frame_passes


def neighbours(each: FramePass, target: int) -> tuple[int | None, int | None]:
    before = [frame for frame in each.hr if frame <= target]
    after = [frame for frame in each.hr if frame > target]
    return max(before, default=None), min(after, default=None)


@pytest.mark.parametrize("n", [450, 441, 30])
@pytest.mark.parametrize("d", [2, 10, 20, 29])
@pytest.mark.parametrize("s", [1, 2, 3])
def test_continuous_gives_the_frames_of_xfusion(n: int, d: int, s: int) -> None:
    passes = frame_passes(n, Mode.CONTINUOUS, s, d)

    made = [target for each in passes for target in each.targets]
    assert sorted(made) == list(range(1, n))
    for each in passes:
        for target in each.targets:
            before, after = neighbours(each, target)
            if target < n - 1:
                # The last HR frame that XFusion asks for is n; there is none, n - 1 is meant.
                assert (before, after) == (target // d * d, min(n - 1, target // d * d + d))
            else:
                assert (before, after) == (target, None)
            place = each.lr.index(target)
            if s <= target < n - s:
                assert each.lr[place - 1 : place + 2] == (target - s, target, target + s)


def test_450_frames_do_not_ask_for_a_451st() -> None:
    for d in (2, 10, 20):
        (each,) = frame_passes(450, Mode.CONTINUOUS, 1, d)
        assert each.hr[-1] == 449


def test_the_ends_only() -> None:
    (each,) = frame_passes(450, Mode.CONTINUOUS, 1, 449)
    assert each.hr == (0, 449)


@pytest.mark.parametrize("s", [1, 2, 3])
def test_double_leaves_each_hr_frame_out_and_never_gives_it_away(s: int) -> None:
    hr = [*range(0, 450, 20), 449]

    passes = frame_passes(450, Mode.DOUBLE, s, 20)

    assert sorted(target for each in passes for target in each.targets) == hr
    for each in passes:
        for target in each.targets:
            place = hr.index(target)
            before = hr[place - 1] if place else None
            after = hr[place + 1] if place + 1 < len(hr) else None
            assert neighbours(each, target) == (before, after)
            assert target in each.lr


@pytest.mark.parametrize(
    ("n", "mode", "s", "d", "words"),
    [
        (2, Mode.CONTINUOUS, 1, 2, "at least 3 images"),
        (30, Mode.CONTINUOUS, 4, 2, "1, 2 or 3"),
        (30, Mode.CONTINUOUS, 1, 1, "2 to 29"),
        (30, Mode.CONTINUOUS, 1, 30, "2 to 29"),
        (30, Mode.DOUBLE, 1, 29, "at least 3 HR frames"),
    ],
)
def test_what_leaves_no_experiment_is_refused(
    n: int, mode: Mode, s: int, d: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        frame_passes(n, mode, s, d)
