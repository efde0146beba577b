"""Which runs are wanted: criteria that the server checks, so that only hits are sent."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from bluesky_tiled_plugins import CatalogOfBlueskyRuns


class Criteria(TypedDict, total=False):
    """What runs must have; what is left out, or None, may be anything.

    Parameters
    ----------
    sample : str
        ``sample_name`` of the raw run.
    backend : str
        Backend id.
    status : str
        Exit status: ``success``, ``fail``, ``abort``; or ``unfinished``, without stop document.
    raw_uid : str
        Full uid of the raw run.
    seq_num : int
        Burst of the raw run, from 1.
    min_psnr_db : float
        Least mean PSNR against the truth, in dB; runs without truth do not have it.
    max_chi2 : float
        Largest median chi2 of consistency with the LR frames.
    since : datetime
        Earliest start; without time zone it is local time.
    """

    sample: str | None
    backend: str | None
    status: str | None
    raw_uid: str | None
    seq_num: int | None
    min_psnr_db: float | None
    max_chi2: float | None
    since: datetime | None


def matching(runs: CatalogOfBlueskyRuns, criteria: Criteria) -> CatalogOfBlueskyRuns:
    """Return the runs that fulfil all criteria, newest first.

    Parameters
    ----------
    runs : CatalogOfBlueskyRuns
        `Catalog.raw` or `Catalog.processed`, or part of it.
    criteria : Criteria
        What they must have.

    Returns
    -------
    CatalogOfBlueskyRuns
        Fetched when it is asked for: ``.values().head(10)``, ``len(...)``, another ``.search``.
    """
    for query in _queries(criteria):
        runs = runs.search(query)
    return runs.sort(("start.time", -1))


def _queries(criteria: Criteria) -> list[Any]:
    from tiled.queries import Key, KeyPresent

    equal = {
        "start.sample_name": criteria.get("sample"),
        "start.backend.id": criteria.get("backend"),
        "start.raw_uid": criteria.get("raw_uid"),
        "start.raw_seq_num": criteria.get("seq_num"),
    }
    queries = [Key(key) == value for key, value in equal.items() if value is not None]
    match criteria.get("status"):
        case None:
            pass
        case "unfinished":
            queries.append(KeyPresent("stop.uid", exists=False))
        case status:
            queries.append(Key("stop.exit_status") == status)
    if (psnr_db := criteria.get("min_psnr_db")) is not None:
        queries.append(Key("stop.quality.psnr_db") >= float(psnr_db))
    if (chi2 := criteria.get("max_chi2")) is not None:
        queries.append(Key("stop.quality.chi2") <= float(chi2))
    if (since := criteria.get("since")) is not None:
        queries.append(Key("start.time") >= since.timestamp())
    return queries
