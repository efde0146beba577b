"""The configuration file of an installation: one TOML file, validated before anything starts."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

FILE_NAME = "xfusion.toml"
_SHARE_OF_MEMORY = 0.8


class ConfigurationError(ValueError):
    """The configuration file is missing, unreadable or wrong; the message names the key."""


def _nameable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path cannot hold a NUL character")
    return path


def _unset_when_empty(value: object) -> object:
    # TOML has no null; the template writes "" for what is not set.
    return None if value == "" else value


def _web_address(uri: str | None) -> str | None:
    parts = urlsplit(uri or "http://none")
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in parts.netloc:
        raise ValueError("an address is like http://127.0.0.1:8000/api/v1")
    if parts.query or parts.username or parts.fragment:
        # Nothing that lies in a file can hold a key: files are copied and shown around.
        raise ValueError("an address holds no key or query; the key goes into the environment")
    return uri


def _pv_prefix(prefix: str) -> str:
    if not prefix or not prefix.isascii() or not prefix.isprintable() or " " in prefix:
        raise ValueError("a PV prefix is one or more printable ASCII characters without blanks")
    return prefix


def _pv_prefix_or_none(prefix: str) -> str:
    return prefix and _pv_prefix(prefix)


_Folder = Annotated[Path, AfterValidator(_nameable)]
_Unset = BeforeValidator(_unset_when_empty)
_OptionalPrefix = Annotated[str, AfterValidator(_pv_prefix_or_none)]
_Address = Annotated[str | None, _Unset, AfterValidator(_web_address)]
_Prefix = Annotated[str, AfterValidator(_pv_prefix)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Folders(_Section):
    """Where files live; relative paths start at the folder of the configuration file."""

    raw: _Folder = Field(Path("raw"), description="burst files that the camera IOCs write")
    processed: _Folder = Field(Path("processed"), description="fused frames")
    journal: _Folder = Field(
        Path("journal"), description="documents waiting for, or sent to, Tiled"
    )
    state: _Folder = Field(Path("state"), description="embedded Tiled server, ledger, logs")
    readable: tuple[_Folder, ...] = Field(
        (), description="further folders from which stored burst files may be read"
    )

    def __iter__(self) -> Iterator[tuple[str, Path]]:  # type: ignore[override]
        """Yield name and path of each folder that this installation writes into."""
        yield from (
            ("raw", self.raw),
            ("processed", self.processed),
            ("journal", self.journal),
            ("state", self.state),
        )

    @property
    def raw_roots(self) -> tuple[Path, ...]:
        """Folders from which burst files may be read."""
        return (self.raw, *self.readable)

    def _located(self, base: Path) -> Folders:
        readable = tuple(base / path.expanduser() for path in self.readable)
        own = {name: base / path.expanduser() for name, path in self}
        return Folders(**own, readable=readable)


class Tiled(_Section):
    """Which Tiled server to use; with neither address nor profile an embedded one is run."""

    uri: _Address = Field(None, description="address of a Tiled server")
    profile: Annotated[str | None, _Unset] = Field(
        None, description="name of a Tiled client profile"
    )
    api_key_env: str = Field("TILED_API_KEY", description="environment variable with the API key")
    path: str = Field("", description="container below the root of the server, '' for the root")
    port: int = Field(
        0, ge=0, le=65535, strict=True, description="port of the embedded server, 0 for any"
    )

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

    phantom: _Prefix = Field("XFSIM:PHANTOM:", description="HR camera, before CAM: and HDF1:")
    shimadzu: _Prefix = Field("XFSIM:HPVX2:", description="LR camera, before CAM: and HDF1:")
    delay_generator: _Prefix = Field("XFSIM:DG645:", description="DG645 that triggers both cameras")
    shutter: _Prefix = Field("XFSIM:SHUTTER:", description="beam shutter")
    sample: _Prefix = Field("XFSIM:SAMPLE:X", description="motor record of the sample stage")
    mesh: _OptionalPrefix = Field(
        "XFSIM:MESH:", description="stage of the calibration mesh, before X, Y and ROT; '' for none"
    )

    @model_validator(mode="after")
    def _all_different(self) -> Devices:
        names: dict[str, str] = {}
        for name, prefix in self:
            if prefix and prefix in names:
                raise ValueError(f"{names[prefix]} and {name} have the same prefix {prefix}")
            names[prefix] = name
        return self


class Beam(_Section):
    """What `preflight` is to know of the beam and the scintillator."""

    pulse_period_ns: float = Field(
        0.0, ge=0, description="from pulse to pulse of the ring; 0: taken as continuous"
    )
    pulse_width_ns: float = Field(0.1, gt=0, description="length of a pulse")
    scintillator: str = Field(
        "LuAG", description="LuAG, YAG, LYSO, or its decay time in ns, as text"
    )


class Reconstruction(_Section):
    """Which backends reconstruct a burst, and within which limits."""

    backends: tuple[str, ...] = Field((), description="backend ids, in order; none: all available")
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="parameters of a backend, by id"
    )
    traversal: Literal["continuous", "double"] = Field(
        "continuous",
        description="continuous: every LR frame is made; double: every HR frame at the time of an "
        "LR frame, which is held out and compared with",
    )
    fallback: str = Field("", description="backend that answers when another one fails")
    deadline_s: float = Field(
        600.0, gt=0, description="longest wait for each frame of a backend, then killed"
    )
    memory_limit_mb: int = Field(
        0,
        ge=0,
        description="resident memory of one backend, then killed; "
        "0: 80 % of this computer's, shared by the reconstructions at a time",
    )
    log_limit_mb: float = Field(
        1.0, ge=0, description="most kept of what a backend prints in a job"
    )
    set_aside_after: int = Field(
        3,
        ge=0,
        description="a backend that had to be killed, or died, this often in a row is not used "
        "until the next start; 0: never set aside",
    )
    hold_out: bool = Field(
        True, description="also let each backend guess HR frames it is not shown, and score that"
    )
    shard_frames: int = Field(16, ge=1, le=256, description="most fused frames in one file")
    shard_seconds: float = Field(2.0, gt=0, description="a file is closed after this long")
    concurrency: int = Field(
        0, ge=0, le=64, description="reconstructions at a time; 0: cores - 1, at least one"
    )

    @property
    def workers(self) -> int:
        """Number of reconstructions that run at the same time."""
        return self.concurrency or max(1, (os.cpu_count() or 2) - 1)

    @property
    def memory_mb(self) -> float:
        """Most resident memory of one backend and what it starts, MB."""
        if self.memory_limit_mb:
            return self.memory_limit_mb
        installed_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 20)
        return _SHARE_OF_MEMORY * installed_mb / self.workers


class Plugins(_Section):
    """Which installed backend plugins may be loaded."""

    allow: Annotated[tuple[str, ...] | None, _Unset] = Field(
        None, description="only these; unset: every one"
    )
    block: tuple[str, ...] = Field((), description="never these")


class Configuration(_Section):
    """Everything an installation can be told.

    Parameters are documented on the sections; `load` reads them from a file and makes every
    folder absolute.
    """

    folders: Folders = Folders()
    tiled: Tiled = Tiled()
    devices: Devices = Devices()
    beam: Beam = Beam()
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
            When the file cannot be read, is empty or no TOML, has an unknown key or a wrong value,
            or when a folder cannot be one.
        """
        try:
            text = path.read_text(encoding="utf-8")
            table = tomllib.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(
                path, error.strerror if isinstance(error, OSError) else error
            ) from error
        if not text.strip():
            # Defaults would be the simulated beamline: nobody wants that from a half-written file.
            raise _unreadable(path, "it is empty, as after a write that failed")
        try:
            configuration = cls.model_validate(table).located(path.parent)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise _wrong(path, key, first["msg"].removeprefix("Value error, ")) from error
        except (OSError, RuntimeError) as error:
            # '~' of a person whom this computer does not know, or links in a circle.
            raise _wrong(path, "folders", str(error)) from error
        _check_folders(path, configuration.folders)
        return configuration

    def located(self, root: Path) -> Configuration:
        """Return the same configuration with every folder absolute, below `root` if relative."""
        return self.model_copy(update={"folders": self.folders._located(root.resolve())})


