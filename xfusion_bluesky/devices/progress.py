"""A status that tells how far a burst is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ophyd import DeviceStatus


class BurstStatus(DeviceStatus):
    """Progress of one burst in frames handed over, for Bluesky's progress bars."""

    def __init__(self, device: Any, *, frames: int) -> None:
        # The worker behind it bounds every wait; the device is not a positioner to be stopped.
        super().__init__(device, call_stop_on_failure=False)
        self._frames = frames
        self._started = time.monotonic()

    def watch(self, func: Callable[..., None]) -> None:
        """Subscribe to progress."""
        self._watchers.append(func)

    def report(self, frames: int) -> None:
        """Tell the watchers how many frames have been handed over."""
        elapsed_s = time.monotonic() - self._started
        fraction = min(frames / self._frames, 1.0)
        for watcher in list(self._watchers):
            watcher(
                name=self.device.name,
                current=frames,
                initial=0,
                target=self._frames,
                unit="frames",
                precision=0,
                # Bluesky counts the fraction that is left.
                fraction=1.0 - fraction,
                time_elapsed=elapsed_s,
                time_remaining=elapsed_s * (1 - fraction) / fraction if fraction else None,
            )
