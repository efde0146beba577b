"""What every backend has to do, as one list of checks for tests and for the command line.

`conformance` runs the list in a plugin's own tests, `examine` in a child process for
``xfusion-bluesky plugins check``.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.backends import scenes
from xfusion_bluesky.backends.contract import Backend, FusedFrame
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence, NoHRFrameError

__all__ = ["CHECKS", "Candidate", "Check", "NotConforming"]

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ROUNDING = 1e-5
_ACCURACY = 1e-2
_SHIFT_PX = (8, 8)
_MARGIN_PX = 16


class NotConforming(AssertionError):
    """A backend does not do what the contract asks; the message says what and where."""


@dataclass(frozen=True)
class Candidate:
    """The backend under examination.

    Parameters
    ----------
    make : callable
        Makes the backend anew, with its parameters.
    """

    make: Callable[[], Backend]

    def frames(
        self, sequence: DualSequence, targets: Sequence[int] | None = None
    ) -> list[FusedFrame]:
        """Return the frames of a fresh backend, each held against the contract.

        Parameters
        ----------
        sequence : DualSequence
            The burst.
        targets : sequence of int, optional
            LR frames; default: all.
        """
        every = range(sequence.n_lr) if targets is None else targets
        return [timed.frame for timed in checked_frames(self.make(), sequence, every)]


@dataclass(frozen=True)
class Check:
    """One thing every backend has to do.

    Parameters
    ----------
    name : str
        What it does, in a few words.
    run : callable
        Gets the candidate; raises when it does not do it.
    of_accuracy : bool
        Left out for a backend whose info says ``claims_accuracy=False``.
    """

    name: str
    run: Callable[[Candidate], None]
    of_accuracy: bool = False


def _describes_itself(candidate: Candidate) -> None:
    info = candidate.make().info
    _require(
        isinstance(info.id, str) and _ID.fullmatch(info.id) is not None,
        f"info.id {info.id!r} is not lower case letters, digits and single hyphens",
    )
    for name in ("version", "summary"):
        text = getattr(info, name)
        one_line = isinstance(text, str) and text.strip() != "" and "\n" not in text
        _require(one_line, f"info.{name} is {text!r}, expected one line of text")
    for name in ("needs_hr", "gives_variance", "gives_attention", "claims_accuracy"):
        flag = getattr(info, name)
        _require(isinstance(flag, bool), f"info.{name} is {flag!r}, expected True or False")
    _require(info.scale == SCALE, f"info.scale is {info.scale!r}, expected {SCALE}")
    _require(
        isinstance(info.lr_context, int) and info.lr_context >= 0,
        f"info.lr_context is {info.lr_context!r}, expected a number of frames >= 0",
    )


def _has_plain_parameters(candidate: Candidate) -> None:
    backend = candidate.make()
    # What a dataclass holds is what it was made from; of anything else only defaults are known.
    for name, parameter in inspect.signature(type(backend)).parameters.items():
        value = getattr(backend, name, parameter.default)
        if value is inspect.Parameter.empty:
            continue
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise NotConforming(
                f"parameter {name!r} is {value!r}, which is no JSON value ({error}): a request or "
                f"a configuration file could not carry it"
            ) from error


def _fuses_every_frame(candidate: Candidate) -> None:
    for frame in candidate.frames(scenes.uneven().sequence()):
        _require_whole(frame)


def _fuses_any_field(candidate: Candidate) -> None:
    for lr_shape in ((9, 13), (16, 20)):
        for frame in candidate.frames(scenes.uneven(lr_shape).sequence()):
            _require_whole(frame)


def _fuses_beyond_the_hr_frames(candidate: Candidate) -> None:
    for hr_at, where in (((0.0, 1.5), "after the last"), ((9.5, 11.0), "before the first")):
        sequence = scenes.uneven(hr_at=hr_at).sequence()
        for frame in candidate.frames(sequence):
            _require_whole(frame, f", {where} HR frame")


def _fuses_with_one_hr_frame(candidate: Candidate) -> None:
    for frame in candidate.frames(scenes.uneven(hr_at=(5.0,)).sequence()):
        _require_whole(frame)


def _handles_no_hr_frame(candidate: Candidate) -> None:
    needs_hr = candidate.make().info.needs_hr
    scene = scenes.uneven()
    for sequence, case in (
        (scenes.uneven(hr_at=()).sequence(), "no HR frame"),
        (scene.sequence(hr_valid=[False] * len(scene.hr)), "no valid HR frame"),
    ):
        try:
            frames = candidate.frames(sequence)
        except NoHRFrameError:
            _require(needs_hr, f"NoHRFrameError for {case}, though info.needs_hr is False")
            continue
        _require(
            not needs_hr,
            f"frames from {case}, though info.needs_hr is True: raise NoHRFrameError instead",
        )
        for frame in frames:
            _require_whole(frame, f", with {case}")


def _passes_over_an_invalid_hr_frame(candidate: Candidate) -> None:
    scene = scenes.uneven()
    for frame in candidate.frames(scene.sequence(hr_valid=[True, False, True])):
        _require_whole(frame, ", beside an invalid HR frame")


def _masks_an_invalid_lr_frame(candidate: Candidate) -> None:
    scene, lost = scenes.uneven(), 5
    lr = scene.lr.copy()
    lr[lost] = np.nan
    for frame in candidate.frames(scene.sequence(lr=lr)):
        if frame.target != lost:
            _require_whole(frame, f", beside the invalid LR frame {lost}")
            continue
        finite = np.isfinite(frame.image)
        masked = frame.diagnostics.get("masked") == 1
        _require(
            (finite.all() and not masked) or (masked and not finite.any()),
            f"{np.count_nonzero(finite)} of {finite.size} pixels are finite at the invalid LR "
            f"frame {lost} and diagnostics['masked'] is {frame.diagnostics.get('masked')!r}: "
            f"expected a whole image, or all NaN with masked = 1",
        )


def _fills_masked_pixels(candidate: Candidate) -> None:
    scene = scenes.uneven()
    lr, hr = scene.lr.copy(), scene.hr.copy()
    lr[:, 2, 3] = np.nan
    lr[4, 5:7, 6:9] = np.nan
    hr[1, 8:14, 20:30] = np.nan
    for frame in candidate.frames(scene.sequence(lr=lr, hr=hr)):
        _require(not frame.diagnostics.get("masked"), f"LR frame {frame.target} is called masked")


def _fuses_a_single_lr_frame(candidate: Candidate) -> None:
    for hr_at in ((-2.0, 2.0), (-1.0,)):
        sequence = scenes.uneven(n_lr=1, hr_at=hr_at).sequence()
        for frame in candidate.frames(sequence):
            _require_whole(frame, " of a sequence that has no other")


def _takes_counts(candidate: Candidate) -> None:
    scene = scenes.uneven()
    for frame in candidate.frames(scene.sequence(lr=4e4 * scene.lr, hr=4e4 * scene.hr)):
        _require_whole(frame, ", in counts instead of transmission")


def _takes_noise(candidate: Candidate) -> None:
    # The runner looks at variance and attention of each frame.
    for frame in candidate.frames(scenes.with_photons(scenes.uneven(), 1e3).sequence()):
        _require_whole(frame, ", with photon noise")


def _repeats_itself(candidate: Candidate) -> None:
    scene = scenes.with_photons(scenes.uneven(), 1e3)
    backend = candidate.make()
    once = candidate.frames(scene.sequence())
    for how, again in (
        ("another backend of the same parameters", candidate.frames(scene.sequence())),
        ("the same backend", Candidate(lambda: backend).frames(scene.sequence())),
        ("the same backend once more", Candidate(lambda: backend).frames(scene.sequence())),
    ):
        for a, b in zip(once, again, strict=True):
            _require_same(a, b, f"{how} gives other", tolerance=0)


def _fuses_a_target_alone(candidate: Candidate) -> None:
    scene = scenes.with_photons(scenes.uneven(), 1e3)
    for whole in candidate.frames(scene.sequence()):
        (alone,) = candidate.frames(scene.sequence(), [whole.target])
        _require_same(whole, alone, "alone it gives other", _ROUNDING)


def _follows_the_targets(candidate: Candidate) -> None:
    scene = scenes.with_photons(scenes.uneven(), 1e3)
    whole = candidate.frames(scene.sequence())
    for targets in ([], [11, 0], [7, 2, 2, 5]):
        for frame in candidate.frames(scene.sequence(), targets):
            _require_same(whole[frame.target], frame, f"targets {targets} give other", _ROUNDING)


def _leaves_yielded_frames_alone(candidate: Candidate) -> None:
    kept: list[tuple[FusedFrame, FusedFrame]] = []
    sequence = scenes.uneven().sequence()
    for timed in checked_frames(candidate.make(), sequence, range(sequence.n_lr)):
        frame = timed.frame
        kept.append((copy.deepcopy(frame), frame))
    for then, now in kept:
        _require_same(then, now, "after it was yielded it became other", tolerance=0)


def _leaves_the_input_alone(candidate: Candidate) -> None:
    scene = scenes.uneven()
    sequence = scene.sequence()
    before = _everything(sequence)
    candidate.frames(sequence)
    for (name, then), (_, now) in zip(before, _everything(sequence), strict=True):
        _require(np.array_equal(then, now, equal_nan=True), f"it changed {name} of the sequence")


def _keeps_a_constant(candidate: Candidate) -> None:
    level = 0.7
    for frame in candidate.frames(scenes.constant(level).sequence()):
        off = float(np.abs(frame.image - level).max())
        _require(
            off <= _ACCURACY * level,
            f"a scene that is {level} everywhere becomes up to {off:.3g} different at LR frame "
            f"{frame.target}; at most {_ACCURACY:.0%} is accepted",
        )


def _moves_with_the_scene(candidate: Candidate) -> None:
    down, right = _SHIFT_PX
    inner = slice(_MARGIN_PX, -_MARGIN_PX)
    contrast = float(np.ptp(scenes.blob().truth))
    here = candidate.frames(scenes.blob().sequence())
    there = candidate.frames(scenes.blob(shift_px=_SHIFT_PX).sequence())
    for a, b in zip(here, there, strict=True):
        moved = np.roll(a.image, (down, right), axis=(0, 1))[inner, inner]
        off = float(np.sqrt(np.mean((b.image[inner, inner] - moved) ** 2))) / contrast
        _require(
            off <= _ACCURACY,
            f"a scene moved by {SCALE} x {down // SCALE} px gives an image that is not the moved "
            f"image: {off:.1%} of the contrast (rms) apart at LR frame {a.target}; at most "
            f"{_ACCURACY:.0%} is accepted",
        )


CHECKS: tuple[Check, ...] = (
    Check("describes itself", _describes_itself),
    Check("has parameters that are JSON values", _has_plain_parameters),
    Check("fuses every frame, in order", _fuses_every_frame),
    Check("fuses a field of any size", _fuses_any_field),
    Check("fuses before the first and after the last HR frame", _fuses_beyond_the_hr_frames),
    Check("fuses with one HR frame", _fuses_with_one_hr_frame),
    Check("works without HR frames, or refuses", _handles_no_hr_frame),
    Check("passes over an invalid HR frame", _passes_over_an_invalid_hr_frame),
    Check("masks an invalid LR frame, and no other", _masks_an_invalid_lr_frame),
    Check("fills masked pixels", _fills_masked_pixels),
    Check("fuses a single LR frame", _fuses_a_single_lr_frame),
    Check("takes counts as well as transmission", _takes_counts),
    Check("takes noisy frames", _takes_noise),
    Check("gives the same bits again", _repeats_itself),
    Check("fuses a target alone as among others", _fuses_a_target_alone),
    Check("takes targets in any order", _follows_the_targets),
    Check("leaves yielded frames alone", _leaves_yielded_frames_alone),
    Check("leaves its input alone", _leaves_the_input_alone),
    Check("keeps a constant scene", _keeps_a_constant, of_accuracy=True),
    Check("moves with the scene", _moves_with_the_scene, of_accuracy=True),
)
"""Every check, in the order in which they are run."""


def _require(condition: bool | np.bool_, otherwise: str) -> None:
    if not condition:
        raise NotConforming(otherwise)


def _require_whole(frame: FusedFrame, where: str = "") -> None:
    """Every pixel has a value, and the frame does not call itself masked."""
    missing = int(np.count_nonzero(~np.isfinite(frame.image)))
    _require(not missing, f"{missing} pixels are not finite at LR frame {frame.target}{where}")
    _require(
        not frame.diagnostics.get("masked"), f"LR frame {frame.target}{where} is called masked"
    )


def _require_same(a: FusedFrame, b: FusedFrame, what: str, tolerance: float) -> None:
    """Images, variances and attentions agree to `tolerance` of the image's largest value."""
    for name in ("image", "variance", "attention"):
        # None becomes NaN: a variance that is there only once is a difference, too.
        x = np.asarray(getattr(a, name), dtype=np.float64)
        y = np.asarray(getattr(b, name), dtype=np.float64)
        if np.array_equal(x, y, equal_nan=True):
            continue
        where = f"{what} values of the {name} of LR frame {a.target}"
        _require(np.array_equal(np.isnan(x), np.isnan(y)), f"{where}: some exist only once")
        off = float(np.nanmax(np.abs(x - y)))
        allowed = tolerance * float(np.nanmax(np.abs(x)))
        _require(off <= allowed, f"{where}: up to {off:.3g} apart")


def _everything(sequence: DualSequence) -> list[tuple[str, npt.NDArray[Any]]]:
    parts = [
        (name, np.array(getattr(sequence, name)))
        for name in ("lr_time_ns", "hr_time_ns", "lr_valid", "hr_valid")
    ]
    parts += [(f"LR frame {i}", sequence.lr(i).copy()) for i in range(sequence.n_lr)]
    return parts + [(f"HR frame {j}", sequence.hr(j).copy()) for j in range(sequence.n_hr)]
