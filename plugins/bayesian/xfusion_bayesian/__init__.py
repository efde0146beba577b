"""Backends of Bayesian fusion: `bayesian-paper` and `bayesian-strong`."""

from __future__ import annotations

from xfusion_bayesian.paper import BayesianPaper
from xfusion_bayesian.strong import BayesianStrong
from xfusion_bayesian.version import __version__
from xfusion_bluesky.backends.contract import BackendFactory
from xfusion_bluesky.backends.hookspecs import hookimpl

__all__ = ["BayesianPaper", "BayesianStrong", "__version__", "xfusion_backends"]


@hookimpl
def xfusion_backends() -> list[BackendFactory]:
    """Offer `bayesian-paper` and `bayesian-strong`."""
    return [
        BackendFactory(BayesianPaper.info, BayesianPaper),
        BackendFactory(BayesianStrong.info, BayesianStrong),
    ]
