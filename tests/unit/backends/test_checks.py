"""Each check finds the fault it is there for, and a good backend passes them all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from xfusion_bluesky.backends.checks import CHECKS, Candidate, NotConforming
from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.backends.runner import ContractViolation
from xfusion_bluesky.fusion.operators import upsample_nearest
from xfusion_bluesky.fusion.sequence import NoHRFrameError

INFO = BackendInfo(id="probe", version="1", summary="LR pixels repeated", needs_hr=False)


class Probe:
    """LR pixels repeated; a fault changes a frame, with the sequence and the targets at hand."""

    info = INFO
    fault: Callable[..., Any] | None = None

    def reconstruct(self, sequence, targets):
        for target in targets:
            if not sequence.lr_mask(target).any():
                nothing = np.full(sequence.shape, np.nan, dtype=np.float32)
                frame = FusedFrame(target, nothing, diagnostics={"masked": 1.0})
            else:
                frame = FusedFrame(target, upsample_nearest(sequence.lr(target)))
            yield frame if self.fault is None else self.fault(frame, sequence, targets)


@dataclass(frozen=True)
class Parametrised(Probe):
    strength: object = 1.0


def probe(fault: Callable[..., Any] | None = None, **info: Any) -> Probe:
    made = Probe()
    made.fault, made.info = fault, replace(INFO, **info)
    return made


def failing(make: Callable[[], Any]) -> dict[str, str]:
    """Checks that do not pass, with the reason."""
    failures = {}
    for check in CHECKS:
        try:
            check.run(Candidate(make))
        except (NotConforming, ContractViolation, ValueError, ArithmeticError) as error:
            failures[check.name] = str(error)
    return failures


def when(condition: Callable[..., bool], change: Callable[[FusedFrame], FusedFrame]) -> Any:
    def fault(frame, sequence, targets):
        return change(frame) if condition(frame, sequence, targets) else frame

    return fault


def times(factor: float) -> Callable[[FusedFrame], FusedFrame]:
    return lambda frame: replace(frame, image=np.float32(factor) * frame.image)


def nan(frame: FusedFrame) -> FusedFrame:
    return replace(frame, image=np.full_like(frame.image, np.nan), diagnostics={"masked": 1.0})


def test_a_good_backend_passes_every_check() -> None:
    assert failing(Probe) == {}
    assert failing(lambda: Parametrised(2.0)) == {}


def reuses_its_buffer() -> Any:
    class Reuses(Probe):
        def reconstruct(self, sequence, targets):
            buffer = np.empty(sequence.shape, dtype=np.float32)
            for frame in super().reconstruct(sequence, targets):
                buffer[...] = frame.image
                yield replace(frame, image=buffer)

    return Reuses()


def writes_to_its_input(frame, sequence, targets):
    lr = sequence.lr(frame.target)
    lr.setflags(write=True)
    lr[0, 0] += 1
    return frame


def refuses_without_hr(frame, sequence, targets):
    if not sequence.hr_valid.any():
        raise NoHRFrameError("none")
    return frame


def drifting() -> Any:
    calls = iter(range(10**6))
    return probe(lambda frame, sequence, targets: times(1 + next(calls) * 1e-3)(frame))


def shifts_left(frame, sequence, targets):
    # The further to the right, the brighter: even scenes stay even, moved ones do not.
    ramp = np.linspace(0.5, 1.5, sequence.shape[1], dtype=np.float32)
    level = frame.image[0, 0]
    return replace(frame, image=level + ramp * (frame.image - level))


def nan_when(condition: Callable[..., bool]) -> Callable[[], Any]:
    return lambda: probe(when(condition, nan))


def wrong_when(condition: Callable[..., bool]) -> Callable[[], Any]:
    return lambda: probe(when(condition, times(1.05)))


UNMASKED = "finite pixels wherever the LR frame is usable"
FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "describes itself": (lambda: probe(version=""), "info.version"),
    "has parameters that are JSON values": (lambda: Parametrised({1, 2}), "strength"),
    "fuses every frame, in order": (
        lambda: probe(lambda f, s, t: replace(f, target=f.target + 1)),
        "target 1",
    ),
    "fuses a field of any size": (nan_when(lambda f, s, t: s.lr_shape[0] % 2), UNMASKED),
    "fuses before the first and after the last HR frame": (
        nan_when(lambda f, s, t: s.n_hr == 2 and s.neighbours(f.target).after is None),
        UNMASKED,
    ),
    "fuses with one HR frame": (nan_when(lambda f, s, t: s.n_hr == 1 and s.n_lr > 1), UNMASKED),
    "works without HR frames, or refuses": (
        lambda: probe(refuses_without_hr),
        "needs_hr is False",
    ),
    "passes over an invalid HR frame": (
        nan_when(lambda f, s, t: s.hr_valid.tolist() == [True, False, True]),
        UNMASKED,
    ),
    "masks an invalid LR frame, and no other": (
        lambda: probe(lambda f, s, t: replace(f, diagnostics={})),
        "LR frame 5",
    ),
    "fills masked pixels": (nan_when(lambda f, s, t: not s.lr_mask(f.target).all()), UNMASKED),
    "fuses a single LR frame": (nan_when(lambda f, s, t: s.n_lr == 1), UNMASKED),
    "takes counts as well as transmission": (
        nan_when(lambda f, s, t: s.lr(f.target).max() > 2),
        UNMASKED,
    ),
    "takes noisy frames": (nan_when(lambda f, s, t: not s.noise.is_noise_free), UNMASKED),
    "gives the same bits again": (drifting, "gives other values of the image"),
    "fuses a target alone as among others": (
        wrong_when(lambda f, s, t: len(t) == 1 and s.n_lr > 1),
        "alone it gives other",
    ),
    "takes targets in any order": (
        wrong_when(lambda f, s, t: list(t) != sorted(t)),
        "[11, 0]",
    ),
    "leaves yielded frames alone": (reuses_its_buffer, "after it was yielded"),
    "leaves its input alone": (lambda: probe(writes_to_its_input), "changed LR frame 0"),
    "keeps a constant scene": (wrong_when(lambda f, s, t: True), "0.7 everywhere"),
    "moves with the scene": (lambda: probe(shifts_left), "moved"),
}


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
def test_a_check_finds_its_fault_and_says_where(name: str) -> None:
    make, words = FAULTS[name]
    assert words in failing(make)[name]


def test_a_backend_that_needs_hr_has_to_refuse_a_burst_without() -> None:
    assert failing(lambda: probe(refuses_without_hr, needs_hr=True)) == {}
    (reason,) = failing(lambda: probe(needs_hr=True)).values()
    assert "raise NoHRFrameError" in reason


def test_only_the_scenes_with_a_known_answer_are_about_accuracy() -> None:
    wrong = failing(lambda: probe(lambda f, s, t: times(1.05)(shifts_left(f, s, t))))
    assert set(wrong) == {check.name for check in CHECKS if check.of_accuracy}
