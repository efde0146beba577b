"""Shutter, slits, mesh stage and sample stage: what stands in the beam."""

import asyncio
from typing import Any

import numpy as np
from caproto.server import PVGroup, pvproperty

from ..configuration import MeshConfig
from ..mesh import MeshPose
from ..slits import SlitOpening
from .motor import Drive
from .records import reading, setting

SHUTTER_LAG_S = 0.5
SAMPLE_OUT_MM = 5.0
MESH_OUT_MM = 10.0
MESH_PARKED_MM = 15.0
SLITS_WIDE_OPEN_MM = 10.0
SPEED_MM_PER_S = 5.0
SPEED_DEG_PER_S = 10.0
TRAVEL_MM = (-25.0, 25.0)
TURN_DEG = (-180.0, 180.0)
MM_TO_UM = 1000.0


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


def motor(name: str, value: float, units: str) -> Any:
    """Make a motor record."""
    return pvproperty(name=name, value=value, record="motor", precision=4, units=units)


class SampleStage(PVGroup):
    """``SAMPLE:``, one motor record (mm) that carries the sample across the beam."""

    x = pvproperty(name="X", value=0.0, record="motor", precision=3, units="mm")

    def __init__(self, prefix: str, time_scale: float) -> None:
        super().__init__(prefix)
        self._drive = Drive(self.x, TRAVEL_MM, SPEED_MM_PER_S, time_scale)

    @property
    def sample_in(self) -> bool:
        """Whether the sample stands in the beam."""
        return abs(self._drive.position) < SAMPLE_OUT_MM

    async def prepare(self) -> None:
        """Make the record move when it is put to."""
        await self._drive.prepare("mm")


class MeshStage(PVGroup):
    """``MESH:``, motor records that carry and turn the calibration mesh; parked at start."""

    x = motor("X", MESH_PARKED_MM, "mm")
    y = motor("Y", 0.0, "mm")
    rotation = motor("ROT", 0.0, "deg")

    def __init__(self, prefix: str, config: MeshConfig, seed: int, time_scale: float) -> None:
        super().__init__(prefix)
        self._config = config
        self._seed = seed
        self._x, self._y = (
            Drive(record, TRAVEL_MM, SPEED_MM_PER_S, time_scale) for record in (self.x, self.y)
        )
        self._rotation = Drive(self.rotation, TURN_DEG, SPEED_DEG_PER_S, time_scale)

    @property
    def pose(self) -> MeshPose | None:
        """Where the mesh truly stands, which is nearly what the records say; None: out."""
        if abs(self._x.position) >= MESH_OUT_MM:
            return None
        return stage_pose(
            self._x.position, self._y.position, self._rotation.position, self._config, self._seed
        )

    async def prepare(self) -> None:
        """Make the records move when they are put to."""
        await self._x.prepare("mm")
        await self._y.prepare("mm")
        await self._rotation.prepare("deg")


def stage_pose(
    x_mm: float, y_mm: float, rotation_deg: float, config: MeshConfig, seed: int
) -> MeshPose:
    """Pose of the mesh where the stage says it is; the same again at the same place.

    Parameters
    ----------
    x_mm, y_mm : float
        Along columns and along rows.
    rotation_deg : float
    config : MeshConfig
        How well the stage is made.
    seed : int
        Of its errors.
    """
    # In nanometres and microdegrees, made positive: a seed is a list of natural numbers.
    place = [round(each * 1e6) + (1 << 40) for each in (x_mm, y_mm, rotation_deg)]
    errors = np.random.default_rng([seed, *place]).standard_normal(3)
    return MeshPose(
        row_um=y_mm * MM_TO_UM + config.position_error_um * float(errors[0]),
        column_um=x_mm * MM_TO_UM + config.position_error_um * float(errors[1]),
        rotation_deg=rotation_deg + config.rotation_error_deg * float(errors[2]),
    )


class SlitBlades(PVGroup):
    """``SLITS:``, motor records (mm) of the beam-defining slits; wide open at start."""

    x_size = motor("XSIZE", SLITS_WIDE_OPEN_MM, "mm")
    y_size = motor("YSIZE", SLITS_WIDE_OPEN_MM, "mm")
    x_centre = motor("XCENTER", 0.0, "mm")
    y_centre = motor("YCENTER", 0.0, "mm")

    def __init__(self, prefix: str, time_scale: float) -> None:
        super().__init__(prefix)
        size, centre = (0.0, SLITS_WIDE_OPEN_MM), (-SLITS_WIDE_OPEN_MM / 2, SLITS_WIDE_OPEN_MM / 2)
        self._drives = [
            Drive(record, limits, SPEED_MM_PER_S, time_scale)
            for record, limits in (
                (self.y_size, size),
                (self.x_size, size),
                (self.y_centre, centre),
                (self.x_centre, centre),
            )
        ]

    @property
    def opening(self) -> SlitOpening | None:
        """What the slits leave open; None: they are wide open."""
        rows, columns, row, column = (drive.position for drive in self._drives)
        if rows == columns == SLITS_WIDE_OPEN_MM and row == column == 0:
            return None
        return SlitOpening(*(MM_TO_UM * each for each in (rows, columns, row, column)))

    async def prepare(self) -> None:
        """Make the records move when they are put to."""
        for drive in self._drives:
            await drive.prepare("mm")
