"""Errors of the spatial calibration on simulated cameras, and whether it ever takes a wrong cell.

    PYTHONPATH=tests/support python benchmarks/calibration/spatial.py --grid line_pattern_01.jpg

Prints four tables. `--grid` names the real x-ray image of a line grid of the discorpy project
(Diamond Light Source, Apache-2.0); without it the third is left out. Only the last table depends
on the speed of the machine. `--seeds` and `--trials` make it shorter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mesh_views import TwoCameras
from PIL import Image
from scipy import ndimage

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice import find_lattice
from xfusion_bluesky.calibration.node_pairs import pair_nodes
from xfusion_bluesky.calibration.plane_fit import fit_plane, ransac_inliers
from xfusion_bluesky.calibration.record import SpatialCalibration
from xfusion_bluesky.calibration.spatial import calibrate_spatial

Float64Array = npt.NDArray[np.float64]

CAMERAS: dict[str, dict[str, Any]] = {
    "LR 125 x 200, HR 400 x 640, 8 and 2 um": {
        "lr_shape": (125, 200),
        "hr_shape": (400, 640),
        "pixel_um": 2.0,
    },
    "LR 30 x 100, HR 160 x 448, 10 and 2.5 um": {},
}
FULL_SIZE: dict[str, Any] = {"lr_shape": (250, 400), "hr_shape": (800, 1280), "pixel_um": 2.0}
ANGLES = (-11.0, 0.0, 13.0)
QUANTILE = -2 * np.log(0.1)
"""90 % of a 2-D Gaussian, in squared sigmas."""

WRONG_PX = 4.0
"""A shift by one cell is 24 HR pixels or more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--grid", type=Path)
    options = parser.parse_args()
    accuracy(options.seeds)
    lattice_trials(options.trials)
    if options.grid is not None:
        real_grid(options.grid)
    speed()


def accuracy(seeds: int) -> None:
    print(f"## Error of the map over the common field, HR pixels ({seeds} seeds)\n")
    print("| cameras | noise | views | rms | worst | median stated | in 90 % ellipse |")
    print("|---|---|---|---|---|---|---|")
    for name, shapes in CAMERAS.items():
        for noise in (0.02, 0.08):
            for count in (1, 3):
                found = [judged(seed, noise, count, shapes) for seed in range(seeds)]
                error, stated, held = (np.array(each) for each in zip(*found, strict=True))
                print(
                    f"| {name} | {noise:.0%} | {count} | {np.sqrt(np.square(error).mean()):.3f} "
                    f"| {error.max():.3f} | {np.median(stated):.3f} | {held.mean():.0%} |",
                    flush=True,
                )
    print()


