"""Have the cameras moved since they were calibrated? A plan that asks the sample itself."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import bluesky.plan_stubs as bps
from ophyd import Signal

from ..calibration.errors import CalibrationError
from ..calibration.registration import Drift, registration_drift
from ..devices.dual import DualCamera
from ..devices.shutter import Shutter
from ..documents.corrections import Corrections
from ..documents.raw import Burst
from ..documents.sequence import burst_sequence
from .acquisition import run_of_bursts, set_timing
from .calibrated import check_calibration, find_corrections
from .collected import Collected
from .safety import Plan, connected, shut_afterwards

_LOG = logging.getLogger(__name__)


def check_registration(
    dual: DualCamera,
    shutter: Shutter,
    calibration_uid: str,
    hr_first: int = 0,
    hr_last: int = 3,
    phantom_delay_ns: float = 0.0,
    shimadzu_delay_ns: float = 0.0,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Take one burst of the sample and measure how far the cameras have moved since calibration.

    Compares the frames that both cameras took at one time. The sample needs some contrast, and may
    move. Burst and drift are one run, ``purpose: registration``, with the drift in its stream
    ``registration``.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    shutter : Shutter
        Closed at the end whatever happens.
    calibration_uid : str
        What `calibrate` returned.
    hr_first, hr_last, phantom_delay_ns, shimadzu_delay_ns
        As for `dual_burst`; some Phantom frames must coincide with Shimadzu frames.
    md : dict, optional
        Further metadata.

    Returns
    -------
    Drift
        Shift in HR pixels with its error, and whether it is flagged (more than 0.2 HR px).

    Raises
    ------
    CalibrationError
        There is no such calibration, it was made with other readout regions, or the burst has no
        frames of one time.
    """
    corrections = find_corrections(dual, calibration_uid)
    collected = Collected()
    drifts: list[Drift] = []
    start = {
        "plan_name": "check_registration",
        "purpose": "registration",
        **corrections.uids,
        "num_bursts": 1,
        **(md or {}),
    }

    def measure(_: int) -> Plan:
        burst = collected.last
        tasks = yield from bps.wait_for([lambda: asyncio.to_thread(_drift, burst, corrections)])
        drift: Drift = tasks.pop().result()
        drifts.append(drift)
        yield from bps.create("registration")
        for name, value in _numbers(drift).items():
            yield from bps.read(Signal(name=name, value=value))
        yield from bps.save()

    def acquire() -> Plan:
        yield from connected(dual, shutter)
        yield from check_calibration(dual, corrections.calibration)
        yield from set_timing(dual, hr_first, hr_last, phantom_delay_ns, shimadzu_delay_ns)
        yield from run_of_bursts(dual, 1, start, shutter, "Open", after=measure)

    yield from collected.during(lambda: shut_afterwards(acquire(), shutter))
    (drift,) = drifts
    if drift.pairs == 0:
        raise CalibrationError(
            "The registration cannot be checked: the burst has no two frames of one time that show "
            "the sample. Choose hr_first and hr_last inside the burst of the Shimadzu, and have "
            "the sample in the beam; the burst is kept."
        )
    if drift.flagged:
        shift_px = math.hypot(*drift.shift_px)
        _LOG.warning("The cameras have moved by %.2f HR px: calibrate again.", shift_px)
    return drift


def _drift(burst: Burst, corrections: Corrections) -> Drift:
    with burst_sequence(burst, corrections) as sequence:
        return registration_drift(sequence)


def _numbers(drift: Drift) -> dict[str, float]:
    (row, column), (row_error, column_error) = drift.shift_px, drift.error_px
    return {
        "drift_row_px": row,
        "drift_column_px": column,
        "drift_row_error_px": row_error,
        "drift_column_error_px": column_error,
        "drift_pairs": drift.pairs,
        "drift_flagged": int(drift.flagged),
    }
