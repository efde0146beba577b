"""The catalogue for one command: closed however it ends, and its failures in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..catalog import Catalog
    from ..configuration import Configuration


@contextmanager
def opened_catalog(configuration: Configuration) -> Iterator[Catalog]:
    """Open the catalogue of a configuration.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.

    Yields
    ------
    Catalog

    Raises
    ------
    CatalogError, ConnectionError
        Tiled does not answer, or fails while the command works.
    """
    import httpx

    from ..catalog import CatalogError
    from ..processing.service import connect_catalog

    with closing(connect_catalog(configuration)) as catalog:
        try:
            yield catalog
        except httpx.HTTPError as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise CatalogError(
                f"Tiled failed while it was asked: {why}. See the log of the server (an embedded "
                "one writes server.log) and try again; the data are safe."
            ) from error
