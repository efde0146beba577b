"""How faithful the installed backends are, on virtual experiments made from real videos.

    python benchmarks/fidelity VIDEO [VIDEO ...] --out FOLDER [--quick]

A run can be stopped and continued: finished cells are in `frames.csv` and not computed again. See
docs/reference/benchmarks.md for what is written.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grid
import numpy as np
from grid import Conditions, chosen_frames, conditions
from measure import measure, settings_of
from records import CellKey, Record, Table
from videos import VideoError, fingerprint, read_video

from xfusion_bluesky.backends.registry import Registry, UnknownBackendError
from xfusion_bluesky.fusion.metrics import moving_region
from xfusion_bluesky.fusion.virtual import VirtualVideo

TARGETS = 60
QUICK_TARGETS = 8
CLUSTERS = (1, 2, 4, 8, 16, 32, 64)
CLUSTERED = "bayesian-paper"


@dataclass(frozen=True)
class Bench:
    """Everything a run needs."""

    options: argparse.Namespace
    registry: Registry
    backends: list[str]
    table: Table

    def every(self, frames: int) -> int:
        """Return how many frames of a video one target stands for."""
        wanted = QUICK_TARGETS if self.options.quick else TARGETS
        return self.options.targets_every or max(1, (frames - 2) // wanted)

    def key(
        self, name: str, video: VirtualVideo, at: Conditions, backend: str, parameters: str
    ) -> CellKey:
        """Return what identifies a cell."""
        return CellKey(
            video=name,
            fingerprint=fingerprint(video.frames),
            seed=self.options.seed,
            every=self.every(len(video)),
            backend=backend,
            version=self.registry.factories[backend].factory.info.version,
            parameters=parameters,
            distance=at.distance,
            separation=at.separation,
            lr_psnr=at.lr_psnr,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    registry = Registry.discover()
    backends = options.backends or registry.available()
    try:
        for backend in backends:
            registry.create(backend)
        options.out.mkdir(parents=True, exist_ok=True)
        bench = Bench(options, registry, list(backends), Table(options.out / "frames.csv"))
        videos = _videos(options.videos, options.frames)
    except (VideoError, UnknownBackendError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for aside in registry.quarantined:
        print(f"plugin {aside.plugin} is left out: {aside.reason}", file=sys.stderr)
    _write_run(bench)
    failed = 0
    names: list[str] = []
    try:
        for name, video in videos.items():
            names.append(name)
            failed = max(failed, _run_video(bench, name, video))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        failed = 130
    _write_tables(bench, names)
    print(f"tables and figures are in {options.out}")
    return failed


def _videos(paths: Sequence[Path], first: int | None) -> dict[str, VirtualVideo]:
    found: dict[str, VirtualVideo] = {}
    for path in paths:
        name = path.stem if path.stem not in found else f"{path.stem}-{len(found)}"
        try:
            found[name] = VirtualVideo(read_video(path, first))
        except VideoError:
            raise
        except ValueError as error:
            raise VideoError(f"video {path}: {error}") from error
    return found


def _run_video(bench: Bench, name: str, video: VirtualVideo) -> int:
    frames = chosen_frames(len(video), bench.every(len(video)))
    cells = list(_cells(bench, name, video))
    failed = 0
    for number, key in enumerate(cells):
        if key in bench.table.finished:
            continue
        begin = time.perf_counter()
        try:
            parameters = json.loads(key.parameters or "{}")
            backend = bench.registry.create(key.backend, parameters)
            records = measure(backend, video, frames, key)
        except Exception:  # noqa: BLE001 - one backend must not cost the scores of the others
            failed = 1
            print(f"{key.backend} failed at {name}, {key.conditions.label}:", file=sys.stderr)
            traceback.print_exc()
            continue
        bench.table.add(records)
        scores = [r.psnr_db for r in records if not r.coincident and np.isfinite(r.psnr_db)]
        mean = f"{np.mean(scores):.2f} dB" if scores else "no score"
        print(
            f"{name} {number + 1}/{len(cells)} {key.conditions.label}: {key.backend} "
            f"{key.parameters} {mean} ({time.perf_counter() - begin:.1f} s)",
            flush=True,
        )
    _strips(bench, name, video, frames)
    return failed


def _cells(bench: Bench, name: str, video: VirtualVideo) -> Iterator[CellKey]:
    options, frames = bench.options, len(video)
    for at in conditions(options.distances, options.separations, options.lr_psnr, frames):
        for backend in bench.backends:
            yield bench.key(name, video, at, backend, "")
    reference = _reference(bench, frames)
    if CLUSTERED in bench.backends and reference is not None and options.clusters:
        create = bench.registry.factories[CLUSTERED].factory.create
        if "clusters" in inspect.signature(create).parameters:
            for number in options.clusters:
                parameters = json.dumps({"clusters": number})
                yield bench.key(name, video, reference, CLUSTERED, parameters)


def _reference(bench: Bench, frames: int) -> Conditions | None:
    """Return the conditions of pictures and of the cluster sweep: D = 20, clean, if in the grid."""
    options = bench.options
    possible = list(conditions(options.distances, options.separations, options.lr_psnr, frames))
    wanted = Conditions("20", 1, grid.CLEAN)
    if wanted in possible or not possible:
        return wanted if possible else None
    return possible[-1]


def _strips(bench: Bench, name: str, video: VirtualVideo, frames: list[int]) -> None:
    from strips import strip
    from summary import order

    reference = _reference(bench, len(video))
    if reference is None:
        return
    noises = dict.fromkeys(("30", reference.lr_psnr))
    for noise in [each for each in noises if each in bench.options.lr_psnr]:
        at = replace(reference, lr_psnr=noise)
        # A frame in the middle between two HR frames is the hardest.
        interval = at.hr_interval or len(video) - 1
        middle = len(video) // 2 // interval * interval + interval // 2
        frame = min(frames, key=lambda k: abs(k - middle))
        phase = frame % at.separation
        settings = settings_of(at, phase, bench.options.seed)
        target = (frame - phase) // at.separation
        images = {}
        for backend in sorted(bench.backends, key=order):
            experiment = video.experiment(settings)
            made = bench.registry.create(backend).reconstruct(experiment.sequence, [target])
            images[backend] = next(iter(made)).image
        sequence, truth = experiment.sequence, experiment.truth(target)
        near = sequence.neighbours(target)
        around = [sequence.hr(j) for j in (near.before, near.after) if j is not None]
        strip(
            bench.options.out / f"strip_{name}_{noise.replace('=', '')}.png",
            f"{name}, frame {frame}, {at.label}",
            sequence.lr(target),
            truth,
            moving_region(truth, around),
            images,
        )


def _write_tables(bench: Bench, names: list[str]) -> None:
    from summary import Comparison, Row, comparisons, markdown, rows, write_csv

    out = bench.options.out
    plain = [
        record
        for record in bench.table.records
        if record.video in names and record.backend in bench.backends and not record.parameters
    ]
    if not plain:
        return
    found, compared = rows(plain), comparisons(plain)
    write_csv(out / "scores.csv", found, Row)
    write_csv(out / "gains.csv", compared, Comparison)
    (out / "scores.md").write_text(markdown(found, compared), encoding="utf-8")
    _write_figures(bench, names, plain)


def _write_figures(bench: Bench, names: list[str], plain: list[Record]) -> None:
    import figures
    from summary import order

    out, backends = bench.options.out, sorted(bench.backends, key=order)
    for name in names:
        of_video = [record for record in plain if record.video == name]
        for metric in (figures.PSNR, figures.MOVING, figures.AAD, figures.SSIM):
            if of_video:
                path = out / f"boxes_{metric.name}_{name}.png"
                figures.box_figure(path, name, of_video, backends, metric)
        times = {
            backend: [record.elapsed_ms for record in of_video if record.backend == backend]
            for backend in backends
        }
        times = {backend: values for backend, values in times.items() if values}
        if times:
            figures.time_figure(out / f"times_{name}.png", f"{name}: time for a frame", times)
    sweep = [
        record for record in bench.table.records if record.parameters and record.video in names
    ]
    if sweep:
        figures.cluster_figure(
            out / "clusters.png",
            f"{CLUSTERED}: number of clusters",
            sweep,
            lambda record: int(json.loads(record.parameters)["clusters"]),
        )


def _write_run(bench: Bench) -> None:
    versions = {
        name: bench.registry.factories[name].factory.info.version for name in bench.backends
    }
    run: dict[str, Any] = {
        "backends": versions,
        "videos": [str(path.name) for path in bench.options.videos],
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
    }
    text = json.dumps(run, indent=2) + "\n"
    (bench.options.out / "run.json").write_text(text, encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/fidelity",
        description="Score the installed backends on virtual experiments made from videos.",
    )
    add = parser.add_argument
    add("videos", nargs="+", type=Path, help="HDF5, TIFF, .npy, film, or folder of images")
    add("--out", type=Path, default=Path("fidelity"), help="folder of tables and figures")
    add("--quick", action="store_true", help="a small grid over few frames, to look around")
    add("--backends", nargs="+", help="ids; default: all that are installed and can run")
    add("--distances", nargs="+", type=_distance, help="frames between HR frames, or 'ends'")
    add("--separations", nargs="+", type=_positive, help="frames between LR frames")
    add("--lr-psnr", nargs="+", type=_noise, help="dB, 'clean', or photons as 'b0=1000'")
    add(
        "--targets-every",
        type=_positive,
        help="score one frame in so many; default: about 60 frames a video",
    )
    add("--frames", type=_positive, help="use only the first so many frames of each video")
    add("--clusters", nargs="*", type=_positive, help=f"numbers of clusters for {CLUSTERED}")
    add("--seed", type=int, default=0, help="of the photon noise")
    options = parser.parse_args(arguments)
    quick = options.quick
    options.distances = options.distances or (["2", "20"] if quick else list(grid.DISTANCES))
    options.separations = options.separations or ([1] if quick else list(grid.SEPARATIONS))
    options.lr_psnr = options.lr_psnr or (["30", "clean"] if quick else list(grid.LR_PSNR))
    options.frames = options.frames or (61 if quick else None)
    if options.clusters is None:
        options.clusters = [2, 8, 32] if quick else list(CLUSTERS)
    return options


def _distance(text: str) -> str:
    if text != grid.ENDS and int(text) < 2:
        raise argparse.ArgumentTypeError("HR frames are at least 2 frames apart")
    return text if text == grid.ENDS else str(int(text))


def _noise(text: str) -> str:
    number = text[len(grid.PHOTONS) :] if text.startswith(grid.PHOTONS) else text
    if text != grid.CLEAN and not float(number) > 0:
        raise argparse.ArgumentTypeError("noise is given in dB or photons above 0")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
