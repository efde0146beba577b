"""What fetching data raises."""

from __future__ import annotations

__all__ = ["BadArchive", "FetchError"]


class FetchError(ConnectionError):
    """A file did not come, or not as it should be; the message says what to do."""


class BadArchive(LookupError):
    """An archive is damaged, or would write where or what it should not."""
