"""The order in which reconstructions are done: first come, first served, one a backend."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Schedule:
    """Threads that do tasks in the order in which they came, but never two of a lane at a time.

    A task whose lane is busy lets later ones of other lanes pass, so that a slow backend takes
    one thread and no more.

    Parameters
    ----------
    threads : int
        Tasks at a time.
    """

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[str, Callable[[], None]]] = []
        self._for_idle: list[tuple[str, Callable[[], None]]] = []
        self._busy: set[str] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"reconstruction {k}", daemon=True)
            for k in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, lane: str, task: Callable[[], None], *, when_idle: bool = False) -> None:
        """Add a task; after `close` it is dropped.

        Parameters
        ----------
        lane : str
            Never two tasks of a lane at a time.
        task : callable
            What to do.
        when_idle : bool
            Only when nothing else waits that could be done.
        """
        with self._changed:
            if not self._closed:
                (self._for_idle if when_idle else self._waiting).append((lane, task))
                self._changed.notify()

    def close(self) -> None:
        """Drop the tasks that have not begun; those that have go on."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._for_idle.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait, after `close`, for the tasks that have begun."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (found := self._take()) is not None:
            lane, task = found
            try:
                task()
            except Exception:  # noqa: BLE001 - the thread must outlive what it meets
                _LOG.exception("A task of %s failed", lane)
            finally:
                with self._changed:
                    self._busy.discard(lane)
                    self._changed.notify_all()

    def _take(self) -> tuple[str, Callable[[], None]] | None:
        with self._changed:
            while not self._closed:
                for tasks in (self._waiting, self._for_idle):
                    for k, (lane, _) in enumerate(tasks):
                        if lane not in self._busy:
                            self._busy.add(lane)
                            return tasks.pop(k)
                self._changed.wait()
            return None
