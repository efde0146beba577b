"""Leave one HR frame out: how good a backend is on this burst, without any other truth.

Each interior HR frame is reconstructed from its neighbours and compared with itself. The gap is
twice the usual one and the target lies in its middle, so the score is a lower limit: it is the
true mid-gap score of a burst with HR frames half as often. With ``thin=2`` the gap doubles again;
two scores show how a backend suffers from the gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.metrics import aad, psnr, ssim
from xfusion_bluesky.fusion.normalisation import Normalisation
from xfusion_bluesky.fusion.pixelmap import PixelMap
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = [
    "HeldOut",
    "HeldOutPass",
    "HeldOutScore",
    "Reconstruct",
    "Reconstructed",
    "coincident_frames",
    "double_passes",
    "leave_one_out",
    "scores",
]

_FEWEST = 3
_FEWEST_DOUBLE = 2
_SMALLEST_SSIM_SIDE_PX = 11


class Reconstructed(Protocol):
    """What is used of a backend's answer; a `FusedFrame` is one."""

    @property
    def target(self) -> int:
        """LR frame it belongs to."""

    @property
    def image(self) -> Float32Array:
        """Image, (H, W)."""

    @property
    def variance(self) -> Float32Array | None:
        """Variance of the image, (H, W), if the backend gives one."""


