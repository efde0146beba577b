"""Writes one run to Tiled, so that a failure is seen and can be repeated without doubling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bluesky_tiled_plugins import CatalogOfBlueskyRuns


class RunWriter:
    """Writes the documents of one run into a catalogue; any failure raises.

    Files are registered at once, in the order of their StreamDatum documents. Events are kept
    until `flush` or the stop document, and written together.

    Parameters
    ----------
    container : CatalogOfBlueskyRuns
        `Catalog.raw` or `Catalog.processed`.
    """

    def __init__(self, container: CatalogOfBlueskyRuns) -> None:
        from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer

        self._writer = _exact_writer(container)
        self._normalizer = RunNormalizer()
        self._normalizer.subscribe(self._writer)

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Write one document, or keep it when it is an event.

        Parameters
        ----------
        name : str
            Kind of document.
        document : mapping
            The document.

        Raises
        ------
        httpx.HTTPError
            The server did not take it. A 409 at the start document means that the run is there
            already, by this or another writer.
        """
        self._normalizer(name, document)

    def flush(self) -> None:
        """Write the events that were kept."""
        for stream, events in self._writer._internal_data_cache.items():
            if events:
                self._writer._write_internal_data(events, self._writer._desc_nodes[stream])
                events.clear()


def _exact_writer(container: CatalogOfBlueskyRuns) -> Any:
    from bluesky_tiled_plugins.writing.tiled_writer import _RunWriter

    class ExactRunWriter(_RunWriter):  # type: ignore[misc]
        def stream_datum(self, doc: Any) -> None:
            # The original keeps back files shorter than a batch, and then shows them out of order.
            self._write_external_data(doc)

        def _append_with_retry(self, df_client: Any, table: Any, desc_name: str) -> None:
            # The original repeats an append whose answer was lost, and may so double the rows.
            # Here that is a failure: the run is deleted and written again from its journal.
            df_client.append_partition(0, table)

    return ExactRunWriter(
        container.include_data_sources(),
        # No event is written before `flush`; there is no run of so many.
        batch_size=1 << 62,
        # Above 0, short integer arrays come back as strings.
        max_array_size=0,
    )
