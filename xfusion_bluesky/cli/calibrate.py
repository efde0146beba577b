"""The command that calibrates from mesh images in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..configuration import ConfigurationError
from .installation import console

if TYPE_CHECKING:
    from ..calibration.record import CalibrationRecord


def calibrate_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="XFusion's folder of mesh images, or one case.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="For the results, in a folder named as DIR.")
    ] = Path("calibration"),
    flat: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Case without mesh and sample.")
    ] = None,
    pitch_um: Annotated[float, typer.Option(min=1, help="Pitch of the mesh, um.")] = 62.0,
    pitch_sigma_um: Annotated[float, typer.Option(min=0, help="Its standard error.")] = 0.5,
    trust_centre: Annotated[
        bool,
        typer.Option(
            "--trust-centre", help="Take it as known that the cameras look at one centre."
        ),
    ] = False,
) -> None:
    """Calibrate from mesh images in XFusion's layout; write a record and XFusion's own files."""
    from ..datasets.xfusion_calibrator import calibrate_cases
    from ..formats.xfusion_case import list_cases

    name = folder.resolve().name
    place = out / name
    if place.exists():
        raise ConfigurationError(
            f"{place} exists already: name another folder with --out, or take it away. Nothing was "
            "changed."
        )
    cases = [path for path in list_cases(folder) if flat is None or not _same(path, flat)]
    if not cases:
        raise ConfigurationError(f"{folder} holds no case but the flat. Nothing was changed.")
    with console.status(f"{len(cases)} views of the mesh ..."):
        record, evidence = calibrate_cases(
            cases,
            flat,
            pitch_um=pitch_um,
            pitch_sigma_um=pitch_sigma_um,
            assume_centred=trust_centre,
        )
    file = place / f"{name}.json"
    try:
        record.save(file)
        evidence.save(file.with_suffix(".spatial.npz"))
        notes = _write_for_xfusion(record, place, name)
    except OSError as error:
        raise ConfigurationError(
            f"The calibration cannot be written to {place}: {error.strerror}. The images were not "
            "changed."
        ) from error
    spatial = record.spatial
    proof = "not proven" if trust_centre else spatial.lattice.method
    for line in (
        f"{spatial.residuals.nodes} nodes in {spatial.residuals.views} views, model {spatial.model}"
        f"{', mirrored' if spatial.mirrored else ''}, lattice shift: {proof}",
        f"residual           {spatial.residuals.rms_px:.3f} HR px rms",
        f"pixels             LR {spatial.lr_pixel_um:.3f} um, HR {spatial.hr_pixel_um:.3f} um",
        *record.remarks,
        f"record             {file}",
        *notes,
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _write_for_xfusion(record: CalibrationRecord, place: Path, name: str) -> list[str]:
    from ..datasets.xfusion_calibrator import xfusion_results
    from ..formats.errors import FormatError
    from ..formats.xfusion_calibration import from_lr_to_hr, write_transform

    spatial = record.spatial
    try:
        transform = from_lr_to_hr(spatial.affine, spatial.lr_shape, spatial.hr_shape)
    except FormatError as error:
        return [f"no files for XFusion: {error}"]
    results = xfusion_results(record, transform)
    files = write_transform(place, transform, name, results)
    rest = transform.residual_rms_px
    return [
        *(f"as XFusion has it  {file}" for file in files),
        f"which differ from the record by {rest:.3f} HR px rms: XFusion knows neither shear nor "
        "distortion",
    ]


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()
