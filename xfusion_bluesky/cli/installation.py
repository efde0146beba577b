"""What every command begins with: the configuration of this folder and its catalogue."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..configuration import FILE_NAME, Configuration, ConfigurationError

_FILE_WIDTH = 160
# In a file or a pipe nobody scrolls: there a table is as wide as it needs.
console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
ConfigOption = Annotated[
    Path, typer.Option("--config", help="Configuration file; defaults apply where there is none.")
]
DEFAULT_CONFIG = Path(FILE_NAME)
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Checkpoint, for the backend of a network."),
]


def load_configuration(path: Path) -> Configuration:
    """Return the configuration of a file, or the defaults where the usual one is missing."""
    if path.exists():
        return Configuration.load(path)
    if path != DEFAULT_CONFIG:
        raise ConfigurationError(f"There is no configuration file {path}.")
    return Configuration().located(Path())


def parameters_of(settings: Iterable[str]) -> dict[str, Any]:
    """Return the parameters that ``--set KEY=VALUE`` gives; a value is JSON, or else text."""
    parameters: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not key or not equals:
            raise ConfigurationError(f"--set {setting} is not KEY=VALUE; nothing was done.")
        try:
            parameters[key] = json.loads(text)
        except ValueError:
            parameters[key] = text
    return parameters


def weights_of(file: Path | None) -> dict[str, Any]:
    """Return the parameters that ``--weights FILE`` gives.

    Backends run in other folders, hence the whole path; and what is in the file, not its name,
    makes a reconstruction the same as another, hence its SHA-256.
    """
    if file is None:
        return {}
    from ..processing.weights import sha256_of

    try:
        sha256 = sha256_of(file)
    except OSError as error:
        raise ConfigurationError(
            f"--weights {file} cannot be read: {error.strerror}. Nothing was done."
        ) from error
    return {"weights": str(file.resolve()), "sha256": sha256}
