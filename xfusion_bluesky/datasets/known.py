"""The public data sets."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DATASETS", "Dataset", "UnknownDatasetError", "find"]

_HOST = "https://g-a0400.fd635.8443.data.globus.org"
_CITATION = (
    "XradFusion at TomoBank, https://tomobank.readthedocs.io; F. De Carlo et al., Meas. Sci. "
    "Technol. 29 (2018) 034004"
)
_MB = 1_000_000


class UnknownDatasetError(LookupError):
    """There is no data set of this name."""


@dataclass(frozen=True)
class Dataset:
    """An archive on the network that holds the folders ``LR`` and ``HR``.

    Parameters
    ----------
    id : str
        Its name.
    title : str
        What it shows.
    url : str
        Of a zip archive.
    lr_shape, hr_shape : (int, int)
        Height and width of the images, px.
    frames : int
        Images of each camera.
    frame_rate_hz : float
        Of both.
    lr_pixel_um, hr_pixel_um : float
        Size of a pixel.
    licence : str
        As far as it is known.
    citation : str
        Whom to thank.
    sha256 : str or None
        Of the archive, where it is published.
    largest_archive_mb, largest_unpacked_mb : float
        More than it can be: a server that sends more does not send this data set.
    """

    id: str
    title: str
    url: str
    lr_shape: tuple[int, int]
    hr_shape: tuple[int, int]
    frames: int
    frame_rate_hz: float
    lr_pixel_um: float = 8.0
    hr_pixel_um: float = 2.0
    licence: str = "not stated by the publisher"
    citation: str = _CITATION
    sha256: str | None = None
    largest_archive_mb: float = 4000.0
    largest_unpacked_mb: float = 8000.0

    @property
    def pixels_mb(self) -> float:
        """Size of its images of 8 bits, not compressed, MB."""
        lr, hr = self.lr_shape, self.hr_shape
        return self.frames * (lr[0] * lr[1] + hr[0] * hr[1]) / _MB

    @property
    def folder_name(self) -> str:
        """Name of the folder with ``LR`` and ``HR``; XFusion's for data without added noise."""
        return f"{self.id}_b0_0"


DATASETS = {
    each.id: each
    for each in (
        Dataset(
            id="rad_00001",
            title="additive manufacturing",
            url=f"{_HOST}/rad_00001/rad_00001.zip",
            lr_shape=(100, 256),
            hr_shape=(400, 1024),
            frames=450,
            frame_rate_hz=50_000.0,
        ),
        Dataset(
            id="rad_00002",
            title="friction stir welding",
            url=f"{_HOST}/rad_00002/rad_00002.zip",
            lr_shape=(256, 256),
            hr_shape=(1024, 1024),
            frames=450,
            frame_rate_hz=20_000.0,
        ),
    )
}
"""By id."""


def find(dataset_id: str) -> Dataset:
    """Return a data set.

    Raises
    ------
    UnknownDatasetError
        There is none of this name.
    """
    if dataset_id not in DATASETS:
        raise UnknownDatasetError(
            f"There is no data set {dataset_id!r}; known are {', '.join(DATASETS)}. Nothing was "
            "fetched."
        )
    return DATASETS[dataset_id]
