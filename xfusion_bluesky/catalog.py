"""The catalogue: runs and reconstructions in Tiled, found and written through one small class.

Tiled is imported inside the functions: importing this
module is cheap.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast
from urllib.parse import urlsplit

from .catalog_queries import Criteria, matching

if TYPE_CHECKING:
    from bluesky_tiled_plugins import BlueskyRun, CatalogOfBlueskyRuns
    from tiled.client.container import Container

    from .run_writer import RunWriter

_SAFE = "Nothing has been changed; data on disk are safe."
_SHORTEST_UID = 5
_LONGEST_UID = 64
# Tiled keeps integers in JSON; the database has no larger ones, and would answer with an error.
_LARGEST_SCAN_ID = 2**53


class CatalogError(RuntimeError):
    """The catalogue does not answer as it should; the message says what to do."""


class RunNotFound(CatalogError):
    """No run, or more than one, has the identifier that was asked for."""


class UnreadableFolder(CatalogError):
    """The Tiled server cannot read files in a folder; the message has the line to add."""


def connect(
    uri: str | None = None, profile: str | None = None, api_key: str | None = None
) -> Container:
    """Connect to a Tiled server.

    Parameters
    ----------
    uri : str, optional
        Address, e.g. ``http://127.0.0.1:8000/api/v1``.
    profile : str, optional
        Name of a Tiled client profile, instead of an address.
    api_key : str, optional
        Key that allows reading and writing.

    Returns
    -------
    tiled.client.container.Container
        Client of the root of the server.

    Raises
    ------
    CatalogError
        Neither or both of `uri` and `profile` are given, no server answers, or it refuses.
    """
    import httpx
    from tiled.client import from_profile
    from tiled.profiles import ProfileNotFound

    if (uri is None) == (profile is None):
        raise CatalogError(
            "Cannot connect to Tiled: give either the address of a server or the name of a "
            f"profile (`tiled profile list` shows them). {_SAFE}"
        )
    try:
        if uri is not None:
            return _connect_uri(uri, api_key)
        key = {} if api_key is None else {"api_key": api_key}
        return cast("Container", from_profile(profile, **key))
    except ProfileNotFound as error:
        raise CatalogError(
            f"Cannot connect to Tiled: there is no profile {profile!r}. `tiled profile list` shows "
            f"those there are; correct the name or make it. {_SAFE}"
        ) from error
    except (httpx.HTTPStatusError, RuntimeError) as error:
        # RuntimeError: the server wants a key and none was given.
        raise CatalogError(
            f"Tiled at {uri or profile} refused the connection: {_one_line(error)}. Check the API "
            f"key and its scopes (reading, writing and registering are needed). {_SAFE}"
        ) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise CatalogError(
            f"No Tiled server answers at {uri or profile}: {_one_line(error)}. Check the address, "
            f"and that the server runs (an embedded one writes server.log). {_SAFE}"
        ) from error


def _connect_uri(uri: str, api_key: str | None) -> Container:
    import httpx
    from tiled.client.constructors import from_context
    from tiled.client.context import Context

    # A proxy of the site cannot reach a server on this machine's loopback.
    proxies = urlsplit(uri).hostname not in ("127.0.0.1", "localhost", "::1")
    # Tiled's own client would repeat a refused connection for 45 s before saying so.
    httpx.head(uri, trust_env=proxies, timeout=10.0)
    context, path = Context.from_any_uri(uri, api_key=api_key, trust_env=proxies)
    try:
        return cast("Container", from_context(context, node_path_parts=path))
    except BaseException:
        context.close()
        raise


class Catalog:
    """Raw and processed runs below one container of a Tiled server.

    Parameters
    ----------
    client : tiled.client.container.Container
        Root of the server, from `connect`.
    path : str
        Container below the root that holds the two catalogues, e.g. ``"32id/xfusion"``;
        made when missing, ``""`` for the root.
    raw_key, processed_key : str
        Names of the two catalogues in it.
    """

    def __init__(
        self,
        client: Container,
        path: str = "",
        *,
        raw_key: str = "raw",
        processed_key: str = "processed",
    ) -> None:
        self._base = client
        for key in filter(None, path.split("/")):
            self._base = _child(self._base, key, specs=())
        self._raw_key = raw_key
        self._processed_key = processed_key

    @cached_property
    def raw(self) -> CatalogOfBlueskyRuns:
        """Runs that the plans emitted; made when missing."""
        return self._runs(self._raw_key)

    @cached_property
    def processed(self) -> CatalogOfBlueskyRuns:
        """Runs that the reconstruction emitted; made when missing."""
        return self._runs(self._processed_key)

    def close(self) -> None:
        """Close the connections to the server; neither this nor its clients can be used after."""
        self._base.context.close()

    def _runs(self, key: str) -> CatalogOfBlueskyRuns:
        from bluesky_tiled_plugins import CatalogOfBlueskyRuns
        from tiled.structures.core import Spec

        spec = Spec("CatalogOfBlueskyRuns", version="3.0")
        container = _child(self._base, key, specs=(spec,))
        if not isinstance(container, CatalogOfBlueskyRuns):
            raise CatalogError(
                f"The container {container.uri} exists, but is no catalogue of Bluesky runs (spec "
                f"{spec.name} {spec.version}). Choose another path in the configuration, or give "
                f"it that spec. {_SAFE}"
            )
        return container

    def writer(self, container: CatalogOfBlueskyRuns) -> RunWriter:
        """Return a callback that writes the documents of one run into `raw` or `processed`."""
        from .run_writer import RunWriter

        return RunWriter(container)

    def run(self, identifier: str | int) -> BlueskyRun:
        """Return one run, looked up among the raw runs, then among the processed ones.

        Parameters
        ----------
        identifier : str or int
            Uid, its first characters (5 or more, unique), or scan id.

        Raises
        ------
        RunNotFound
            None or several have it; the message lists the several.
        """
        from tiled.queries import Key, Like

        text = str(identifier)
        if isinstance(identifier, str) and len(text) >= _SHORTEST_UID and _may_be_uid(text):
            query = Like("start.uid", f"{text}%")
            found = [run for runs in (self.raw, self.processed) for run in _head(runs, query)]
            exact = [run for run in found if run.metadata["start"]["uid"] == text]
            if exact or found:
                return _only(exact or found, f"uid {text}")
        if text.isdecimal() and len(text) <= 16 and int(text) <= _LARGEST_SCAN_ID:
            for runs in (self.raw, self.processed):
                if found := _head(runs, Key("start.scan_id") == int(text)):
                    return _only(found, f"scan id {text}")
        raise RunNotFound(
            f"No run {text[:_LONGEST_UID]!r} in {self.raw.uri} or {self.processed.uri}. "
            f"Give a scan id or at least the first {_SHORTEST_UID} characters of a uid; "
            f"a run that has just ended may take some seconds to arrive. {_SAFE}"
        )

    def reconstructions_of(
        self, raw_uid: str, *, seq_num: int | None = None, backend: str | None = None
    ) -> list[BlueskyRun]:
        """Return the processed runs of a raw run, by event, backend and attempt.

        Parameters
        ----------
        raw_uid : str
            Full uid of the raw run.
        seq_num : int, optional
            Only those of this burst, from 1.
        backend : str, optional
            Only those by this backend.
        """
        criteria = Criteria(raw_uid=raw_uid, seq_num=seq_num, backend=backend)

        def order(run: BlueskyRun) -> tuple[int, str, int]:
            start = run.metadata["start"]
            return start["raw_seq_num"], start["backend"]["id"], start["attempt"]

        return sorted(matching(self.processed, criteria).values(), key=order)

    def search(self, **criteria: Unpack[Criteria]) -> CatalogOfBlueskyRuns:
        """Return the reconstructions that fulfil all criteria, newest first.

        Parameters
        ----------
        **criteria
            Those of `catalog_queries.Criteria`: ``sample``, ``backend``, ``status``, ``raw_uid``,
            ``seq_num``, ``min_psnr_db``, ``max_chi2``, ``since``.

        Returns
        -------
        CatalogOfBlueskyRuns
            Fetched when it is asked for: ``.values().head(10)``, ``len(...)``, another ``.search``.
        """
        from tiled.queries import Key

        from .documents.processed import ANALYSIS_STAGE

        fused = self.processed.search(Key("start.analysis_stage") == ANALYSIS_STAGE)
        return matching(fused, criteria)

    def latest(self, *, backend: str | None = None, sample: str | None = None) -> BlueskyRun:
        """Return the newest successful reconstruction.

        Parameters
        ----------
        backend, sample : str, optional
            Only those by this backend, of this sample.

        Raises
        ------
        RunNotFound
            There is none.
        """
        found = self.search(backend=backend, sample=sample, status="success").values().head(1)
        if not found:
            raise RunNotFound(
                f"No successful reconstruction by {backend or 'any backend'} of "
                f"{sample or 'any sample'} in {self.processed.uri}. {_SAFE}"
            )
        return found[0]

    def calibration(self, identifier: str) -> BlueskyRun:
        """Return a calibration.

        Parameters
        ----------
        identifier : str
            As for `run`.

        Raises
        ------
        RunNotFound
            No run, or one that is no calibration, has the identifier.
        """
        hint = "'xfusion-bluesky runs --processed' lists the calibrations that there are."
        try:
            run = self.run(identifier)
        except RunNotFound as error:
            raise RunNotFound(f"There is no such calibration. {error} {hint}") from error
        stage = run.metadata["start"].get("analysis_stage")
        if stage != "calibration":
            raise RunNotFound(
                f"Run {identifier} is no calibration: its analysis_stage is {stage!r}, not "
                f"'calibration'. {hint} {_SAFE}"
            )
        return run

    def delete_run(self, container: CatalogOfBlueskyRuns, uid: str) -> None:
        """Delete a half-written run from a catalogue, so that it can be written again.

        Image files stay: Tiled deletes only what it wrote itself. A run that is not there is fine.

        Parameters
        ----------
        container : CatalogOfBlueskyRuns
            `raw` or `processed`.
        uid : str
            Full uid.
        """
        import httpx

        try:
            container.delete_contents(uid, recursive=True, external_only=False)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise

    def has_stop(self, uid: str) -> bool:
        """Whether a run, raw or processed, is there and has its stop document.

        Parameters
        ----------
        uid : str
            Full uid.
        """
        from tiled.queries import Key

        return any(
            run.metadata.get("stop")
            for runs in (self.raw, self.processed)
            for run in _head(runs, Key("start.uid") == uid)
        )


def check_readable(catalog: Catalog, folder: Path) -> None:
    """Prove that the server reads files which are written into a folder.

    A small HDF5 file is written there, registered, read through the server and compared; the
    file and its entry are removed again, whatever happens.

    Parameters
    ----------
    catalog : Catalog
    folder : Path
        An existing folder in which this process may write.

    Raises
    ------
    UnreadableFolder
        The server does not deliver the contents of the file.
    OSError
        This process cannot write into the folder.
    """
    import h5py
    import numpy as np

    values = np.frombuffer(secrets.token_bytes(64), np.uint16)
    name = f"readable-probe-{secrets.token_hex(8)}"
    path = folder.absolute() / f".{name}.h5"
    try:
        with h5py.File(path, "x") as file:
            file["probe"] = values
        with _registered(catalog, name, path) as array:
            why = _difference(array, values)
    finally:
        path.unlink(missing_ok=True)
    if why:
        raise UnreadableFolder(
            f"The Tiled server {catalog._base.context.api_uri} cannot read files in "
            f"{folder.absolute()}: {why}. The files must be there under the same path for the "
            "server, which must be allowed to read them. Allow it with the one of these lines that "
            "fits, and start the server again:\n"
            f"  configuration of Tiled, in the args of the catalogue:\n    readable_storage: "
            f'["{folder.absolute()}"]\n'
            f"  command line of Tiled:\n    tiled serve catalog ... --read {folder.absolute()}\n"
            "  embedded server:\n    python -m xfusion_bluesky.processing.tiled_server ... "
            f"--readable {folder.absolute()}\n"
            "The data are safe: files are on disk, and runs can be registered before this is "
            "corrected, but not shown."
        )


@contextlib.contextmanager
def _registered(catalog: Catalog, name: str, path: Path) -> Iterator[Any]:
    import numpy as np
    from tiled.structures.array import ArrayStructure, BuiltinDtype
    from tiled.structures.core import StructureFamily
    from tiled.structures.data_source import Asset, DataSource, Management
    from tiled.utils import ensure_uri

    source = DataSource(
        mimetype="application/x-hdf5",
        structure_family=StructureFamily.array,
        structure=ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(np.dtype(np.uint16)),
            shape=(32,),
            chunks=((32,),),
        ),
        parameters={"dataset": "/probe"},
        management=Management.external,
        assets=[Asset(data_uri=ensure_uri(path), is_directory=False, parameter="data_uris", num=0)],
    )
    base = catalog._base
    probe = base.create_container(name)
    try:
        yield probe.new(
            key="probe",
            structure_family=StructureFamily.array,
            data_sources=[source],
            metadata={},
            specs=[],
        )
    finally:
        base.delete_contents(name, recursive=True, external_only=False)


def _difference(array: Any, values: Any) -> str:
    import numpy as np

    # Not `array.read()`: that repeats a server error for 45 s.
    answer = array.context.http_client.get(
        array.item["links"]["full"], headers={"Accept": "application/octet-stream"}
    )
    if answer.is_error:
        return f"it answers {answer.status_code} {answer.reason_phrase}"
    if not np.array_equal(np.frombuffer(answer.content, np.uint16), values):
        return "it delivers something else than was written"
    return ""


def _child(parent: Container, key: str, specs: tuple[Any, ...]) -> Container:
    import httpx

    if key not in parent:
        try:
            parent.create_container(key, specs=list(specs))
        except httpx.HTTPStatusError as error:
            # Another process may have made it in between.
            if error.response.status_code != httpx.codes.CONFLICT:
                raise CatalogError(
                    f"Cannot make the container {key!r} in {parent.uri}: {_one_line(error)}. Have "
                    f"it made by whoever runs the server, or use a key that may write. {_SAFE}"
                ) from error
    # Fetched anew: only then does the client get the class that goes with the specs.
    return cast("Container", parent[key])


def _may_be_uid(text: str) -> bool:
    # Percent and underscore are wild cards of the query.
    return len(text) <= _LONGEST_UID and text.isascii() and text.replace("-", "").isalnum()


def _head(runs: CatalogOfBlueskyRuns, query: Any) -> list[Any]:
    return list(runs.search(query).values().head(10))


def _only(found: list[Any], what: str) -> BlueskyRun:
    if len(found) == 1:
        return found[0]
    uids = ", ".join(run.metadata["start"]["uid"] for run in found)
    raise RunNotFound(
        f"{len(found)} runs or more have {what}: {uids}. Name one of them by more of its uid. "
        f"{_SAFE}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
