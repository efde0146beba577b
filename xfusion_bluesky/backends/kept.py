"""A small memory of things that are costly to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["LastUsed"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LastUsed(Generic[K, V]):
    """Keeps the values used last and makes the others anew, always from their key alone.

    Parameters
    ----------
    make : callable
        Makes the value of a key; the same one every time, whatever is kept.
    capacity : int
        Values kept.
    """

    def __init__(self, make: Callable[[K], V], capacity: int) -> None:
        self._make, self._capacity = make, capacity
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V:
        """Return the value of `key`."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        while len(self._values) >= self._capacity:
            # Before another is made: they are large.
            self._values.popitem(last=False)
        value = self._make(key)
        self._values[key] = value
        return value
