"""What a simulated beamline is made of."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

SHIPPED_SCENE = Path(__file__).parent / "data" / "lpbf_wall.h5"


class Part(StrEnum):
    """Which devices of a beamline one IOC process serves."""

    ALL = "all"
    BEAM = "beam"
    """Shutter, sample stage and delay generator."""
    CAMERAS = "cameras"
    """Both cameras and their file plugins."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OpticsConfig(_Settings):
    """How a camera looks at the scene; by default straight at its middle."""

    rotation_deg: float = 0.0
    """Of the camera against the scene, counted from rows to columns."""

    scale: float = Field(default=1.0, gt=0.1, lt=10)
    """Side of its pixels in units of the ideal one's; 1.01 sees 1 % more of the scene."""

    anisotropy: float = Field(default=0.0, gt=-0.5, lt=0.5)
    """Share by which pixels are larger along a column than along a row."""

    shear: float = Field(default=0.0, gt=-0.5, lt=0.5)
    """Scene rows for each scene column."""

    shift_px: tuple[float, float] = (0.0, 0.0)
    """(row, column) of the scene from its middle, to which the middle of the sensor looks."""

    mirrored: bool = False
    """Whether left and right are exchanged."""

    radial_per_px2: float = Field(default=0.0, gt=-1e-5, lt=1e-5)
    """Distortion k: what belongs at distance r from the middle of the sensor falls on
    r (1 + k r^2), in the camera's pixels."""

    psf_sigma_px: float = Field(default=0.0, ge=0, le=20)
    """Gaussian blur of lens and scintillator, in scene pixels."""


class DetectorConfig(_Settings):
    """What a sensor adds to the light; by default nothing. Patterns are rms over pixels."""

    blank_counts: float | None = Field(default=None, gt=0)
    """Counts of a pixel at transmission 1, above the dark; None: 3600 (Phantom), 900 (Shimadzu)."""

    read_noise_counts: float = Field(default=0.0, ge=0)
    """Standard deviation of a pixel in the dark."""

    gain_pattern: float = Field(default=0.0, ge=0, lt=0.5)
    """Of the pixels' gains, as a share."""

    offset_pattern: float = Field(default=0.0, ge=0, lt=0.5)
    """Of the pixels' offsets, as a share of the blank counts."""

    cell_gain_pattern: float = Field(default=0.0, ge=0, lt=0.5)
    """As `gain_pattern`, different in every storage cell: frame k of a burst uses cell k."""

    cell_offset_pattern: float = Field(default=0.0, ge=0, lt=0.5)
    """As `offset_pattern`, different in every storage cell."""

    hot_pixels: int = Field(default=0, ge=0)
    """Pixels that are always at full scale."""

    dead_pixels: int = Field(default=0, ge=0)
    """Pixels that see nothing."""

    first_frame_excess: float = Field(default=0.0, gt=-1)
    """Share by which the first frame of a burst is too bright."""


class MeshConfig(_Settings):
    """The copper mesh on the mesh stage; by default G400."""

    pitch_um: float = Field(default=62.0, gt=0)
    """From hole to hole; makers and papers also give 63.5."""

    hole_um: float = Field(default=37.0, gt=0)
    """Side of a hole; the rest of the pitch is the bar."""

    thickness_um: float = Field(default=20.0, ge=0)
    """Of the copper."""

    broken_share: float = Field(default=0.01, ge=0, le=1)
    """Share of cells that have lost their bars."""

    filled_share: float = Field(default=0.005, ge=0, le=1)
    """Share of cells without a hole."""

    irregularity: float = Field(default=0.0, ge=0, le=0.2)
    """Standard deviation of the holes' sides, as a share."""

    position_error_um: float = Field(default=1.0, ge=0)
    """How far the stage misses where it says it is."""

    rotation_error_deg: float = Field(default=0.01, ge=0)
    """By how much the stage misses the angle it says."""


