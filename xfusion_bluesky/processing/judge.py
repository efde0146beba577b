"""What is said of each fused frame, and of a whole reconstruction, beside the images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.backends.contract import Backend, FusedFrame
from xfusion_bluesky.backends.runner import TimedFrame, checked_frames
from xfusion_bluesky.documents.processed import FlagRecord, FrameRecord, Interval, Verdict
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.conformal import ConformalInterval
from xfusion_bluesky.fusion.flags import Flag
from xfusion_bluesky.fusion.holdout import HeldOut, HeldOutPass, HeldOutScore, leave_one_out
from xfusion_bluesky.fusion.metrics import aad, psnr, ssim
from xfusion_bluesky.fusion.normalisation import Normalisation
from xfusion_bluesky.fusion.quality import SequenceQuality
from xfusion_bluesky.fusion.sequence import DualSequence, NoHRFrameError

__all__ = ["HeldOutTruth", "Judge", "Truth"]

_LOG = logging.getLogger(__name__)
_SMALLEST_SSIM_SIDE_PX = 11
_FEWEST_HR_FRAMES = 3
_FEWEST_FOR_INTERVAL = 3
_ALPHA = 0.1


class Truth(Protocol):
    """What fused frames should be, by LR frame; also a sequence of images, for percentiles."""

    def frame(self, i: int) -> Float32Array:
        """Return what LR frame `i` should become, (H, W) float32; NaN where it is not known."""

    def __len__(self) -> int: ...

    def __getitem__(self, k: int) -> Float32Array: ...


@dataclass(frozen=True, eq=False)
class HeldOutTruth:
    """HR frames as the truth of the LR frames of their times.

    Parameters
    ----------
    sequence : DualSequence
        The burst with all of its HR frames.
    held : dict of int to int
        HR frame by LR frame, in order.
    """

    sequence: DualSequence
    held: dict[int, int]

    def frame(self, i: int) -> Float32Array:
        """Return the HR frame at the time of LR frame `i`; NaN in its masked pixels."""
        j = self.held[i]
        return np.where(self.sequence.hr_mask(j), self.sequence.hr(j), np.float32(np.nan))

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, k: int) -> Float32Array:
        return self.frame(list(self.held)[k])


class Judge:
    """Judges the frames of one burst.

    Parameters
    ----------
    sequence : DualSequence
        The burst.
    truth : Truth or None
        What its frames should be.
    flags : tuple of str
        That every frame gets.
    findings : sequence of Flag
        On the burst, known already.
    """

    def __init__(
        self,
        sequence: DualSequence,
        truth: Truth | None,
        flags: tuple[str, ...],
        findings: Sequence[Flag] = (),
    ) -> None:
        self._sequence, self._flags, self._findings = sequence, flags, findings
        self._quality = SequenceQuality(sequence)
        self._truth, self._scale = truth, _scale_of(truth)

    @property
    def has_truth(self) -> bool:
        """Whether there is a truth to compare with; a constant one is none."""
        return self._scale is not None

    def record(self, timed: TimedFrame) -> FrameRecord:
        """Return the numbers of one frame.

        Parameters
        ----------
        timed : TimedFrame
            From `checked_frames`.
        """
        return self._record(timed, self._sequence, self._quality, self._flags)

    def of_pass(self, held_out: HeldOutPass) -> Callable[[TimedFrame], FrameRecord]:
        """Return what gives the numbers of the frames of one run of the traversal ``double``.

        Parameters
        ----------
        held_out : HeldOutPass
            The run.
        """
        view = held_out.sequence
        quality = SequenceQuality(view, screening=self._quality.screening)

        def record(timed: TimedFrame) -> FrameRecord:
            near = view.neighbours(timed.frame.target)
            one_sided = None in (near.before, near.after)
            flags = (*self._flags, "one-sided") if one_sided else self._flags
            numbers = {
                "lr_index": timed.frame.target,
                "hr_index": held_out.held[timed.frame.target],
            }
            return self._record(timed, view, quality, flags).model_copy(update=numbers)

        return record

    def _record(
        self,
        timed: TimedFrame,
        sequence: DualSequence,
        quality: SequenceQuality,
        flags: tuple[str, ...],
    ) -> FrameRecord:
        frame = timed.frame
        before, after, neither = frame.attention or (math.nan, math.nan, math.nan)
        masked = not np.isfinite(frame.image).any()
        values: dict[str, float] = {}
        if not masked:
            judged = quality.frame(frame.target, frame.image)
            values |= judged.scalars()
            flags = (*flags, *(flag.name for flag in judged.flags))
            if frame.variance is not None:
                values["sigma"] = math.sqrt(float(np.nanmean(frame.variance)))
            values |= self._against_truth(frame)
        try:
            tau = sequence.tau(frame.target)
        except NoHRFrameError:
            tau, flags = math.nan, (*flags, "no-hr")
        return FrameRecord(
            time_ns=float(sequence.lr_time_ns[frame.target]),
            tau=tau,
            elapsed_ms=timed.elapsed_ms,
            attention_before=before,
            attention_after=after,
            attention_neither=neither,
            valid=int(not masked),
            flags=",".join((*flags, "masked") if masked else flags),
            **values,
        )

    def verdict(self, backend: Backend, *, hold_out: bool) -> Verdict:
        """Judge the burst, and let the backend guess HR frames that it is not shown.

        Parameters
        ----------
        backend : Backend
            That made the frames.
        hold_out : bool
            Whether it has to guess; that costs as much as that many frames.
        """
        flags = tuple(
            FlagRecord(
                name=flag.name,
                value=flag.value,
                threshold=flag.threshold,
                severity=flag.severity.value,
                reason=flag.reason,
            )
            for flag in (*self._findings, *self._quality.flags)
        )
        hr_frames = int(np.count_nonzero(self._sequence.hr_valid))
        if not hold_out or hr_frames < _FEWEST_HR_FRAMES:
            return Verdict(flags=flags)
        try:
            return self._guessed(backend, flags)
        except Exception:  # noqa: BLE001 - the frames are made; this only says how good they are
            _LOG.exception("The held-out HR frames could not be scored")
            return Verdict(flags=flags)

    def _guessed(self, backend: Backend, flags: tuple[FlagRecord, ...]) -> Verdict:
        sequence = self._sequence
        limits = Normalisation.from_percentiles(
            [sequence.hr(int(j)) for j in np.flatnonzero(sequence.hr_valid)]
        )
        scores: list[HeldOutScore] = []

        def guess(view: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
            return (timed.frame for timed in checked_frames(backend, view, targets))

        def scored() -> Iterable[HeldOut]:
            for held in leave_one_out(guess, sequence):
                scores.append(HeldOutScore.of(held, limits))
                yield held

        noise = self._quality.screening.noise
        # So few frames promise only so much.
        expected = int(np.count_nonzero(sequence.hr_valid)) - 2
        alpha = max(_ALPHA, 1 / (expected + 1) + 1e-9)
        interval = None
        try:
            fitted = ConformalInterval.fit(scored(), noise, alpha)
        except ValueError as error:
            _LOG.info("No interval: %s", error)
        else:
            if fitted.held_out >= _FEWEST_FOR_INTERVAL:
                interval = Interval(
                    alpha=fitted.alpha,
                    delta=fitted.delta,
                    resting=fitted.resting,
                    moving=fitted.moving,
                    floor=fitted.floor,
                )
        return Verdict(
            flags=flags,
            held_out_frames=len(scores),
            held_out_psnr_db=_mean([score.psnr_db for score in scores]),
            held_out_ssim=_mean([score.ssim for score in scores]),
            interval=interval,
        )

    def _against_truth(self, frame: FusedFrame) -> dict[str, float]:
        if self._truth is None or self._scale is None:
            return {}
        truth = self._truth.frame(frame.target)
        values = {
            "psnr_db": psnr(frame.image, truth, self._scale),
            "aad": aad(frame.image, truth, self._scale),
        }
        if min(truth.shape) >= _SMALLEST_SSIM_SIDE_PX:
            values["ssim"] = ssim(frame.image, truth, self._scale)
        return values


def _scale_of(truth: Truth | None) -> Normalisation | None:
    if truth is None:
        return None
    try:
        # It is read frame by frame, by index and length only.
        return Normalisation.from_percentiles(cast("Sequence[npt.ArrayLike]", truth))
    except ValueError:
        return None  # a constant truth has nothing to compare with


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
