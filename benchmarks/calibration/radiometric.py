"""Errors of the calibration of brightness on simulated sensors.

Run it with `python benchmarks/calibration/radiometric.py`; it prints five tables. Only the last
one depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xfusion_simulators.detector import Detector
from xfusion_simulators.scene import beam_profile

from xfusion_bluesky.calibration.camera_references import CameraReferences
from xfusion_bluesky.calibration.flicker import flicker_factors, flicker_of_flats
from xfusion_bluesky.calibration.gain_offset import gain_offset

Frame = npt.NDArray[np.uint16]
SAMPLE = 0.6


@dataclass(frozen=True)
class Camera:
    """A sensor behind the simulator's beam."""

    detector: Detector
    shape: tuple[int, int]
    frames: int
    dark_counts: float
    blank_counts: float
    full_counts: int
    flicker: float = 0.003

    def burst(self, light: float, seed: int) -> Iterator[Frame]:
        """Frames of one burst behind something that lets `light` through; 0 is a dark."""
        rng = np.random.default_rng([self.detector.seed, seed])
        lit = light * beam_profile(self.shape)
        for k in range(self.frames):
            beam = np.float32(1 + self.flicker * rng.standard_normal())
            signal = self.detector.signal(lit * beam, k, rng)
            counts = np.rint(self.dark_counts + self.blank_counts * signal)
            yield np.clip(counts, 0, self.full_counts).astype(np.uint16)

    def references(self, bursts: int, cells: bool = False) -> CameraReferences:
        """Read so many bursts of dark and of flat."""
        dark = [self.burst(0, b) for b in range(bursts)]
        flat = [self.burst(1, 100 + b) for b in range(bursts)]
        return CameraReferences.from_frames(dark, flat, cells=cells)


def shimadzu(seed: int, pattern: float = 0.02, shape: tuple[int, int] = (60, 100)) -> Camera:
    detector = Detector(
        blank_photons=1e4,
        read_noise=2 / 800,
        gain_pattern=0.02,
        offset_pattern=0.005,
        cell_gain_pattern=pattern,
        cell_offset_pattern=pattern / 2,
        seed=seed,
    )
    return Camera(detector, shape, 128, 40, 800, 1023)


def phantom(seed: int, shape: tuple[int, int] = (120, 200)) -> Camera:
    detector = Detector(2e4, 8 / 3000, gain_pattern=0.01, offset_pattern=0.002, seed=seed)
    return Camera(detector, shape, 12, 64, 3000, 4095)


def table(*head: str) -> Callable[..., None]:
    print("\n|", " | ".join(head), "|")
    print("|---" * len(head) + "|")
    return lambda *row: print("|", " | ".join(row), "|")


def rms(values: npt.ArrayLike) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


def transfer(seeds: int) -> None:
    row = table("camera", "bursts", "error of counts a photon", "error of read noise", "flicker")
    for name, camera, counts in (("Shimadzu", shimadzu, 0.08), ("Phantom", phantom, 0.15)):
        for bursts in (1, 2, 4):
            gains, noises, flickers = [], [], []
            for seed in range(seeds):
                known = camera(seed).references(bursts, cells=camera is shimadzu)
                curve = known.photon_transfer(corrected=False)
                truth = np.hypot(2 if camera is shimadzu else 8, 12**-0.5)
                gains.append(curve.counts_per_photon / counts - 1)
                noises.append(curve.read_noise_counts / truth - 1)
                flickers.append(flicker_of_flats(known.dark, known.flat) / 0.003 - 1)
            errors = (f"{rms(each):.2%}" for each in (gains, noises, flickers))
            row(name, str(bursts), *errors)


def cells(seeds: int) -> None:
    row = table("pattern", "bursts", "not corrected", "corrected", "ratio, worst", "noise model")
    for pattern in (0.0, 0.002, 0.02, 0.05):
        for bursts in (1, 2, 4, 8):
            found = []
            for seed in range(seeds):
                camera = shimadzu(seed, pattern)
                known = camera.references(bursts, cells=True)
                found.append(
                    (*remaining(camera, known), rms(known.noise().variance(SAMPLE) ** 0.5))
                )
            plain, corrected, model = np.array(found).T
            row(
                f"{pattern:.1%}",
                str(bursts),
                f"{plain.mean():.5f}",
                f"{corrected.mean():.5f}",
                f"{(corrected / plain).mean():.4f}, {(corrected / plain).max():.4f}",
                f"{model.mean():.5f}",
            )


