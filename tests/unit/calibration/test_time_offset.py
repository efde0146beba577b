from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.time_offset import (
    TimeFit,
    TraceBurst,
    offset_from_images,
    offset_from_traces,
)
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

Array = npt.NDArray[np.float64]
FINE = 20
LR_NS = 1000.0
SEARCH_NS = (-8e3, 8e3)


def _flicker(rng: np.random.Generator, frames: int) -> Array:
    wave = ndimage.gaussian_filter1d(rng.standard_normal(frames * FINE), 2 * FINE / np.sqrt(2))
    return np.asarray(wave / wave.std())


def _bursts(
    seed: int,
    offset_ns: float,
    *,
    number: int = 8,
    lr_frames: int = 81,
    ratio: int = 20,
    flicker: float = 0.003,
    noise: float = 0.0002,
    hr_exposure_ns: float = 500.0,
    drift_ppm: float = 0.0,
    wave: Array | None = None,
) -> list[TraceBurst]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        shape = _flicker(rng, lr_frames + 100) if wave is None else wave
        light = 1 + flicker * shape[: (lr_frames + 100) * FINE]
        total = np.concatenate([[0], np.cumsum(light)]) / FINE * LR_NS
        at_ns = (np.arange(len(total)) / FINE - 50) * LR_NS

        def seen(
            middle_ns: Array, exposure_ns: float, at_ns: Array = at_ns, total: Array = total
        ) -> Array:
            late, early = (
                np.interp(middle_ns + s * exposure_ns / 2, at_ns, total) for s in (1, -1)
            )
            return (late - early) / exposure_ns + noise * rng.standard_normal(len(middle_ns))

        lr_ns = LR_NS * np.arange(lr_frames) + 250
        hr_ns = LR_NS * np.arange(-40, lr_frames + 40, ratio) + hr_exposure_ns / 2
        made.append(
            TraceBurst(
                lr_time_ns=(lr_ns - offset_ns) / (1 + 1e-6 * drift_ppm),
                lr_trace=0.8 * seen(lr_ns, 500.0),
                hr_time_ns=hr_ns,
                hr_trace=0.8 * rng.uniform(0.9, 1.1) * seen(hr_ns, hr_exposure_ns),
                lr_exposure_ns=500.0,
                hr_exposure_ns=hr_exposure_ns,
                lr_noise=0.8 * noise,
            )
        )
    return made


def _fit(bursts: list[TraceBurst]) -> TimeFit:
    return offset_from_traces(bursts, search_ns=SEARCH_NS)


