"""Backends bayesian-paper and bayesian-strong keep the contract of backends."""

from xfusion_bluesky.backends.conformance import Conformance


class TestBayesianPaper(Conformance):
    backend_id = "bayesian-paper"


class TestBayesianStrong(Conformance):
    backend_id = "bayesian-strong"
