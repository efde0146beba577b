"""What stands in the beam for a calibration only: the mesh on its stage, and the slits."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import Device, EpicsMotor


class MeshStage(Device):
    """Three motors that carry a calibration mesh into the beam and turn it there.

    The calibration does not trust these positions: they only say what to expect.
    """

    x = Cpt(EpicsMotor, "X", labels={"motors"})
    """Across the beam, mm; also takes the mesh out."""
    y = Cpt(EpicsMotor, "Y", labels={"motors"})
    """Up, mm."""
    rotation = Cpt(EpicsMotor, "ROT", labels={"motors"})
    """About the beam, degrees."""


class Slits(Device):
    """Beam-defining slits, mm."""

    x_size = Cpt(EpicsMotor, "XSIZE", labels={"motors"})
    y_size = Cpt(EpicsMotor, "YSIZE", labels={"motors"})
    x_center = Cpt(EpicsMotor, "XCENTER", labels={"motors"})
    y_center = Cpt(EpicsMotor, "YCENTER", labels={"motors"})
