"""Commands on calibration records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration

if TYPE_CHECKING:
    from ..calibration.record import CalibrationRecord

calibration = typer.Typer(help="Calibrations of the pair of cameras.", no_args_is_help=True)


@calibration.command("list")
def list_records(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the calibrations of this installation, newest first."""
    from ..calibration.errors import CalibrationError
    from ..calibration.record import CalibrationRecord

    raw = load_configuration(config).folders.raw
    records: list[tuple[str, CalibrationRecord]] = []
    damaged = []
    for file in _files(raw):
        try:
            records.append((file.stem, CalibrationRecord.load(file)))
        except CalibrationError as error:
            damaged.append(str(error))
    table = Table("uid", "made", "valid", "error px", "um / px", "offset ns", "gain", "remarks")
    for uid, record in sorted(records, key=lambda each: each[1].made_utc, reverse=True):
        spatial, temporal, radiometric = record.spatial, record.temporal, record.radiometric
        table.add_row(
            uid[:8],
            f"{record.made_utc.astimezone():%Y-%m-%d %H:%M}",
            _validity(record),
            f"{spatial.residuals.rms_px:.3f}",
            f"{spatial.lr_pixel_um:.3f}, {spatial.hr_pixel_um:.3f}",
            "-" if temporal is None else f"{temporal.offset_ns:+.1f}",
            "-" if radiometric is None else f"{radiometric.gain:.4f}",
            escape("; ".join(record.remarks)),
        )
    console.print(table)
    for line in damaged:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


@calibration.command()
def show(
    record: Annotated[
        str, typer.Argument(metavar="UID|FILE", help="Uid, its beginning, or the file of one.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    picture: Annotated[Path | None, typer.Option(help="PNG file to draw.")] = None,
) -> None:
    """Show the numbers of a calibration, how old it is, and draw what it rests on."""
    from ..calibration.record import CalibrationRecord
    from ..viewer.calibration_numbers import calibration_numbers

    file = _found(record, load_configuration(config).folders.raw)
    found = CalibrationRecord.load(file)
    if picture is not None:
        _draw(found, file, picture)
    console.print(file.stem, highlight=False)
    console.print(f"made {found.made_utc.astimezone():%Y-%m-%d %H:%M}, {_validity(found)}")
    for topic, lines in calibration_numbers(found).items():
        table = Table(topic, "", min_width=60)
        for name, value in lines:
            table.add_row(name, escape(value))
        console.print(table)
    notes = [
        *found.remarks,
        *(f"{each.role:<8} {each.uid or each.folder}" for each in found.inputs),
    ]
    if picture is not None:
        notes.append(f"picture  {picture}")
    for line in notes:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _draw(record: CalibrationRecord, file: Path, picture: Path) -> None:
    from ..calibration.spatial import SpatialEvidence
    from ..calibration.time_fit import TimeFit
    from ..viewer.calibration_report import save_report

    nodes, times = file.with_suffix(".spatial.npz"), file.with_suffix(".temporal.npz")
    spatial = SpatialEvidence.load(nodes) if nodes.exists() else None
    temporal = TimeFit.load(times) if times.exists() else None
    save_report(record, spatial, temporal, picture)


def _files(raw: Path) -> list[Path]:
    from ..calibration.record import FOLDER_NAME

    # What a record corrects bursts with is kept beside it, as <uid>.corrections.json.
    return sorted(file for file in (raw / FOLDER_NAME).glob("*.json") if "." not in file.stem)


def _found(name: str, raw: Path) -> Path:
    """Return the file of a record: named itself, or by its uid or the beginning of that."""
    if name.endswith(".json"):
        return Path(name)
    matches = [file for file in _files(raw) if name and file.stem.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise LookupError(
            f"{len(matches)} calibrations begin with {name}: "
            f"{', '.join(file.stem for file in matches[:3])}. Give more of the uid."
        )
    raise LookupError(
        f"There is no calibration {name} in {raw}; 'xfusion-bluesky calibration list' shows those "
        "there are, RE(calibrate(...)) makes one."
    )


def _validity(record: CalibrationRecord) -> str:
    age_hours = record.age_hours()
    if age_hours > record.valid_hours:
        return f"{age_hours:.1f} h old, was good for {record.valid_hours:g} h"
    return f"{age_hours:.1f} of {record.valid_hours:g} h"
