"""Errors of plugins as one line that can be stored, whatever the plugin raised."""

from __future__ import annotations

__all__ = ["in_words", "printable"]

_MOST_CHARACTERS = 1000


def in_words(error: BaseException) -> str:
    """Return kind and message of an error in one line of about 1000 characters at most."""
    try:
        text = str(error)[:_MOST_CHARACTERS]
        if isinstance(error, SystemExit):
            text = f"the backend called sys.exit({text})"
    except Exception:  # noqa: BLE001 - an error of a plugin may fail even at saying what it is
        text = "it cannot say more"
    return printable(" ".join(f"{type(error).__name__}: {text}".split()))


def printable(text: str) -> str:
    """Return a text without lone surrogates, of file names for instance: JSON takes none."""
    return text.encode(errors="backslashreplace").decode()