def judged(
    seed: int, noise: float, count: int, shapes: dict[str, Any]
) -> tuple[float, float, Float64Array]:
    """Rms error, rms of what is stated, and the share of points inside their ellipse."""
    cameras = TwoCameras.random(seed, noise=noise, **shapes)
    turn = cameras.rng.uniform(-45, 45)
    views = [cameras.view(turn + angle) for angle in ANGLES[-count:]]
    lr_flat, hr_flat = cameras.flats()
    found, _ = calibrate_spatial(views, lr_flat=lr_flat, hr_flat=hr_flat)
    lr = cameras.common_field()
    away = mapped(found, lr) - cameras.true_hr(lr)
    covariance = position_covariance(found, lr)
    some = slice(None, None, max(1, len(lr) // 5))
    square = np.einsum("ni,nij,nj->n", away[some], np.linalg.inv(covariance[some]), away[some])
    return (
        float(np.sqrt(np.square(away).sum(axis=1).mean())),
        float(np.sqrt(np.trace(covariance, axis1=1, axis2=2).mean())),
        np.mean(square < QUANTILE),
    )


def mapped(found: SpatialCalibration, lr: Float64Array) -> Float64Array:
    pixel_map = found.pixel_map()
    return pixel_map.hr_position(4 * (lr - pixel_map.lr_origin) + 1.5)


def position_covariance(found: SpatialCalibration, lr: Float64Array) -> Float64Array:
    """(n, 2, 2) covariance of mapped points, from that of the parameters."""
    centre = (np.array(found.hr_shape) - 1) / 2
    homogeneous = np.column_stack([lr, np.ones(len(lr))])
    jacobian = np.zeros((len(lr), 2, 7))
    jacobian[:, 0, :3] = jacobian[:, 1, 3:6] = homogeneous
    away = homogeneous @ found.affine.T - centre
    jacobian[:, :, 6] = away * np.square(away).sum(axis=1, keepdims=True)
    used = jacobian[:, :, : len(found.covariance)]
    return np.einsum("nip,pq,njq->nij", used, np.array(found.covariance), used)


def lattice_trials(trials: int) -> None:
    print(f"## Which cell is which: {trials} trials each, LR 30 x 100, 2 or 8 % noise\n")
    print("| proof | right | wrong | refused | least margin |")
    print("|---|---|---|---|---|")
    for name, views in EVIDENCE.items():
        right = wrong = refused = 0
        least = np.inf
        for seed in range(trials):
            rng = np.random.default_rng([seed, 7])
            cameras = TwoCameras.random(
                1000 + seed, noise=float(rng.choice([0.02, 0.08])), specks=int(rng.integers(15, 60))
            )
            try:
                found, _ = calibrate_spatial(**views(cameras, rng))
            except CalibrationError:
                refused += 1
                continue
            lr = cameras.common_field()
            error = np.hypot(*(mapped(found, lr) - cameras.true_hr(lr)).T).max()
            right, wrong = right + (error < WRONG_PX), wrong + (error >= WRONG_PX)
            least = min(least, found.lattice.margin)
        margin = f"{least:.2f}" if right + wrong else ""
        print(f"| {name} | {right} | {wrong} | {refused} | {margin} |", flush=True)
    print()


def with_flats(cameras: TwoCameras, rng: np.random.Generator) -> dict[str, Any]:
    lr_flat, hr_flat = cameras.flats()
    return {"views": [cameras.view(rng.uniform(-45, 45))], "lr_flat": lr_flat, "hr_flat": hr_flat}


def turned(cameras: TwoCameras, rng: np.random.Generator) -> dict[str, Any]:
    turn = rng.uniform(-45, 45)
    return {"views": [cameras.view(turn + angle) for angle in ANGLES]}


def turned_once(cameras: TwoCameras, rng: np.random.Generator) -> dict[str, Any]:
    turn = rng.uniform(-45, 45)
    return {"views": [cameras.view(turn + angle) for angle in ANGLES[1:]]}


def with_slits(cameras: TwoCameras, rng: np.random.Generator) -> dict[str, Any]:
    views = [cameras.view(rng.uniform(-45, 45))]
    return {"views": views, "slits": cameras.slits(rng.uniform(120, 170), rng.uniform(400, 700))}


def with_flats_of_another_setup(cameras: TwoCameras, rng: np.random.Generator) -> dict[str, Any]:
    other = TwoCameras.random(int(rng.integers(10_000, 20_000)))
    return {**with_flats(cameras, rng), "hr_flat": other.flats()[1]}


def moved(cameras: TwoCameras, rng: np.random.Generator) -> dict[str, Any]:
    whole = replace(cameras, mesh=replace(cameras.mesh, broken_share=0.0, filled_share=0.0))
    turn = rng.uniform(-45, 45)
    return {"views": [whole.view(turn) for _ in ANGLES]}


EVIDENCE: dict[str, Callable[[TwoCameras, np.random.Generator], dict[str, Any]]] = {
    "flat fields, one view": with_flats,
    "three views, -11, 0 and 13 degrees": turned,
    "two views, 0 and 13 degrees": turned_once,
    "slits": with_slits,
    "(proves nothing) mesh moved, not turned": moved,
    "(proves nothing) HR flat of another setup": with_flats_of_another_setup,
}


def real_grid(file: Path) -> None:
    print("## Real line grid against a transformed copy, HR pixels\n")
    print("| rotation | nodes | rms | worst |")
    print("|---|---|---|---|")
    whole = np.asarray(Image.open(file).convert("L")).astype(np.float32) / 255
    corner = np.array([400, 500])
    hr = whole[400:1600, 500:2100]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        angle, lr, truth = copy_of(whole, hr.shape, corner, rng)
        lattices = [(find_lattice(lr, name="LR copy"), find_lattice(hr, name="HR image"))]
        pairs = pair_nodes(lattices, truth)
        fit = fit_plane(pairs.only(ransac_inliers(pairs)), "affine", hr.shape, mirrored=False)
        points = np.array(list(np.ndindex(lr.shape)))[::53].astype(float)
        target = points @ truth[:, :2].T + truth[:, 2]
        inside = ((target > 0) & (target < np.array(hr.shape) - 1)).all(axis=1)
        away = np.hypot(*(fit.at(points) - target)[inside].T)
        rms = np.sqrt(np.square(away).mean())
        print(f"| {angle:.1f} deg | {len(pairs)} | {rms:.3f} | {away.max():.3f} |", flush=True)
    print()


def copy_of(
    whole: npt.NDArray[np.float32], shape: tuple[int, ...], corner: Float64Array, rng: Any
) -> tuple[float, npt.NDArray[np.float32], Float64Array]:
    """LR image, 4 times coarser, blurred, turned, sheared, 1 % noise; its map to the HR crop."""
    angle = rng.uniform(-5, 5)
    turn = np.deg2rad(angle)
    matrix = 4 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.array([[1.005, 0.003], [0, 0.995]])
    lr_shape = (270, 360)
    middle = (np.array(shape) - 1) / 2 + rng.uniform(-10, 10, 2)
    offset = middle - matrix @ ((np.array(lr_shape) - 1) / 2)
    spline = ndimage.spline_filter(ndimage.gaussian_filter(whole, 1.0), 3, output=np.float32)
    total = np.zeros(lr_shape, np.float32)
    for step in sub_pixels():
        start = offset + corner + matrix @ step
        total += ndimage.affine_transform(
            spline, matrix, start, output_shape=lr_shape, order=3, prefilter=False
        )
    lr = total / 16 + 0.01 * rng.standard_normal(lr_shape).astype(np.float32)
    return angle, lr.astype(np.float32), np.column_stack([matrix, offset])


def sub_pixels() -> Iterator[Float64Array]:
    steps = (np.arange(4) + 0.5) / 4 - 0.5
    for row in steps:
        for column in steps:
            yield np.array([row, column])


def speed() -> None:
    print("## Time, LR 250 x 400, HR 800 x 1280\n")
    print("| views | seconds | seconds of one core | error, HR px |")
    print("|---|---|---|---|")
    cameras = TwoCameras.random(1, **FULL_SIZE)
    lr_flat, hr_flat = cameras.flats()
    views = [cameras.view(angle) for angle in ANGLES]
    for count in (1, 3):
        start, core = time.perf_counter(), time.process_time()
        found, _ = calibrate_spatial(views[:count], lr_flat=lr_flat, hr_flat=hr_flat)
        spent, core = time.perf_counter() - start, time.process_time() - core
        lr = cameras.common_field()
        away = np.hypot(*(mapped(found, lr) - cameras.true_hr(lr)).T)
        print(f"| {count} | {spent:.1f} | {core:.1f} | {np.sqrt((away**2).mean()):.3f} |")


if __name__ == "__main__":
    main()