class ScintillatorConfig(_Settings):
    """What lies on the scintillator, in front of both cameras; by default nothing."""

    specks: int = Field(default=0, ge=0)
    """Grains of dust, 3 to 8 scene pixels wide."""

    scratches: int = Field(default=0, ge=0)
    """Fine straight lines."""


class FlickerConfig(_Settings):
    """Flicker of the beam, seen by both cameras; by default none."""

    rms: float = Field(default=0.0, ge=0, lt=0.3)
    """Of the intensity, as a share."""

    correlation_ns: float = Field(default=2000.0, gt=0)
    """Standard deviation of its autocorrelation, which is a Gaussian."""


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

    phantom_clock_drift_ppm: float = Field(default=0.0, gt=-1e5, lt=1e5)
    """By how much the Phantom's clock runs fast, counted from its trigger."""

    shimadzu_clock_drift_ppm: float = Field(default=0.0, gt=-1e5, lt=1e5)
    """By how much the Shimadzu's clock runs fast, counted from its trigger."""

    scene_pixel_um: float = Field(default=2.5, gt=0)
    """Side of a scene pixel; it tells how large mesh and slits are."""

    phantom_shape: tuple[int, int] | None = None
    """Rows and columns of the Phantom's sensor; None: those of the scene."""

    phantom_blank_photons: float | None = Field(default=None, gt=0)
    """Photons per Phantom pixel and exposure at transmission 1; None: no noise."""

    phantom_optics: OpticsConfig = OpticsConfig()

    shimadzu_optics: OpticsConfig = OpticsConfig()

    phantom_detector: DetectorConfig = DetectorConfig()

    shimadzu_detector: DetectorConfig = DetectorConfig()

    mesh: MeshConfig = MeshConfig()

    scintillator: ScintillatorConfig = ScintillatorConfig()

    flicker: FlickerConfig = FlickerConfig()

    seed: int = Field(default=0, ge=0)
    """Seed of noise, patterns, dust, flicker and mesh; with the shot number it decides every
    pixel."""

    part: Part = Part.ALL
    """Which devices this process serves."""

    cable_port: int = Field(default=0, ge=0, le=65535)
    """Loopback UDP port on which the cameras' process hears of T0 from the beam's; 0: one process
    serves all, and no cable leaves it."""

    @classmethod
    def realistic(cls, memory_folder: Path, **overrides: Any) -> Self:
        """Two cameras that must be calibrated: turned, mirrored, blurred, noisy, out of step.

        Parameters
        ----------
        memory_folder : Path
        **overrides
            Any other settings.
        """
        settings: dict[str, Any] = {
            "phantom_shape": (160, 448),
            "phantom_blank_photons": 2e4,
            "phantom_optics": OpticsConfig(
                rotation_deg=0.8,
                scale=1.01,
                anisotropy=0.006,
                shear=0.002,
                shift_px=(1.7, -2.4),
                mirrored=True,
                psf_sigma_px=0.6,
            ),
            # Light behind the mesh has rims twice as bright as the beam; they must fit.
            "phantom_detector": DetectorConfig(
                blank_counts=1800,
                read_noise_counts=6,
                gain_pattern=0.01,
                offset_pattern=0.002,
                hot_pixels=6,
                dead_pixels=6,
            ),
            "shimadzu_optics": OpticsConfig(
                rotation_deg=0.3, shift_px=(0.9, 1.3), psf_sigma_px=1.0
            ),
            "shimadzu_detector": DetectorConfig(
                blank_counts=600,
                read_noise_counts=1,
                gain_pattern=0.02,
                offset_pattern=0.005,
                cell_gain_pattern=0.02,
                cell_offset_pattern=0.002,
                hot_pixels=2,
                dead_pixels=2,
            ),
            "shimadzu_clock_offset_ns": 130.0,
            "shimadzu_clock_drift_ppm": 2.0,
            "scintillator": ScintillatorConfig(specks=25, scratches=4),
            "flicker": FlickerConfig(rms=0.003),
        }
        return cls(memory_folder=memory_folder, **{**settings, **overrides})
