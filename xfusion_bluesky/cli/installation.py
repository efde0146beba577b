"""What every command begins with: the configuration of this folder and its catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..configuration import FILE_NAME, Configuration, ConfigurationError

if TYPE_CHECKING:
    from ..catalog import Catalog

console = Console()
ConfigOption = Annotated[
    Path, typer.Option("--config", help="Configuration file; defaults apply where there is none.")
]
DEFAULT_CONFIG = Path(FILE_NAME)


def load_configuration(path: Path) -> Configuration:
    """Return the configuration of a file, or the defaults where the usual one is missing."""
    if path.exists():
        return Configuration.load(path)
    if path != DEFAULT_CONFIG:
        raise ConfigurationError(f"There is no configuration file {path}.")
    return Configuration().located(Path())


def open_catalog(configuration: Configuration) -> Catalog:
    """Return the catalogue of a configuration; the caller closes it."""
    from ..catalog import Catalog, connect
    from ..processing.tiled_server import TiledServer

    tiled = configuration.tiled
    if not tiled.embedded:
        key = tiled.api_key.get_secret_value() if tiled.api_key else None
        return Catalog(connect(uri=tiled.uri, profile=tiled.profile, api_key=key), tiled.path)
    server = TiledServer.running(configuration.folders.state / "tiled")
    if server is None:
        raise ConnectionError(
            "The embedded Tiled server does not run; 'xfusion-bluesky sim start' starts it. "
            "The data are safe in its folder."
        )
    return Catalog(connect(uri=server.uri, api_key=server.api_key), tiled.path)
