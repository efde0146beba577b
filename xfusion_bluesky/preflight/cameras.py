"""Preflight of the cameras: rates, memory, download, disk."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .finding import Check, Severity, rate, span
from .timeline import SHIMADZU_QUANTUM_NS, BurstSettings, PhantomSettings, ShimadzuSettings

SHIMADZU_SHORTEST_NS = {"FP": 200.0, "HP": 100.0}
SHIMADZU_FRAMES = {"FP": 128, "HP": 256}
PLAYBACK_HZ = 33.0
FULL_ROWS = 800
FULL_PERIOD_NS = 1e9 / 76e3
SHORTEST_PERIOD_NS = 1e9 / 1.75e6
LONGEST_TRANSFER_S = 60.0
FEW_BURSTS = 20
DISK_MARGIN = 1.2
_ROW_STEP = 8
_BYTES = 2


def shortest_period_ns(rows: int) -> float:
    """Return the shortest period of a Phantom TMX 7510 with so many rows, in ns.

    76 kfps with all 800 rows, in proportion with fewer, 1.75 Mfps at most.
    """
    return max(SHORTEST_PERIOD_NS, FULL_PERIOD_NS * rows / FULL_ROWS)


def region_for(period_ns: float, most_rows: int) -> int:
    """Return the largest number of rows, in steps of 8, that a period allows; 0: none."""
    if period_ns < SHORTEST_PERIOD_NS:
        return 0
    rows = math.floor(FULL_ROWS * period_ns / FULL_PERIOD_NS * (1 + 1e-9))
    return min(rows, most_rows) // _ROW_STEP * _ROW_STEP


def cameras(
    asked: ShimadzuSettings, settings: BurstSettings, bursts: int, free_bytes: float | None
) -> Iterator[Check]:
    """Look at what the cameras, the links and the disk can do.

    Parameters
    ----------
    asked : ShimadzuSettings
        As wanted, before the camera rounds times up to 10 ns.
    settings : BurstSettings
        As the cameras take them.
    bursts : int
        That the next run is to take.
    free_bytes : float or None
        Free on the disk for the bursts; None = not known.
    """
    yield _shimadzu(asked, settings.shimadzu)
    yield _phantom_rate(settings.phantom)
    yield _phantom_memory(settings.phantom)
    yield _transfer(settings)
    if free_bytes is not None:
        yield _disk(settings, bursts, free_bytes)


def burst_bytes(settings: BurstSettings) -> int:
    """Return the size of the files of one burst, both cameras, in bytes."""
    lr, hr = settings.shimadzu, settings.phantom
    return _BYTES * (lr.frames * lr.rows * lr.columns + hr.frames * hr.rows * hr.columns)


def transfer_s(settings: BurstSettings) -> tuple[float, float]:
    """Return the time of playback (Shimadzu) and download (Phantom), in s."""
    lr, hr = settings.shimadzu, settings.phantom
    download_bytes = _BYTES * hr.frames * hr.rows * hr.columns
    return lr.frames / lr.playback_hz, download_bytes / hr.link_bytes_per_s


def _shimadzu(asked: ShimadzuSettings, lr: ShimadzuSettings) -> Check:
    subject = "Shimadzu rate"
    mode = "HP" if lr.frames > SHIMADZU_FRAMES["FP"] else "FP"
    shortest_ns = SHIMADZU_SHORTEST_NS[mode]
    found = f"{lr.frames} frames, {rate(lr.interval_ns)}, mode {mode}"
    if lr.frames > SHIMADZU_FRAMES["HP"]:
        most = SHIMADZU_FRAMES["HP"]
        return Check(
            subject, Severity.STOP, found, f"its memory holds {most} frames", f"{most} frames"
        )
    if lr.interval_ns < shortest_ns:
        return Check(
            subject,
            Severity.STOP,
            found,
            f"it cannot take a frame every {lr.interval_ns:g} ns",
            f"Shimadzu interval {shortest_ns:g} ns",
        )
    changed = [
        f"{name} {was:g} -> {now:g} ns"
        for name, was, now in (
            ("interval", asked.interval_ns, lr.interval_ns),
            ("exposure", asked.exposure_ns, lr.exposure_ns),
        )
        if was != now
    ]
    if changed:
        why = f"the camera keeps time in steps of {SHIMADZU_QUANTUM_NS} ns and rounds up"
        return Check(
            subject, Severity.WARN, f"{found}: {', '.join(changed)}", why, "multiples of 10 ns"
        )
    return Check(subject, Severity.OK, found)


def _phantom_rate(hr: PhantomSettings) -> Check:
    found = f"{hr.columns} x {hr.rows} at {rate(hr.period_ns)}"
    shortest_ns = shortest_period_ns(hr.rows)
    if hr.period_ns >= shortest_ns * (1 - 1e-6):
        return Check("Phantom rate", Severity.OK, found)
    nearest = f"Phantom period {math.ceil(shortest_ns)} ns ({rate(shortest_ns)})"
    rows = region_for(hr.period_ns, hr.rows)
    if rows:
        nearest += f"; or Phantom region {hr.columns} x {rows}"
    why = f"{hr.rows} rows are read at {rate(shortest_ns)} at most"
    return Check("Phantom rate", Severity.STOP, found, why, nearest)


def _phantom_memory(hr: PhantomSettings) -> Check:
    subject = "Phantom memory"
    needed = max(hr.last + 1, 1) + max(-hr.first, 0)
    room = "not known" if hr.memory_frames is None else f"{hr.memory_frames} frames"
    found = f"frames {hr.first} to {hr.last}: {needed} to keep, memory {room}"
    if hr.memory_frames is not None and needed > hr.memory_frames:
        last = hr.memory_frames - max(-hr.first, 0) - 1
        return Check(
            subject,
            Severity.STOP,
            found,
            "the memory does not hold them",
            f"hr_last={last}" if last >= hr.first else f"hr_first={-hr.memory_frames + 1}",
        )
    kept = hr.kept_before_trigger
    if hr.first < 0 and kept is not None and -hr.first > kept:
        return Check(
            subject,
            Severity.WARN,
            found,
            f"at its last trigger the camera had kept {kept} frames from before",
            f"hr_first={-kept}, or a smaller PostTrigFrames and a longer wait after arming",
        )
    return Check(subject, Severity.OK, found)


def _transfer(settings: BurstSettings) -> Check:
    subject = "transfer"
    playback_s, download_s = transfer_s(settings)
    found = (
        f"playback {span(playback_s * 1e9)} at {settings.shimadzu.playback_hz:g} Hz, download "
        f"{span(download_s * 1e9)}, both at a time"
    )
    if settings.shimadzu.playback_hz > PLAYBACK_HZ:
        why = f"beyond {PLAYBACK_HZ:g} Hz the playback loses frames"
        return Check(
            subject, Severity.WARN, found, why, f"Shimadzu playback rate {PLAYBACK_HZ:g} Hz"
        )
    if download_s > LONGEST_TRANSFER_S:
        hr = settings.phantom
        frames = int(hr.frames * LONGEST_TRANSFER_S / download_s)
        nearest = f"hr_last={hr.first + max(frames, 1) - 1} takes {LONGEST_TRANSFER_S:g} s"
        if hr.link_bytes_per_s < 1e9:
            nearest = f"DownloadSpeed 10 Gb/s; or {nearest}"
        return Check(subject, Severity.WARN, found, "every burst waits for that", nearest)
    return Check(subject, Severity.OK, found)


def _disk(settings: BurstSettings, bursts: int, free_bytes: float) -> Check:
    one = burst_bytes(settings)
    fit = int(free_bytes / (DISK_MARGIN * one))
    found = f"{one / 1e6:.0f} MB a burst, {free_bytes / 1e9:.1f} GB free: room for {fit} bursts"
    if fit < bursts:
        why = f"the next run is to take {bursts}"
        nearest = f"free {(DISK_MARGIN * bursts * one - free_bytes) / 1e9:.2g} GB more"
        if fit:
            nearest = f"bursts={fit}; or {nearest}"
        return Check("disk", Severity.STOP, found, why, nearest)
    if fit < FEW_BURSTS:
        return Check("disk", Severity.WARN, found, "a day takes more than that", "free some space")
    return Check("disk", Severity.OK, found)
