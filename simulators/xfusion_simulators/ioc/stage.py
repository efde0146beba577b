"""The shutter and the sample stage: what stands in the beam."""

import asyncio
from typing import Any

from caproto.server import PVGroup, pvproperty

from .records import reading, setting

SHUTTER_LAG_S = 0.5
SAMPLE_OUT_MM = 5.0
SPEED_MM_PER_S = 5.0
TRAVEL_MM = 25.0
STEPS = 10


class Shutter(PVGroup):
    """``SHUTTER:`` records; closed at start."""

    async def _put_open(self, value: str) -> str:
        return await self._move(value, "Open")

    async def _put_close(self, value: str) -> str:
        return await self._move(value, "Closed")

    open = setting("Open", "Idle", choices=("Idle", "Move"), on_put=_put_open)
    close = setting("Close", "Idle", choices=("Idle", "Move"), on_put=_put_close)
    status = reading("Status_RBV", "Closed", choices=("Closed", "Open"))

    def __init__(self, prefix: str, time_scale: float) -> None:
        super().__init__(prefix)
        self._time_scale = time_scale
        self._moving: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether light passes."""
        return bool(self.status.value == "Open")

    async def _move(self, value: str, goal: str) -> str:
        if value == "Move":
            # The last command wins, as with a real shutter.
            if self._moving is not None:
                self._moving.cancel()
            self._moving = asyncio.get_running_loop().create_task(self._arrive(goal))
        return value

    async def _arrive(self, goal: str) -> None:
        await asyncio.sleep(SHUTTER_LAG_S * self._time_scale)
        await self.status.write(goal)


class SampleStage(PVGroup):
    """``SAMPLE:``, one motor record (mm) that carries the sample across the beam."""

    x = pvproperty(name="X", value=0.0, record="motor", precision=3, units="mm")

    def __init__(self, prefix: str, time_scale: float) -> None:
        super().__init__(prefix)
        self._time_scale = time_scale
        self._moving: asyncio.Task[None] | None = None

    @property
    def sample_in(self) -> bool:
        """Whether the sample stands in the beam."""
        return abs(float(self.x.field_inst.user_readback_value.value)) < SAMPLE_OUT_MM

    async def prepare(self) -> None:
        """Make the record move when it is put to."""
        fields = self.x.field_inst
        await self.x.write_metadata(lower_ctrl_limit=-TRAVEL_MM, upper_ctrl_limit=TRAVEL_MM)
        await fields.user_low_limit.write(-TRAVEL_MM)
        await fields.user_high_limit.write(TRAVEL_MM)
        await fields.velocity.write(SPEED_MM_PER_S)
        await fields.engineering_units.write("mm")
        await fields.done_moving_to_value.write(1)
        fields.value_write_hook = self._go

    async def _go(self, instance: Any, goal: float) -> None:
        if self._moving is not None:
            self._moving.cancel()
        fields = self.x.field_inst
        # A stop of a motor at rest has nothing to stop; it must not end the next move.
        await fields.stop.write(0)
        await fields.done_moving_to_value.write(0)
        await fields.motor_is_moving.write(1)
        self._moving = asyncio.get_running_loop().create_task(self._travel(float(goal)))

    async def _travel(self, goal: float) -> None:
        fields = self.x.field_inst
        start = float(fields.user_readback_value.value)
        speed = max(float(fields.velocity.value), 1e-6)
        step_s = abs(goal - start) / speed * self._time_scale / STEPS
        for step in range(1, STEPS + 1):
            await asyncio.sleep(step_s)
            position = start + (goal - start) * step / STEPS
            await fields.user_readback_value.write(position)
            await fields.dial_readback_value.write(position)
            if fields.stop.value:
                await fields.stop.write(0)
                await self.x.write(position, verify_value=False, update_fields=False)
                break
        await fields.motor_is_moving.write(0)
        await fields.done_moving_to_value.write(1)