Reconstruct = Callable[[DualSequence, Sequence[int]], Iterable[Reconstructed]]
"""How a backend is called: ``backend.reconstruct``, or a function that checks what it gives."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """An HR frame that a backend had to guess.

    Parameters
    ----------
    hr_frame : int
        It, in the burst.
    target : int
        LR frame of its time.
    gap_frames : float
        Time between the HR frames that were left, in LR frames.
    image : (H, W) float32
        What the backend made.
    variance : (H, W) float32 or None
        What it thinks of it.
    truth : (H, W) float32
        The HR frame.
    mask : (H, W) bool
        Its usable pixels.
    sequence : DualSequence
        The burst without it, as the backend got it.
    """

    hr_frame: int
    target: int
    gap_frames: float
    image: Float32Array
    variance: Float32Array | None
    truth: Float32Array
    mask: BoolArray
    sequence: DualSequence


@dataclass(frozen=True)
class HeldOutScore:
    """How good the guess was.

    Parameters
    ----------
    hr_frame, target, gap_frames
        As in `HeldOut`.
    psnr_db, ssim, aad : float
        As in `metrics`; NaN when the backend gave no image.
    """

    hr_frame: int
    target: int
    gap_frames: float
    psnr_db: float
    ssim: float
    aad: float

    @classmethod
    def of(
        cls, held: HeldOut, normalisation: Normalisation, hr_noise_variance: float = 0.0
    ) -> HeldOutScore:
        """Score one guess.

        Parameters
        ----------
        held : HeldOut
            From `leave_one_out`.
        normalisation : Normalisation
            Declared range of the burst.
        hr_noise_variance : float
            Noise of the HR camera in squared units of the frames. It is part of the held-out
            frame and not the backend's fault: it is taken off the squared error.
        """
        truth = np.where(held.mask, held.truth, np.float32(np.nan))
        psnr_db = psnr(held.image, truth, normalisation)
        if hr_noise_variance > 0 and math.isfinite(psnr_db):
            share = hr_noise_variance / (normalisation.high - normalisation.low) ** 2
            left = 10 ** (-psnr_db / 10) - share
            psnr_db = -10 * math.log10(left) if left > 0 else math.inf
        large = min(truth.shape) >= _SMALLEST_SSIM_SIDE_PX
        return cls(
            held.hr_frame,
            held.target,
            held.gap_frames,
            psnr_db,
            ssim(held.image, truth, normalisation) if large else math.nan,
            aad(held.image, truth, normalisation),
        )


def leave_one_out(
    reconstruct: Reconstruct, sequence: DualSequence, thin: int = 1
) -> Iterator[HeldOut]:
    """Let a backend guess every interior HR frame from the ones around it.

    Two runs of the backend: one without every other interior HR frame, one without the others.

    Parameters
    ----------
    reconstruct : callable
        Usually ``backend.reconstruct``.
    sequence : DualSequence
        The burst, with at least three valid HR frames.
    thin : int
        Use only every so many HR frames, so that gaps are longer still.

    Yields
    ------
    HeldOut
        One for each interior HR frame that has a valid LR frame within half a frame time of it.

    Raises
    ------
    ValueError
        If fewer than three HR frames are left.
    """
    usable = np.flatnonzero(sequence.hr_valid)[:: max(1, thin)]
    if len(usable) < _FEWEST:
        raise ValueError(
            f"leaving one HR frame out needs at least {_FEWEST} valid ones, this burst has "
            f"{len(usable)} of {sequence.n_hr} (every {thin}): record more, or use thin=1"
        )
    for parity in (0, 1):
        held = usable[1:-1][parity::2]
        by_target = _coincident(sequence, held)
        if not by_target:
            continue
        view = _without(sequence, np.setdiff1d(usable, held))
        for frame in reconstruct(view, sorted(by_target)):
            j = by_target[frame.target]
            place = int(np.searchsorted(usable, j))
            gap_ns = sequence.hr_time_ns[usable[place + 1]] - sequence.hr_time_ns[usable[place - 1]]
            yield HeldOut(
                hr_frame=j,
                target=frame.target,
                gap_frames=float(gap_ns / sequence.lr_interval_ns),
                image=frame.image,
                variance=frame.variance,
                truth=sequence.hr(j),
                mask=sequence.hr_mask(j),
                sequence=view,
            )


def scores(
    reconstruct: Reconstruct,
    sequence: DualSequence,
    normalisation: Normalisation | None = None,
    thin: int = 1,
    hr_noise_variance: float = 0.0,
) -> list[HeldOutScore]:
    """Leave each interior HR frame out and score the guess; parameters as above.

    Parameters
    ----------
    reconstruct, sequence, thin
        As for `leave_one_out`.
    normalisation : Normalisation, optional
        Declared range; default: the 0.35 and 99.65 percentiles of the HR frames.
    hr_noise_variance : float
        As for `HeldOutScore.of`.
    """
    limits = normalisation or Normalisation.from_percentiles(
        [sequence.hr(int(j)) for j in np.flatnonzero(sequence.hr_valid)]
    )
    found = [
        HeldOutScore.of(held, limits, hr_noise_variance)
        for held in leave_one_out(reconstruct, sequence, thin)
    ]
    return sorted(found, key=lambda each: each.hr_frame)


@dataclass(frozen=True, eq=False)
class HeldOutPass:
    """One run of a backend that has to guess HR frames.

    Parameters
    ----------
    sequence : DualSequence
        The burst as the backend gets it, without them.
    held : dict of int to int
        HR frame to guess by LR frame of its time, in order.
    """

    sequence: DualSequence
    held: dict[int, int]


def double_passes(sequence: DualSequence) -> tuple[HeldOutPass, ...]:
    """Return the runs in which every HR frame at the time of an LR frame is guessed once.

    XFusion's traversal ``double``: each is guessed from those before and after it among these
    frames alone. At both ends there is one on one side only; XFusion gives away the answer there.

    Parameters
    ----------
    sequence : DualSequence
        The burst.

    Returns
    -------
    tuple of HeldOutPass
        One without every other of these frames, one without the others.

    Raises
    ------
    ValueError
        There are fewer than two of them.
    """
    matched = _coincident(sequence, np.flatnonzero(sequence.hr_valid))
    if len(matched) < _FEWEST_DOUBLE:
        raise ValueError(
            f"the traversal 'double' needs at least {_FEWEST_DOUBLE} HR frames at the time of an "
            f"LR frame, this burst has {len(matched)}: use 'continuous', or record longer"
        )
    pairs = list(matched.items())
    return tuple(
        HeldOutPass(
            _without(sequence, np.array([j for _, j in pairs[1 - parity :: 2]], dtype=np.intp)),
            dict(pairs[parity::2]),
        )
        for parity in (0, 1)
    )


def coincident_frames(
    lr_time_ns: Float64Array, hr_time_ns: Float64Array, lr_valid: BoolArray, hr_valid: BoolArray
) -> dict[int, int]:
    """Return the HR frame taken at the time of an LR frame, by LR frame, in order.

    Parameters
    ----------
    lr_time_ns, hr_time_ns : (n_lr,), (n_hr,) float64
        Times on one clock, increasing.
    lr_valid, hr_valid : (n_lr,), (n_hr,) bool
        Frames that count.

    Returns
    -------
    dict of int to int
        Within half an LR frame time; the nearest where several HR frames are.
    """
    if len(lr_time_ns) < 2:
        return {}
    limit_ns = 0.5 * float(np.median(np.diff(lr_time_ns)))
    found: dict[int, tuple[float, int]] = {}
    for j in np.flatnonzero(hr_valid).tolist():
        away_ns = np.abs(lr_time_ns - hr_time_ns[j])
        i = int(np.argmin(away_ns))
        if away_ns[i] <= limit_ns and lr_valid[i]:
            found[i] = min(found.get(i, (np.inf, -1)), (float(away_ns[i]), j))
    return {i: found[i][1] for i in sorted(found)}


def _coincident(sequence: DualSequence, hr_frames: npt.NDArray[np.intp]) -> dict[int, int]:
    wanted = np.zeros(sequence.n_hr, dtype=np.bool_)
    wanted[hr_frames] = True
    return coincident_frames(sequence.lr_time_ns, sequence.hr_time_ns, sequence.lr_valid, wanted)


def _without(sequence: DualSequence, kept: npt.NDArray[np.intp]) -> DualSequence:
    hr_valid = np.zeros(sequence.n_hr, dtype=np.bool_)
    hr_valid[kept] = True
    h, w = sequence.lr_shape
    return DualSequence(
        _LRView(sequence),
        _HRView(sequence),
        sequence.lr_time_ns,
        sequence.hr_time_ns,
        lr_valid=sequence.lr_valid,
        hr_valid=hr_valid,
        noise=sequence.noise,
        pixel_map=PixelMap.nominal((h, w), sequence.shape),
    )


@dataclass(frozen=True, eq=False)
class _LRView:
    sequence: DualSequence

    @property
    def shape(self) -> tuple[int, int]:
        return self.sequence.lr_shape

    def __len__(self) -> int:
        return self.sequence.n_lr

    def frame(self, k: int) -> Float32Array:
        return self.sequence.lr(k)

    def mask(self, k: int) -> BoolArray:
        return self.sequence.lr_mask(k)


@dataclass(frozen=True, eq=False)
class _HRView:
    sequence: DualSequence

    @property
    def shape(self) -> tuple[int, int]:
        return self.sequence.shape

    def __len__(self) -> int:
        return self.sequence.n_hr

    def frame(self, k: int) -> Float32Array:
        return self.sequence.hr(k)

    def mask(self, k: int) -> BoolArray:
        return self.sequence.hr_mask(k)
