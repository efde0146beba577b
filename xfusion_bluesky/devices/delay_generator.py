"""The DG645 delay generator that triggers both cameras from one T0."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, Kind

from .waiting import put, put_and_confirm, read

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

    def prepare(self) -> None:
        """Make the generator wait for one shot on command, inhibited until `fire`."""
        put_and_confirm(self.inhibit, INHIBIT_TRIGGERS)
        put_and_confirm(self.source, SINGLE_SHOT)

    def fire(self) -> None:
        """Send one trigger, and inhibit again."""
        put_and_confirm(self.inhibit, NOT_INHIBITED)
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
