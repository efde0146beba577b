"""The configuration file of an installation: one TOML file, validated before anything starts."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

FILE_NAME = "xfusion.toml"


class ConfigurationError(ValueError):
    """The configuration file is missing, unreadable or wrong; the message names the key."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Folders(_Section):
    """Where files live; relative paths start at the folder of the configuration file."""

    raw: Path = Field(Path("raw"), description="burst files that the camera IOCs write")
    processed: Path = Field(Path("processed"), description="fused frames")
    journal: Path = Field(Path("journal"), description="documents waiting for, or sent to, Tiled")
    state: Path = Field(Path("state"), description="embedded Tiled server, ledger, logs")


class Tiled(_Section):
    """Which Tiled server to use; with neither address nor profile an embedded one is run."""

    uri: str | None = Field(None, description="address of a Tiled server")
    profile: str | None = Field(None, description="name of a Tiled client profile")
    api_key_env: str = Field("TILED_API_KEY", description="environment variable with the API key")
    path: str = Field("", description="container below the root of the server, '' for the root")
    port: int = Field(0, ge=0, le=65535, description="port of the embedded server, 0 for any")

    @model_validator(mode="after")
    def _one_address(self) -> Tiled:
        if self.uri and self.profile:
            raise ValueError("give either uri or profile, not both")
        return self

    @property
    def embedded(self) -> bool:
        """Whether this installation runs its own Tiled server."""
        return self.uri is None and self.profile is None

    @property
    def api_key(self) -> SecretStr | None:
        """The API key of an external server, taken from the environment, never from a file."""
        value = os.environ.get(self.api_key_env)
        return SecretStr(value) if value else None


class Devices(_Section):
    """PV prefixes of the instrument."""

    phantom: str = "XFSIM:PHANTOM:"
    shimadzu: str = "XFSIM:HPVX2:"
    delay_generator: str = "XFSIM:DG645:"
    shutter: str = "XFSIM:SHUTTER:"
    sample: str = "XFSIM:SAMPLE:X"


class Reconstruction(_Section):
    """Which backends reconstruct a burst, and within which limits."""

    backends: tuple[str, ...] = Field((), description="backend ids, in order; none: all available")
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="parameters of a backend, by id"
    )
    deadline_s: float = Field(600.0, gt=0, description="limit of one reconstruction, then killed")
    shard_frames: int = Field(16, ge=1, le=256, description="most fused frames in one file")
    shard_seconds: float = Field(2.0, gt=0, description="a file is closed after this long")
    concurrency: int = Field(
        0, ge=0, le=64, description="reconstructions at a time; 0: cores - 1, at least one"
    )

    @property
    def workers(self) -> int:
        """Number of reconstructions that run at the same time."""
        return self.concurrency or max(1, (os.cpu_count() or 2) - 1)


class Plugins(_Section):
    """Which installed backend plugins may be loaded."""

    allow: tuple[str, ...] | None = Field(None, description="only these; unset: every one")
    block: tuple[str, ...] = Field((), description="never these")


class Configuration(_Section):
    """Everything an installation can be told.

    Parameters are documented on the sections; `load` reads them from a file and makes every
    folder absolute.
    """

    folders: Folders = Folders()
    tiled: Tiled = Tiled()
    devices: Devices = Devices()
    reconstruction: Reconstruction = Reconstruction()
    plugins: Plugins = Plugins()

    @classmethod
    def load(cls, path: Path) -> Configuration:
        """Read and validate a configuration file.

        Parameters
        ----------
        path : Path
            The TOML file.

        Raises
        ------
        ConfigurationError
            When the file cannot be read, is no TOML, or has an unknown key or a wrong value.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(
                f"The configuration {path} cannot be read: {error}. "
                f"'xfusion-bluesky init' writes one to start from."
            ) from error
        try:
            return cls.model_validate(table).located(path.parent)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(
                f"The configuration {path} is wrong at '{key}': {first['msg']}. "
                f"Correct or remove that line; 'xfusion-bluesky init' shows every key."
            ) from error

    def located(self, root: Path) -> Configuration:
        """Return the same configuration with every folder absolute, below `root` if relative."""
        base = root.resolve()
        folders = Folders(**{name: base / value for name, value in self.folders})
        return self.model_copy(update={"folders": folders})


def template() -> str:
    """Return a commented configuration file with every key at its default."""
    lines = [
        "# Configuration of xfusion-bluesky. Every key is optional; these are the defaults.",
        "",
    ]
    for section, info in Configuration.model_fields.items():
        defaults = info.get_default(call_default_factory=True)
        lines += [f"# {(type(defaults).__doc__ or '').splitlines()[0]}", f"[{section}]"]
        for name, field in type(defaults).model_fields.items():
            value = getattr(defaults, name)
            if isinstance(value, dict):
                continue
            comment = f"  # {field.description}" if field.description else ""
            lines.append(f"# {name} = {_toml(value)}{comment}")
        lines.append("")
    lines += ["# Parameters of a backend, for example:", "# [reconstruction.parameters.linear-bp]"]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    match value:
        case None:
            return '""'
        case bool():
            return str(value).lower()
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case int() | float():
            return str(value)
        case _:
            return '"' + str(value).replace("\\", "/") + '"'
