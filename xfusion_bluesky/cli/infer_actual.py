"""What `infer --actual` is told, turned into jobs, and the files that XFusion would write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configuration import ConfigurationError

if TYPE_CHECKING:
    from ..formats.xfusion_case import ExperimentCase
    from ..inference.actual_set import CameraMatch
    from ..inference.frame_set import FrameSet
    from ..inference.jobs import ActualJob, VirtualJob
    from ..inference.run import Outcome

_SAFE = "Nothing was changed."


@dataclass(frozen=True)
class ActualOptions:
    """Options of the command that only real experiments have."""

    cases: str | None
    calibration: Path | None
    tfm_file: Path | None
    meta_file_scale: Path | None
    xfusion_matching: bool
    as_recorded: bool
    npz: bool
    csv: bool


def actual_jobs(
    folder: Path, options: ActualOptions, common: Mapping[str, Any], output: Path
) -> list[ActualJob]:
    """Return a job for each case in a folder.

    Parameters
    ----------
    folder : Path
        XFusion's ``input_dir``, or one case.
    options : ActualOptions
        Of the command.
    common : mapping
        What all jobs share: backend, plugin, parameters, mode.
    output : Path
        Results go to ``<output>/<folder>/<case>/<mode>``.

    Raises
    ------
    ConfigurationError
        The options contradict each other, or the calibration does not fit.
    FormatError
        A file is missing or damaged.
    """
    from ..formats.xfusion_case import open_case
    from ..inference.actual_set import brightness_matched
    from ..inference.jobs import ActualJob

    if options.csv and common["mode"] != "double":
        raise ConfigurationError(f"--csv needs --traverse double: else there is no truth. {_SAFE}")
    jobs = []
    for path in _chosen(folder, options.cases):
        case = open_case(path)
        try:
            match = _match(case, options)
            if not options.as_recorded:
                match = brightness_matched(case, match, options.xfusion_matching)
        except LookupError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        place = output / folder.resolve().name / case.name / str(common["mode"])
        jobs.append(
            ActualJob.model_validate(
                {
                    **common,
                    "folder": path.resolve(),
                    "match": match,
                    "xfusion_matching": options.xfusion_matching,
                    "output": place.resolve(),
                }
            )
        )
    return jobs


def write_xfusion_files(
    job: ActualJob | VirtualJob, source: FrameSet, outcome: Outcome, options: ActualOptions
) -> list[Path]:
    """Write what was asked for beside images and scores; return the files."""
    from ..inference.jobs import ActualJob
    from ..inference.xfusion_results import write_arrays, write_errors

    if not isinstance(job, ActualJob) or not outcome.scores:
        return []
    files = []
    if options.npz:
        files.append(write_arrays(job.output, source, outcome.scores))
    if options.csv:
        name = f"error_{job.match.source}_{source.title}.csv"
        files.append(write_errors(job.output / name, source, outcome.scores))
    return files


def _chosen(folder: Path, wanted: str | None) -> Sequence[Path]:
    from ..formats.xfusion_case import list_cases

    found = list_cases(folder)
    if wanted is None:
        return found
    by_name = {path.name: path for path in found}
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if unknown := [name for name in names if name not in by_name]:
        raise ConfigurationError(
            f"{folder} holds no case {unknown[0]!r}; there are {', '.join(by_name)}. {_SAFE}"
        )
    return [by_name[name] for name in dict.fromkeys(names)]


def _match(case: ExperimentCase, options: ActualOptions) -> CameraMatch:
    from ..calibration.record import CalibrationRecord
    from ..formats.xfusion_calibration import read_transform, to_lr_to_hr
    from ..inference.actual_set import CameraMatch

    files = (options.tfm_file, options.meta_file_scale)
    if options.calibration is not None and files == (None, None):
        record = CalibrationRecord.load(options.calibration)
        record.check_frames(case.lr_shape, case.hr_shape)
        clocks = record.temporal
        return CameraMatch(
            source=options.calibration.stem,
            lr_to_hr=record.spatial.lr_to_hr,
            radial_per_px2=record.spatial.radial_per_px2,
            offset_ns=0.0 if clocks is None else clocks.offset_ns,
            drift_ppm=0.0 if clocks is None else clocks.drift_ppm,
        )
    if options.calibration is None and files[0] is not None and files[1] is not None:
        transform = read_transform(files[0], files[1])
        matrix = to_lr_to_hr(transform, case.lr_shape, case.hr_shape)
        return CameraMatch.model_validate({"source": files[0].stem, "lr_to_hr": matrix.tolist()})
    raise ConfigurationError(
        "--actual needs a calibration: --calibration RECORD.json, or --tfm-file with "
        f"--meta-file-scale; 'xfusion-bluesky calibrate' makes them. {_SAFE}"
    )
