"""checked_frames: frames that keep the contract pass, every breach is named."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.backends.runner import ContractViolation, checked_frames
from xfusion_bluesky.fusion.operators import upsample_nearest
from xfusion_bluesky.fusion.sequence import DualSequence

INFO = BackendInfo(id="probe", version="1", summary="a test", needs_hr=False)
SHAPE = (8, 12)


@dataclass(frozen=True)
class Probe:
    """Replicates the LR frame, then lets a test spoil the frame of target 1."""

    spoil: Callable[[FusedFrame], object] = lambda frame: frame
    info: BackendInfo = INFO

    def reconstruct(self, sequence, targets):
        for target in targets:
            frame = FusedFrame(target, upsample_nearest(sequence.lr(target)))
            yield self.spoil(frame) if target == 1 else frame


@pytest.fixture
def sequence():
    lr = np.random.default_rng(0).random((4, 2, 3), dtype=np.float32)
    lr[3, 0, 0] = np.nan
    return DualSequence.from_arrays(
        lr, np.zeros((1, *SHAPE)), range(4), [0], lr_valid=[True, True, False, True]
    )


def run(backend, sequence, targets=(0, 1, 2, 3)):
    return list(checked_frames(backend, sequence, targets))


def test_good_frames_pass_in_the_order_asked_for_and_are_timed(sequence):
    results = run(Probe(), sequence, (3, 0, 2))
    assert [result.frame.target for result in results] == [3, 0, 2]
    assert all(result.elapsed_ms >= 0 for result in results)
    assert np.isnan(results[2].frame.image).all()  # LR frame 2 is masked


def test_frames_come_one_by_one(sequence):
    made = []
    frames = checked_frames(Probe(spoil=lambda f: made.append(f) or f), sequence, (0, 1))
    next(frames)
    assert made == []
    next(frames)
    assert len(made) == 1


def with_nan(frame):
    frame.image[0, 0] = np.nan
    return frame


def variance(value):
    return lambda frame: replace(frame, variance=np.full(SHAPE, value, dtype=np.float32))


def attention(*shares):
    return lambda frame: replace(frame, attention=shares)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda frame: frame.image, "expected a FusedFrame, got ndarray"),
        (lambda frame: replace(frame, target=0), "target 1, got target 0"),
        (lambda frame: replace(frame, image=frame.image[:, 1:]), r"\(8, 12\), got .*\(8, 11\)"),
        (lambda frame: replace(frame, image=frame.image.astype(float)), "got float64"),
        (lambda frame: replace(frame, image=frame.image.tolist()), "got list"),
        (with_nan, "1 pixels that are not finite"),
        (variance(-1), "variance >= 0"),
        (variance(np.nan), "negative or NaN"),
        (lambda frame: replace(frame, variance=np.ones(3)), "variance: float32"),
        (attention(0.5, 0.4, 0.0), "sum 1"),
        (attention(1.5, -0.5, 0.0), "attention"),
        (attention(0.5, 0.5), "attention"),
        (attention(np.nan, 0.5, 0.5), "attention"),
        (lambda frame: replace(frame, diagnostics={"why": "because"}), "'because'"),
        (lambda frame: replace(frame, diagnostics={1: 1.0}), "diagnostics"),
    ],
)
def test_a_breach_names_backend_frame_expectation_and_what_came(sequence, spoil, words):
    results = checked_frames(Probe(spoil), sequence, (0, 1))
    next(results)
    with pytest.raises(ContractViolation, match=words) as caught:
        next(results)
    assert (caught.value.backend, caught.value.target) == ("probe", 1)
    assert "probe" in str(caught.value)
    assert "LR frame 1" in str(caught.value)


@pytest.mark.parametrize(
    "spoil", [variance(0.0), attention(0.2, 0.3, 0.5), attention(*np.float32([0.1, 0.2, 0.7]))]
)
def test_possible_extras_pass(sequence, spoil):
    assert len(run(Probe(spoil), sequence)) == 4


@pytest.mark.parametrize("promise", ["gives_variance", "gives_attention"])
def test_a_promise_is_kept_except_on_masked_frames(sequence, promise):
    backend = Probe(info=replace(INFO, **{promise: True}))
    assert len(run(backend, sequence, [2])) == 1
    with pytest.raises(ContractViolation, match=promise):
        run(backend, sequence, [0])


def test_masked_lr_pixels_may_stay_without_a_value(sequence):
    @dataclass(frozen=True)
    class Honest(Probe):
        def reconstruct(self, sequence, targets):
            for frame in super().reconstruct(sequence, targets):
                usable = upsample_nearest(sequence.lr_mask(frame.target)) > 0
                yield replace(frame, image=np.where(usable, frame.image, np.float32(np.nan)))

    (result,) = run(Honest(), sequence, [3])
    assert np.isnan(result.frame.image[:4, :4]).all()


class Returns:
    """Gives a fixed answer."""

    info = INFO

    def __init__(self, answer):
        self.answer = answer

    def reconstruct(self, sequence, targets):
        return self.answer


def test_too_few_too_many_or_no_frames_are_breaches(sequence):
    frame = FusedFrame(0, np.zeros(SHAPE, dtype=np.float32))
    with pytest.raises(ContractViolation, match=r"LR frame 1.*got the end"):
        run(Returns([frame]), sequence, (0, 1))
    with pytest.raises(ContractViolation, match="expected 1 frames, got more"):
        run(Returns([frame, frame]), sequence, (0,))
    with pytest.raises(ContractViolation, match="got NoneType"):
        run(Returns(None), sequence, (0,))


def test_what_cannot_work_is_refused_before_it_starts(sequence):
    with pytest.raises(IndexError, match="target 4"):
        run(Probe(), sequence, (0, 4))
    with pytest.raises(ContractViolation, match="scale 2"):
        run(Probe(info=replace(INFO, scale=2)), sequence)


def test_errors_of_the_backend_come_through(sequence):
    def fail(frame):
        raise MemoryError("GPU")

    with pytest.raises(MemoryError, match="GPU"):
        run(Probe(fail), sequence)
