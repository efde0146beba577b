"""What a simulated beamline is made of."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

SHIPPED_SCENE = Path(__file__).parent / "data" / "lpbf_wall.h5"


class Part(StrEnum):
    """Which devices of a beamline one IOC process serves."""

    ALL = "all"
    BEAM = "beam"
    """Shutter, sample stage and delay generator."""
    CAMERAS = "cameras"
    """Both cameras and their file plugins."""


class BeamlineConfig(BaseModel):
    """Settings of one simulated beamline, fixed for the life of its IOC.

    The model is also the JSON file that the IOC process is started with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = "XFSIM:"
    """First part of every PV name."""

    memory_folder: Path
    """Where the cameras keep their burst memory; survives the IOC. One beamline a folder."""

    scene: Path | None = None
    """HDF5 file with a dataset `frames` (n, H, W) that both cameras look at; None: shipped one."""

    frames: int | None = Field(default=None, ge=1)
    """Use only the first so many frames of the scene; None: all."""

    scene_interval_ns: float = Field(default=1000.0, gt=0)
    """Time between two frames of the scene, ns."""

    scene_start_ns: float = 250.0
    """True time after T0 at which frame 0 of the scene is centred, ns."""

    white_level: float | None = Field(default=None, gt=0)
    """Counts of the scene that mean transmission 1; None: the dataset's attribute
    `white_level`, else its 99.9 percentile."""

    blank_photons: float | None = Field(default=1e4, gt=0)
    """Photons per Shimadzu pixel and exposure at transmission 1; None: no noise."""

    time_scale: float = Field(default=0.05, gt=0, le=10)
    """Every real duration (arming, transfers, motion) is multiplied by this."""

    phantom_clock_offset_ns: float = 0.0
    """What the Phantom's clock adds to its frame times, ns."""

    shimadzu_clock_offset_ns: float = 0.0
    """What the Shimadzu's clock adds to its frame times, ns."""

    seed: int = Field(default=0, ge=0)
    """Seed of the noise; with the shot number it decides every pixel."""

    part: Part = Part.ALL
    """Which devices this process serves."""

    cable_port: int = Field(default=0, ge=0, le=65535)
    """Loopback UDP port on which the cameras' process hears of T0 from the beam's; 0: one process
    serves all, and no cable leaves it."""
