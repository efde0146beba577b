"""The DG645 as the synApps database shows it; it can fire single shots."""

from collections.abc import Awaitable, Callable

from caproto.server import PVGroup, SubGroup

from ..delay_generator import CHANNELS, DelayGenerator
from .records import reading, setting

REFERENCES = ("T0", *CHANNELS)
SOURCES = (
    "Internal",
    "Ext rising edge",
    "Ext falling edge",
    "SS ext rise edge",
    "SS ext fall edge",
    "Single shot",
    "Line",
)
INHIBITS = ("Off", "Triggers", "AB", "AB,CD", "AB,CD,EF", "AB,CD,EF,GH")
DISABLE_ENABLE = ("Disable", "Enable")
DISABLED_ENABLED = ("Disabled", "Enabled")
LONGEST_DELAY_S = 2000.0


class Channel(PVGroup):
    """One of the channels A..H: its delay and what the delay counts from."""

    async def _put_delay(self, value: float) -> float:
        accepted = min(max(value, 0.0), LONGEST_DELAY_S)
        self.delays.delay_s[self.letter] = accepted
        await self.delay_readback.write(accepted)
        return accepted

    async def _put_reference(self, value: str) -> str:
        try:
            self.delays.refer(self.letter, value)
        except ValueError as error:
            await self.parent.show_status(1, "Reference refused: circular")
            self.log.warning("%s", error)
            return self.delays.reference[self.letter]
        await self.reference_readback.write(value)
        return value

    delay = setting("DelayAO", 0.0, on_put=_put_delay, precision=12)
    delay_readback = reading("DelayAI", 0.0, precision=12)
    reference = setting("ReferenceMO", "T0", choices=REFERENCES, on_put=_put_reference)
    reference_readback = reading("ReferenceMI", "T0", choices=REFERENCES)

    @property
    def letter(self) -> str:
        """Name of the channel."""
        return str(self.prefix[-1])

    @property
    def delays(self) -> DelayGenerator:
        """The model that all channels share."""
        delays: DelayGenerator = self.parent.delays
        return delays


class SimulationGroup(PVGroup):
    """``DG645:SIM:`` records."""

    shot_count = reading("ShotCount_RBV", 0)


class DelayGeneratorGroup(PVGroup):
    """``DG645:`` records. A shot is handed to `on_fire`, which the beamline sets."""

    async def _put_source(self, value: str) -> str:
        await self.source_readback.write(value)
        return value

    async def _put_inhibit(self, value: str) -> str:
        await self.inhibit_readback.write(value)
        return value

    async def _put_burst_mode(self, value: str) -> str:
        await self.burst_mode_readback.write(f"{value}d")
        return value

    async def _put_burst_count(self, value: int) -> int:
        accepted = max(1, int(value))
        await self.burst_count_readback.write(accepted)
        return accepted

    async def _put_burst_period(self, value: float) -> float:
        await self.burst_period_readback.write(value)
        return value

    async def _put_burst_delay(self, value: float) -> float:
        await self.burst_delay_readback.write(value)
        return value

    async def _clear_status(self, value: str) -> str:
        await self.show_status(0, "OK")
        return value

    async def _put_fire(self, value: str) -> str:
        if value != "Trigger":
            return value
        if self.source.value != "Single shot":
            await self.show_status(2, "Ignored: source is not Single shot")
        elif self.inhibit.value != "Off":
            await self.show_status(3, "Ignored: triggers are inhibited")
        else:
            await self.show_status(0, "OK")
            await self.simulation.shot_count.write(self.simulation.shot_count.value + 1)
            await self.on_fire(self.simulation.shot_count.value)
        return value

    a = SubGroup(Channel, prefix="A")
    b = SubGroup(Channel, prefix="B")
    c = SubGroup(Channel, prefix="C")
    d = SubGroup(Channel, prefix="D")
    e = SubGroup(Channel, prefix="E")
    f = SubGroup(Channel, prefix="F")
    g = SubGroup(Channel, prefix="G")
    h = SubGroup(Channel, prefix="H")
    simulation = SubGroup(SimulationGroup, prefix="SIM:")

    label = setting("Label", "Simulated DG645")
    ident = reading("IdentSI", "xfusion-simulators,DG645,s/nSIM,ver0.1")
    status_code = reading("StatusLI", 0)
    status_text = reading("StatusSI", "OK")
    status_clear = setting("StatusClearBO", "Idle", choices=("Idle", "Clear"), on_put=_clear_status)
    event_status = reading("EventStatusLI", 0)
    source = setting("TriggerSourceMO", "Single shot", choices=SOURCES, on_put=_put_source)
    source_readback = reading("TriggerSourceMI", "Single shot", choices=SOURCES)
    inhibit = setting("TriggerInhibitMO", "Off", choices=INHIBITS, on_put=_put_inhibit)
    inhibit_readback = reading("TriggerInhibitMI", "Off", choices=INHIBITS)
    fire = setting("TriggerDelayBO", "Idle", choices=("Idle", "Trigger"), on_put=_put_fire)
    burst_mode = setting("BurstModeBO", "Disable", choices=DISABLE_ENABLE, on_put=_put_burst_mode)
    burst_mode_readback = reading("BurstModeBI", "Disabled", choices=DISABLED_ENABLED)
    burst_count = setting("BurstCountLO", 1, on_put=_put_burst_count)
    burst_count_readback = reading("BurstCountLI", 1)
    burst_period = setting("BurstPeriodAO", 1.0, on_put=_put_burst_period, precision=12)
    burst_period_readback = reading("BurstPeriodAI", 1.0, precision=12)
    burst_delay = setting("BurstDelayAO", 0.0, on_put=_put_burst_delay, precision=12)
    burst_delay_readback = reading("BurstDelayAI", 0.0, precision=12)

    def __init__(self, prefix: str, on_fire: Callable[[int], Awaitable[None]]) -> None:
        self.delays = DelayGenerator()
        self.on_fire = on_fire
        super().__init__(prefix)

    async def show_status(self, code: int, text: str) -> None:
        """Show what the instrument thinks of the last command; 0 is good."""
        await self.status_code.write(code)
        await self.status_text.write(text)
