"""The DG645 delay generator that triggers both cameras from one T0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, Kind

from .waiting import put, put_and_confirm, read
from .work import Work

SINGLE_SHOT = "Single shot"
NOT_INHIBITED = "Off"
INHIBIT_TRIGGERS = "Triggers"


class DelayGenerator(Device):
    """Stanford DG645 through synApps ``drvDG645.db``; channel A drives output AB, C drives CD."""

    delay_a_s = Cpt(EpicsSignal, "ADelayAI", write_pv="ADelayAO", kind=Kind.config)
    delay_c_s = Cpt(EpicsSignal, "CDelayAI", write_pv="CDelayAO", kind=Kind.config)
    source = Cpt(
        EpicsSignal, "TriggerSourceMI", write_pv="TriggerSourceMO", string=True, kind=Kind.config
    )
    inhibit = Cpt(
        EpicsSignal, "TriggerInhibitMI", write_pv="TriggerInhibitMO", string=True, kind=Kind.omitted
    )
    fire_command = Cpt(EpicsSignal, "TriggerDelayBO", kind=Kind.omitted)

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        kwargs.setdefault("labels", {"timing"})
        super().__init__(prefix, name=name, **kwargs)

    def set(self, delay_ns: Mapping[str, float]) -> DeviceStatus:
        """Set delays after T0, for ``bluesky.plan_stubs.abs_set``.

        Parameters
        ----------
        delay_ns : mapping
            Delay in ns of channel ``"a"``, ``"c"`` or both.

        Returns
        -------
        DeviceStatus
            Done when the readbacks agree; fails within 5 s for each when the generator refuses.
        """
        signals = {"a": self.delay_a_s, "c": self.delay_c_s}
        status = DeviceStatus(self)

        def put_all(_: object) -> None:
            for channel, delay in delay_ns.items():
                put_and_confirm(signals[channel], delay * 1e-9)

        Work(status, put_all, name=f"{self.name}-delays")
        return status

    def prepare(self) -> None:
        """Make the generator wait for one shot on command, inhibited until then."""
        put_and_confirm(self.inhibit, INHIBIT_TRIGGERS)
        put_and_confirm(self.source, SINGLE_SHOT)

    def allow_triggers(self) -> None:
        """Let the next trigger out."""
        put_and_confirm(self.inhibit, NOT_INHIBITED)

    def fire(self) -> None:
        """Send one trigger, and inhibit again."""
        try:
            put(self.fire_command, 1)
        finally:
            self.inhibit_triggers()

    def inhibit_triggers(self) -> None:
        """Let no trigger out."""
        put_and_confirm(self.inhibit, INHIBIT_TRIGGERS)

    def trigger_delay_ns(self, channel: str) -> float:
        """Return the delay of channel 'a' or 'c' after T0, in ns (the generator's step is 5 ps)."""
        seconds = {"a": self.delay_a_s, "c": self.delay_c_s}[channel]
        return round(float(read(seconds)) * 1e9, 3)
