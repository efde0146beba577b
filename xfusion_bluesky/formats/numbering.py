"""Order and completeness of numbered files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from xfusion_bluesky.formats.errors import FormatError

__all__ = ["check_numbering", "natural_order"]

_DIGITS = re.compile(r"([0-9]+)")


def natural_order(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a key that sorts ``img_9`` before ``img_10``; zero-padded names sort as text does.

    Parameters
    ----------
    name : str
        File name.
    """
    parts = _DIGITS.split(name)
    return tuple(int(part) if k % 2 else part for k, part in enumerate(parts)), name


def check_numbering(stems: Sequence[str], where: str) -> None:
    """Refuse numbered files of which one is missing or there twice.

    The number is the one place of digits in which the names differ; names that differ otherwise
    are not numbered, and pass. Steps other than one pass when they are all alike.

    Parameters
    ----------
    stems : sequence of str
        Names without suffix, in order.
    where : str
        Folder, for the message.

    Raises
    ------
    FormatError
        A number is missing or double; the message says which.
    """
    if twice := _repeated(stems):
        raise FormatError(
            f"{where} holds two images of the name {twice}: take one out. Nothing was changed."
        )
    numbers = _numbers(stems)
    if len(numbers) < 3:
        return
    steps = [later - here for here, later in pairwise(numbers)]
    step = min(steps)
    if step == 0:
        number = numbers[steps.index(0)]
        raise FormatError(
            f"{where} holds two images of number {number}: take one out. Nothing was changed."
        )
    for here, width in zip(numbers, steps, strict=False):
        if width != step:
            raise FormatError(
                f"{where} has no image of number {here + step}: images before and after the gap "
                "would be taken for neighbours in time. Bring it back, or take out all images "
                "on one side of the gap, in both folders. Nothing was changed."
            )


def _numbers(stems: Sequence[str]) -> list[int]:
    """Return the number in each name, nothing where names are not numbered."""
    split = [_DIGITS.split(stem) for stem in stems]
    if len({tuple(parts[::2]) for parts in split}) != 1:
        return []
    columns = list(zip(*(parts[1::2] for parts in split), strict=True))
    varying = [column for column in columns if len({int(digits) for digits in column}) > 1]
    return [int(digits) for digits in varying[0]] if len(varying) == 1 else []


def _repeated(stems: Iterable[str]) -> str:
    seen: set[str] = set()
    for stem in stems:
        if stem in seen:
            return stem
        seen.add(stem)
    return ""
