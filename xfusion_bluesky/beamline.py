"""The instrument of one configuration: RunEngine, devices, and the callback that reconstructs."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .catalog import Catalog, CatalogError
from .configuration import Configuration

if TYPE_CHECKING:
    from bluesky import RunEngine
    from ophyd import Device, EpicsMotor

    from .devices.dual import DualCamera
    from .devices.mesh import MeshStage
    from .devices.shutter import Shutter

CONNECTION_LIMIT_S = 15.0
_LOG = logging.getLogger(__name__)


class BeamlineAway(ConnectionError):
    """The instrument does not answer; the message names the PV and says what to do."""


@dataclass(frozen=True)
class Devices:
    """The devices of a configuration, connected or not.

    Parameters
    ----------
    dual : DualCamera
        Both cameras as one detector.
    shutter : Shutter
        Beam shutter.
    sample : EpicsMotor
        Stage that takes the sample out of the beam.
    mesh : MeshStage or None
        Stage of the calibration mesh, where the beamline has one.
    """

    dual: DualCamera
    shutter: Shutter
    sample: EpicsMotor
    mesh: MeshStage | None

    def all(self) -> tuple[Device, ...]:
        """Return the devices that this beamline has."""
        return (self.dual, self.shutter, self.sample, *([] if self.mesh is None else [self.mesh]))


@dataclass(frozen=True)
class Beamline:
    """What an operator has in hand.

    Parameters
    ----------
    RE : RunEngine
        With the reconstruction callback subscribed; plans return their result.
    dual, shutter, sample, mesh
        As in `Devices`.
    configuration : Configuration
        Which it was made from.
    """

    RE: RunEngine
    dual: DualCamera
    shutter: Shutter
    sample: EpicsMotor
    mesh: MeshStage | None
    configuration: Configuration
    _catalogs: list[Catalog] = field(default_factory=list, repr=False, compare=False)

    @property
    def catalog(self) -> Catalog | None:
        """The runs in Tiled; None, with a warning, while it is away: plans do not need it."""
        if not self._catalogs:
            from .processing.service import connect_catalog

            try:
                self._catalogs.append(connect_catalog(self.configuration))
            except CatalogError as error:
                _LOG.warning("No catalogue, plans work without: %s", error)
                return None
        return self._catalogs[0]

    def close(self) -> None:
        """Close the connections to Tiled; the devices stay connected."""
        while self._catalogs:
            self._catalogs.pop().close()


def make_devices(configuration: Configuration) -> Devices:
    """Make the devices of a configuration, without waiting for their PVs.

    Call it after the EPICS environment variables are set. The control layer is caproto unless
    ``OPHYD_CONTROL_LAYER`` says otherwise.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    """
    import ophyd

    if "OPHYD_CONTROL_LAYER" not in os.environ:
        ophyd.set_cl("caproto")

    from .devices.delay_generator import DelayGenerator
    from .devices.dual import DualCamera
    from .devices.mesh import MeshStage
    from .devices.phantom import PhantomCamera
    from .devices.shimadzu import ShimadzuCamera
    from .devices.shutter import Shutter

    prefixes = configuration.devices
    dual = DualCamera(
        PhantomCamera(prefixes.phantom, name="phantom"),
        ShimadzuCamera(prefixes.shimadzu, name="shimadzu"),
        DelayGenerator(prefixes.delay_generator, name="delay_generator"),
        folder=configuration.folders.raw,
        name="dual",
    )
    shutter = Shutter(prefixes.shutter, name="shutter")
    sample = ophyd.EpicsMotor(prefixes.sample, name="sample", labels={"motors"})
    mesh = MeshStage(prefixes.mesh, name="mesh") if prefixes.mesh else None
    return Devices(dual, shutter, sample, mesh)


def connect_beamline(
    configuration: Configuration, *, limit_s: float = CONNECTION_LIMIT_S
) -> Beamline:
    """Make the devices of a configuration, connect them, and subscribe the callback.

    Call it after the EPICS environment variables are set, see `make_devices`.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    limit_s : float
        Longest wait for a device, in s.

    Raises
    ------
    BeamlineAway
        When a PV does not answer in time.
    """
    from bluesky import RunEngine

    from .processing.callback import ReconstructionCallback

    devices = make_devices(configuration)
    for device in devices.all():
        try:
            device.wait_for_connection(timeout=limit_s)
        except TimeoutError as error:
            raise BeamlineAway(
                f"{device.name} did not connect within {limit_s:g} s: {_first(str(error))}. Check "
                "that its IOC runs ('xfusion-bluesky sim start' starts simulated ones), the prefix "
                "in [devices] of the configuration, and EPICS_CA_ADDR_LIST; 'xfusion-bluesky "
                "doctor' looks at everything. Nothing was changed."
            ) from error
    engine = RunEngine({}, call_returns_result=True)
    engine.subscribe(ReconstructionCallback(configuration.folders.journal))
    return Beamline(
        engine, devices.dual, devices.shutter, devices.sample, devices.mesh, configuration
    )


def _first(reason: str) -> str:
    # ophyd lists every signal of the device: thirty names say no more than the first.
    first, *others = reason.split(", ")
    return f"{first} and {len(others)} more" if others else first