def test_the_offset_is_found_within_its_error_from_short_bursts(tmp_path: Path) -> None:
    errors, bars = [], []
    for seed in range(6):
        fit = _fit(_bursts(seed, 131.0 + 900 * seed))
        errors.append(fit.calibration.offset_ns - (131.0 + 900 * seed))
        bars.append(fit.calibration.offset_sigma_ns)
        assert fit.calibration.ambiguity > 1.2
    assert np.sqrt(np.mean(np.square(errors))) < 100
    assert np.all(np.abs(errors) < 3.5 * np.array(bars))
    assert np.median(bars) < 100

    assert fit.calibration.method == "trace"
    assert fit.cost.min() < 0.1 < 0.7 < np.median(fit.cost)
    assert len(fit.hr_trace) == len(fit.hr_time_ns) == fit.calibration.samples
    assert np.corrcoef(fit.hr_trace, fit.fitted_trace)[0, 1] > 0.95
    fit.save(tmp_path / "time.npz")
    loaded = TimeFit.load(tmp_path / "time.npz")
    assert loaded.calibration == fit.calibration
    np.testing.assert_array_equal(loaded.fitted_trace, fit.fitted_trace)
    (tmp_path / "time.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(CalibrationError, match=r"time\.npz holds no fit"):
        TimeFit.load(tmp_path / "time.npz")


def test_one_long_burst_reaches_a_tenth_of_a_frame() -> None:
    errors = []
    for seed in range(6):
        bursts = _bursts(seed, -1234.0, number=1, lr_frames=256, ratio=4, flicker=0.02, noise=0.002)
        errors.append(_fit(bursts).calibration.offset_ns + 1234.0)
    assert np.sqrt(np.mean(np.square(errors))) < 100


def test_without_noise_the_exposures_are_allowed_for() -> None:
    for exposure_ns in (200.0, 500.0, 4000.0):
        found = _fit(_bursts(3, 777.0, noise=0.0, hr_exposure_ns=exposure_ns)).calibration
        assert found.offset_ns == pytest.approx(777.0, abs=10)


def test_drift_is_fitted_where_recordings_are_long() -> None:
    bursts = _bursts(
        5, 300.0, number=2, lr_frames=500, ratio=8, flicker=0.02, noise=0.001, drift_ppm=400.0
    )
    fitted = offset_from_traces(bursts, search_ns=(-3e3, 3e3), drift_ppm=None).calibration
    assert fitted.drift_ppm == pytest.approx(400.0, abs=4 * fitted.drift_sigma_ppm)
    assert fitted.drift_sigma_ppm < 150
    assert fitted.offset_ns == pytest.approx(300.0, abs=4 * fitted.offset_sigma_ns)
    known = offset_from_traces(bursts, search_ns=(-3e3, 3e3), drift_ppm=400.0).calibration
    assert known.offset_ns == pytest.approx(300.0, abs=4 * known.offset_sigma_ns)
    assert known.drift_sigma_ppm == 0


def test_missing_frames_do_no_harm() -> None:
    bursts = []
    for burst in _bursts(7, 500.0, noise=0.0):
        lr, hr = burst.lr_trace.copy(), burst.hr_trace.copy()
        lr[[12, 13, 45]] = np.nan
        hr[2] = np.nan
        bursts.append(replace(burst, lr_trace=lr, hr_trace=hr))
    assert _fit(bursts).calibration.offset_ns == pytest.approx(500.0, abs=20)


def test_a_constant_beam_is_refused() -> None:
    for seed in range(4):
        with pytest.raises(CalibrationError, match="no flicker to lock on"):
            offset_from_traces(_bursts(seed, 0.0, number=4, flicker=0.0))
    still = [replace(b, hr_trace=np.ones_like(b.hr_trace)) for b in _bursts(0, 0.0, number=2)]
    with pytest.raises(CalibrationError, match="no flicker to lock on"):
        _fit(still)


@pytest.mark.parametrize("noise", [0.0, 0.0002])
def test_flicker_that_repeats_is_refused_as_ambiguous(noise: float) -> None:
    wave = np.sin(2 * np.pi * np.arange(200 * FINE) / FINE / 5.3)
    bursts = _bursts(1, 200.0, ratio=7, noise=noise, wave=wave)
    with pytest.raises(CalibrationError, match="ambiguous"):
        _fit(bursts)
    narrow = offset_from_traces(bursts, search_ns=(-2.4e3, 2.4e3)).calibration
    assert narrow.offset_ns == pytest.approx(200, abs=100)


def test_a_single_edge_in_a_burst_is_refused_as_too_sharp() -> None:
    wave = np.where(np.arange(200 * FINE) > 93 * FINE, 1.0, 0.0)
    with pytest.raises(CalibrationError, match="at an edge or a flash"):
        _fit(_bursts(1, 200.0, ratio=7, flicker=0.01, wave=wave))


def test_too_few_hr_frames_are_refused_however_well_they_fit() -> None:
    with pytest.raises(CalibrationError, match="enough HR frames"):
        offset_from_traces(_bursts(11, 0.0, number=1, flicker=0.02))


def test_an_offset_beyond_the_search_is_not_replaced_by_another() -> None:
    with pytest.raises(CalibrationError, match=r"lies beyond|no flicker"):
        offset_from_traces(_bursts(2, 9_000.0), search_ns=(-8e3, 8e3))


def test_bad_traces_are_refused_in_words() -> None:
    good = _bursts(0, 0.0, number=1)[0]
    with pytest.raises(CalibrationError, match="LR has times of shape"):
        offset_from_traces([replace(good, lr_trace=good.lr_trace[:-1])])
    with pytest.raises(CalibrationError, match="HR frames do not increase"):
        offset_from_traces([replace(good, hr_time_ns=good.hr_time_ns[::-1])])
    with pytest.raises(CalibrationError, match="no light"):
        offset_from_traces([replace(good, hr_trace=-good.hr_trace)])
    with pytest.raises(CalibrationError, match="none of the 1 bursts"):
        offset_from_traces([replace(good, hr_trace=np.full_like(good.hr_trace, np.nan))])
    with pytest.raises(CalibrationError, match="enough HR frames"):
        offset_from_traces([replace(good, hr_time_ns=good.hr_time_ns + 1e9)])
    with pytest.raises(CalibrationError, match="cannot be tried"):
        offset_from_traces([good], search_ns=(5.0, -5.0))
    with pytest.raises(CalibrationError, match="none of the 1 bursts"):
        offset_from_traces([replace(good, hr_time_ns=good.hr_time_ns[:1], hr_trace=np.ones(1))])


def _sequences(
    seed: int, offset_ns: float, *, speed: float, flicker: float = 0.003
) -> list[DualSequence]:
    """Drops that fly at `speed` HR pixels an LR frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :80]
    made = []
    for _ in range(2):
        drops = [
            (rng.uniform(0, 48), rng.uniform(0, 80), rng.uniform(3, 6), rng.normal(0, speed, 2))
            for _ in range(6)
        ]

        def scene(t: float, drops: list[tuple[float, float, float, Array]] = drops) -> Array:
            image = np.ones((48, 80))
            for row, column, size, fast in drops:
                away = (y - row - fast[0] * t) ** 2 + (x - column - fast[1] * t) ** 2
                image *= 1 - 0.5 * np.exp(-away / size**2)
            return image

        lr_t, hr_t = np.arange(61.0), 7.3 + np.arange(-20, 61, 15.0)
        lr = np.stack([block_mean(scene(t)) for t in lr_t])
        lr *= 1 + flicker * rng.standard_normal((61, 1, 1))
        hr = np.stack([scene(t) for t in hr_t])
        made.append(
            DualSequence.from_arrays(
                lr + rng.normal(0, 0.01, lr.shape),
                hr + rng.normal(0, 0.005, hr.shape),
                LR_NS * lr_t - offset_ns,
                LR_NS * hr_t,
            )
        )
    return made


def test_motion_of_the_sample_gives_the_offset_too() -> None:
    for seed in range(3):
        fit = offset_from_images(_sequences(seed, 2345.0, speed=0.6), search_ns=SEARCH_NS)
        found = fit.calibration
        assert found.method == "image"
        assert found.offset_ns == pytest.approx(2345.0, abs=100)
        assert abs(found.offset_ns - 2345.0) < 3.5 * found.offset_sigma_ns
        assert len(fit.hr_trace) == found.samples


def test_images_without_motion_are_refused() -> None:
    with pytest.raises(CalibrationError, match="Nothing moves"):
        offset_from_images(_sequences(0, 0.0, speed=0.0))
    blank = DualSequence.from_arrays(
        np.ones((9, 4, 5)), np.ones((3, 16, 20)), np.arange(9.0), 3 * np.arange(3.0)
    )
    with pytest.raises(CalibrationError, match="Nothing moves"):
        offset_from_images([blank])


def test_traces_of_a_sequence_are_means_over_pixels_usable_in_every_frame() -> None:
    lr = np.arange(12, dtype=float)[:, None, None] + np.arange(20.0).reshape(4, 5)
    lr[3, 1, 2] = np.nan
    hr = np.repeat(np.repeat(2 * lr[::4], 4, axis=1), 4, axis=2)
    hr[1, 0, 0] = np.nan
    sequence = DualSequence.from_arrays(
        lr, np.concatenate([hr, hr]), np.arange(12.0), np.r_[0.0, 4, 8, 1000, 1004, 1008]
    )
    trace = TraceBurst.of(sequence, lr_exposure_ns=0.5, hr_exposure_ns=0.5)
    kept = np.delete(np.arange(20.0), [0, 7]).mean()
    np.testing.assert_allclose(trace.lr_trace, kept + np.arange(12), rtol=1e-6)
    np.testing.assert_allclose(trace.hr_trace[:3], 2 * (kept + np.array([0, 4, 8])), rtol=1e-6)
    assert np.isnan(trace.hr_trace[3:]).all(), "far outside the LR recording nothing is read"
