"""What a wrong calibration costs: one simulated burst, fused with records that are wrong.

    python benchmarks/calibration/registration_error.py --folder /tmp/registration

Calibrates the simulated beamline, takes one burst, and fuses it with the record that was found and
with copies of it whose map is shifted, or whose clock offset is wrong. PSNR against the
simulator's truth, every fourth frame.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.raw import Burst, bursts_of
from xfusion_bluesky.documents.sequence import burst_sequence, truth_of
from xfusion_bluesky.fusion.metrics import psnr

BACKENDS = ("bicubic", "linear", "linear-bp", "experts")
SHIFTS_PX = (0.25, 0.5, 1.0, 2.0)
DELAYS_NS = (500.0, 1000.0, 2000.0)
EVERY = 4


def acquire(folder: Path) -> tuple[Burst, Corrections]:
    """Calibrate the simulated beamline and take a burst."""
    from xfusion_bluesky.beamline import connect_beamline
    from xfusion_bluesky.configuration import Configuration
    from xfusion_bluesky.plans import calibrate, dual_burst
    from xfusion_bluesky.plans.calibrated import find_corrections

    beamline = connect_beamline(Configuration().located(folder))
    documents: list[tuple[str, dict[str, Any]]] = []
    run, dual, shutter = beamline.RE, beamline.dual, beamline.shutter
    uid = run(calibrate(dual, shutter, beamline.sample, beamline.mesh)).plan_result
    run(
        dual_burst(dual, shutter, hr_last=4, calibration_uid=uid),
        lambda name, document: documents.append((name, document)),
    )
    (burst,) = bursts_of(documents)
    return burst, find_corrections(dual, uid)


def shifted(record: CalibrationRecord, shift_px: float) -> CalibrationRecord:
    """Return a record whose map is wrong by so many HR pixels, along the diagonal."""
    moved = tuple(
        (row, column, begin + shift_px / math.sqrt(2))
        for row, column, begin in record.spatial.lr_to_hr
    )
    spatial = record.spatial.model_copy(update={"lr_to_hr": moved})
    return record.model_copy(update={"spatial": spatial})


def delayed(record: CalibrationRecord, delay_ns: float) -> CalibrationRecord:
    """Return a record whose clock offset is wrong by so much."""
    if record.temporal is None:
        raise SystemExit("The clocks were not calibrated; see the remarks of the record.")
    offset_ns = record.temporal.offset_ns + delay_ns
    temporal = record.temporal.model_copy(update={"offset_ns": offset_ns})
    return record.model_copy(update={"temporal": temporal})


def records(found: CalibrationRecord) -> Iterator[tuple[str, CalibrationRecord | None]]:
    """Yield what is fused with, by name."""
    yield "record as found", found
    for shift_px in SHIFTS_PX:
        yield f"map wrong by {shift_px:g} HR px", shifted(found, shift_px)
    for delay_ns in DELAYS_NS:
        yield f"clock wrong by {delay_ns:g} ns", delayed(found, delay_ns)
    yield "no record (nominal map)", None


def score(burst: Burst, corrections: Corrections, backend: str, registry: Registry) -> float:
    """Return the mean PSNR of one reconstruction, dB."""
    with burst_sequence(burst, corrections) as sequence:
        truth = truth_of(burst, sequence.pixel_map)
        if truth is None:
            raise SystemExit("The burst has no truth.")
        targets = range(1, sequence.n_lr, EVERY)
        made = registry.create(backend, {}).reconstruct(sequence, targets)
        frames = zip(targets, made, strict=True)
        return statistics.mean(psnr(frame.image, truth.frame(i)) for i, frame in frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for bursts and camera memory")
    folder: Path = parser.parse_args().folder
    config = BeamlineConfig.realistic(memory_folder=folder / "memory")
    with SimulatedBeamline.start(config) as iocs:
        os.environ.update(iocs.environment)
        burst, corrections = acquire(folder)
    registry = Registry.from_entry_points(entry_points(group="xfusion_bluesky"))
    if corrections.calibration is None:
        raise SystemExit("There is no calibration.")
    print(f"| {'fused with':26} | " + " | ".join(f"{name:>9}" for name in BACKENDS) + " |")
    print("|---" * (1 + len(BACKENDS)) + "|")
    for name, record in records(corrections.calibration):
        uid = None if record is None else corrections.calibration_uid
        used = replace(corrections, calibration=record, calibration_uid=uid)
        scores = [score(burst, used, backend, registry) for backend in BACKENDS]
        print(f"| {name:26} | " + " | ".join(f"{each:9.2f}" for each in scores) + " |", flush=True)


if __name__ == "__main__":
    main()