def _check_folders(file: Path, folders: Folders) -> None:
    seen: dict[Path, str] = {}
    further = [(f"readable.{number}", path) for number, path in enumerate(folders.readable)]
    for name, folder in [*folders, *further]:
        key = f"folders.{name}"
        try:
            present = next(part for part in (folder, *folder.parents) if part.exists())
            real = folder.resolve()
        except (OSError, RuntimeError) as error:
            raise _wrong(file, key, " ".join(str(error).split())) from error
        if not present.is_dir():
            raise _wrong(file, key, f"{present} is a file, where a folder should be")
        if real in seen and not name.startswith("readable"):
            raise _wrong(file, key, f"{folder} is the folder of '{seen[real]}' already")
        seen[real] = key


def _unreadable(path: Path, why: object) -> ConfigurationError:
    return ConfigurationError(
        f"The configuration {path} cannot be read: {' '.join(str(why).split())}. "
        f"'xfusion-bluesky init' writes one to start from."
    )


def _wrong(path: Path, key: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The configuration {path} is wrong at '{key}': {why}. "
        f"Correct or remove that line; 'xfusion-bluesky init' shows every key."
    )


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


def reference() -> str:
    """Return every key, its default and its meaning as Markdown, for the reference page."""
    lines = []
    for section, info in Configuration.model_fields.items():
        defaults = info.get_default(call_default_factory=True)
        lines += [f"## [{section}]", "", (type(defaults).__doc__ or "").splitlines()[0], ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        for name, field in type(defaults).model_fields.items():
            value = getattr(defaults, name)
            default = "none" if isinstance(value, dict) else f"`{_toml(value)}`"
            lines.append(f"| `{name}` | {default} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


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