def remaining(camera: Camera, known: CameraReferences) -> tuple[float, float]:
    """Rms of transmission about that of an even sample, with each frame's flicker taken out."""
    plain, corrected = [], []
    for k, frame in enumerate(camera.burst(SAMPLE, 999)):
        for errors, cell in ((plain, None), (corrected, k)):
            seen = known.transmission(frame, cell)
            errors.append(rms(seen / np.nanmean(seen) * SAMPLE - SAMPLE))
    return rms(plain), rms(corrected)


def bad_pixels(seeds: int) -> None:
    row = table("kind", "found", "of good ones")
    found: dict[str, list[float]] = {"hot": [], "dead": []}
    wrong = []
    for seed in range(seeds):
        detector = Detector(
            1e4, 0.003, 0.02, 0.005, 0.02, 0.01, hot_pixels=25, dead_pixels=25, seed=seed
        )
        camera = Camera(detector, (100, 160), 128, 40, 700, 1023)
        mask = camera.references(1).bad.mask
        stuck = detector.stuck_pixels(camera.shape)
        found["hot"].append(mask[stuck > 0].mean())
        found["dead"].append(mask[stuck < 0].mean())
        wrong.append(mask[stuck == 0].mean())
    for kind, share in found.items():
        row(kind, f"{np.mean(share):.1%}", f"{np.mean(wrong):.4%}")


def between(seeds: int) -> None:
    row = table("what", "rms error", "within the stated error (68 % expected)")
    gains, offsets, inside, factors = [], [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[:60, :100]
        mesh = 0.8 + 0.15 * np.sin(columns) * np.sin(rows)
        hx = mesh + rng.normal(0, 0.002, (4, 60, 100))
        y = 1.03 * mesh - 0.01 + rng.normal(0, 0.01, (4, 60, 100))
        fit = gain_offset(list(zip(hx.astype("f4"), y.astype("f4"), strict=True)))
        gains.append(fit.gain - 1.03)
        offsets.append(fit.offset + 0.01)
        inside.append(abs(gains[-1]) < fit.gain_sigma)
        beam = 1 + 0.01 * rng.standard_normal(64)
        moving = [
            beam[k] * (mesh - 0.3 * np.exp(-((columns - k) ** 2 + (rows - 30) ** 2) / 50))
            + rng.normal(0, 0.01, mesh.shape)
            for k in range(64)
        ]
        factors.append(rms(flicker_factors(moving).factors - beam / beam.mean()))
    row("gain between the cameras", f"{rms(gains):.5f}", f"{np.mean(inside):.0%}")
    row("offset between the cameras", f"{rms(offsets):.5f}", "")
    row("flicker factors, 1 % flicker, moving sample", f"{rms(factors):.5f}", "")


def speed() -> None:
    row = table("camera", "frame", "bursts", "references", "transmission of a frame")
    for name, camera in (
        ("Shimadzu", shimadzu(0, shape=(250, 400))),
        ("Phantom", phantom(0, shape=(800, 1280))),
    ):
        for bursts in (1, 4):
            with_cells = name == "Shimadzu"
            dark, flat = ([list(camera.burst(light, b)) for b in range(bursts)] for light in (0, 1))
            begin = time.process_time()
            known = CameraReferences.from_frames(dark, flat, cells=with_cells)
            known.transmission(flat[0][0], 0)
            made = time.process_time()
            for k, frame in enumerate(flat[0]):
                known.transmission(frame, k)
            frame_ms = (time.process_time() - made) / camera.frames * 1e3
            size = f"{camera.frames} x {camera.shape[0]} x {camera.shape[1]}"
            row(name, size, str(bursts), f"{made - begin:.2f} s", f"{frame_ms:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5, help="simulated cameras a number")
    seeds = parser.parse_args().seeds
    transfer(seeds)
    cells(seeds)
    bad_pixels(seeds)
    between(4 * seeds)
    speed()


if __name__ == "__main__":
    main()
