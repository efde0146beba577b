"""What readers of files raise."""

from __future__ import annotations

__all__ = ["FormatError"]


class FormatError(ValueError, LookupError):
    """A file or folder is not what it should be; the message names it and says what to do."""

    def __str__(self) -> str:  # LookupError's children would otherwise quote their message
        return str(self.args[0])
