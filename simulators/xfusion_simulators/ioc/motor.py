"""What makes a motor record move."""

import asyncio
from typing import Any

STEPS = 10


class Drive:
    """The motor behind one motor record.

    Parameters
    ----------
    record : PvpropertyData
        Of kind motor.
    limits : (float, float)
        Soft limits, in the record's units.
    speed : float
        Units per second.
    time_scale : float
        Every real duration is multiplied by this.
    """

    def __init__(
        self, record: Any, limits: tuple[float, float], speed: float, time_scale: float
    ) -> None:
        self._record = record
        self._limits = limits
        self._speed = speed
        self._time_scale = time_scale
        self._moving: asyncio.Task[None] | None = None

    @property
    def position(self) -> float:
        """Where the motor is, by its encoder."""
        return float(self._record.field_inst.user_readback_value.value)

    async def prepare(self, units: str) -> None:
        """Make the record move when it is put to; the motor stands where the record says."""
        record, fields = self._record, self._record.field_inst
        low, high = self._limits
        await record.write_metadata(lower_ctrl_limit=low, upper_ctrl_limit=high)
        await fields.user_low_limit.write(low)
        await fields.user_high_limit.write(high)
        await fields.velocity.write(self._speed)
        await fields.engineering_units.write(units)
        await self._show(float(record.value))
        await fields.done_moving_to_value.write(1)
        fields.value_write_hook = self._go

    async def _go(self, instance: Any, goal: float) -> None:
        if self._moving is not None:
            self._moving.cancel()
        fields = self._record.field_inst
        # A stop of a motor at rest has nothing to stop; it must not end the next move.
        await fields.stop.write(0)
        await fields.done_moving_to_value.write(0)
        await fields.motor_is_moving.write(1)
        self._moving = asyncio.get_running_loop().create_task(self._travel(float(goal)))

    async def _travel(self, goal: float) -> None:
        fields = self._record.field_inst
        start = self.position
        speed = max(float(fields.velocity.value), 1e-6)
        step_s = abs(goal - start) / speed * self._time_scale / STEPS
        for step in range(1, STEPS + 1):
            await asyncio.sleep(step_s)
            position = start + (goal - start) * step / STEPS
            await self._show(position)
            if fields.stop.value:
                await fields.stop.write(0)
                await self._record.write(position, verify_value=False, update_fields=False)
                break
        await fields.motor_is_moving.write(0)
        await fields.done_moving_to_value.write(1)

    async def _show(self, position: float) -> None:
        fields = self._record.field_inst
        await fields.user_readback_value.write(position)
        await fields.dial_readback_value.write(position)
