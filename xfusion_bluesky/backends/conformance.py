"""A pytest suite for backends: inherit from `Conformance` in a plugin's tests.

::

    from xfusion_bluesky.backends.conformance import Conformance


    class TestNearest(Conformance):
        backend_id = "nearest"

runs every check of `checks.CHECKS` as a test of its own. ``xfusion-bluesky plugins check`` runs
the same list without pytest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from xfusion_bluesky.backends.checks import CHECKS, Candidate, Check
from xfusion_bluesky.backends.contract import Backend
from xfusion_bluesky.backends.registry import Registry

__all__ = ["Conformance"]


class Conformance:
    """Tests that a backend keeps the contract; subclass it and say which backend.

    Attributes
    ----------
    backend_id : str
        Id of an installed backend.
    parameters : mapping
        Its parameters; default: none.
    """

    backend_id: ClassVar[str] = ""
    parameters: ClassVar[Mapping[str, Any]] = {}

    def make(self) -> Backend:
        """Make the backend; override it for one that is not installed."""
        return Registry.discover().create(self.backend_id, self.parameters)

    @pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
    def test_backend(self, check: Check) -> None:
        """One check of the list."""
        if check.of_accuracy and not self.make().info.claims_accuracy:
            pytest.skip("it does not claim accuracy")
        check.run(Candidate(self.make))
