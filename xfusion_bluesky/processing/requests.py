"""Requests to reconstruct stored runs: files that a command leaves and the service answers."""

from __future__ import annotations

import logging
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from xfusion_bluesky.documents.frame_times import Traversal

__all__ = ["Answer", "ReconstructionRequest", "RequestQueue"]

FOLDER_NAME = "requests"
MALFORMED_SUFFIX = ".malformed"
_LOG = logging.getLogger(__name__)
_SUFFIX = ".json"
_ANSWER_SUFFIX = ".answer.json"
_BEGUN_SUFFIX = ".begun.json"
_POLL_S = 0.05

Uid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReconstructionRequest(_Message):
    """Reconstruct the bursts of a stored raw run."""

    raw_uid: Uid
    """Full uid of the raw run."""
    seq_nums: tuple[int, ...] | None = None
    """Bursts, from 1; all of them by default."""
    backends: dict[str, dict[str, Any]] = Field(min_length=1)
    """Parameters by backend id, exactly those that the backend is made with."""
    calibration_uid: Uid | None = None
    """Calibration to use in place of the one that the raw run names."""
    traversal: Traversal | None = None
    """How bursts are gone through; as configured by default."""
    retry: bool = False
    """Also try again what failed before."""


class Answer(_Message):
    """What became of a request."""

    uids: tuple[str, ...] = ()
    """Processed runs that answer it, begun now or made before."""
    error: str = ""
    """Why it was refused; empty when it was not."""


@dataclass(frozen=True)
class RequestQueue:
    """The requests of an installation; they outlive the processes on both sides.

    Parameters
    ----------
    state_folder : Path
        State folder of the configuration.
    """

    state_folder: Path

    @property
    def folder(self) -> Path:
        """Where the files are; made by the first request."""
        return self.state_folder / FOLDER_NAME

    def submit(self, request: ReconstructionRequest) -> str:
        """Leave a request for the service, on disk when this returns.

        Parameters
        ----------
        request : ReconstructionRequest
            What to do.

        Returns
        -------
        str
            Its id. Ids sort by time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        request_id = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        _write(self.folder / f"{request_id}{_SUFFIX}", request)
        return request_id

    def pending(self) -> list[tuple[str, ReconstructionRequest]]:
        """Return the requests that wait for an answer, by id, oldest first.

        A file that is no request is answered with an error and set aside, as
        ``<id>.json.malformed``.
        """
        names = [name for name in self._names() if not name.endswith(_ANSWER_SUFFIX)]
        return self._read([name for name in names if not name.endswith(_BEGUN_SUFFIX)], _SUFFIX)

    def begun(self) -> list[tuple[str, ReconstructionRequest]]:
        """Return the requests that were answered and whose reconstructions have not all ended."""
        return self._read(
            [name for name in self._names() if name.endswith(_BEGUN_SUFFIX)], _BEGUN_SUFFIX
        )

    def answer(self, request_id: str, answer: Answer) -> None:
        """Answer a request, which is then begun, or done with when it was refused.

        Parameters
        ----------
        request_id : str
            From `pending`.
        answer : Answer
            What became of it.
        """
        _write(self.folder / f"{request_id}{_ANSWER_SUFFIX}", answer)
        path = self.folder / f"{request_id}{_SUFFIX}"
        if answer.error:
            path.unlink(missing_ok=True)
        else:
            path.rename(self.folder / f"{request_id}{_BEGUN_SUFFIX}")

    def finish(self, request_id: str) -> None:
        """Forget a begun request: its reconstructions have ended."""
        (self.folder / f"{request_id}{_BEGUN_SUFFIX}").unlink(missing_ok=True)

    def take_answer(self, request_id: str) -> Answer | None:
        """Return the answer to a request and remove it; None while there is none.

        Parameters
        ----------
        request_id : str
            From `submit`.
        """
        path = self.folder / f"{request_id}{_ANSWER_SUFFIX}"
        try:
            answer = Answer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return answer

    def wait(self, request_id: str, timeout_s: float) -> Answer:
        """Wait for the answer to a request.

        Parameters
        ----------
        request_id : str
            From `submit`.
        timeout_s : float
            Longest wait.

        Raises
        ------
        TimeoutError
            There is none after `timeout_s`; the request stays, and is served when the service
            gets to it.
        """
        deadline = time.monotonic() + timeout_s
        while (answer := self.take_answer(request_id)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"The processing service has not answered request {request_id} within "
                    f"{timeout_s:g} s; see logs/service.log in {self.state_folder}. The request "
                    f"stays in {self.folder} and is served later; the data are safe."
                )
            time.sleep(_POLL_S)
        return answer

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if name.endswith(_SUFFIX))
        except FileNotFoundError:
            return []

    def _read(self, names: list[str], suffix: str) -> list[tuple[str, ReconstructionRequest]]:
        found = []
        for name in names:
            request_id, path = name.removesuffix(suffix), self.folder / name
            try:
                request = ReconstructionRequest.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue  # withdrawn
            except (ValidationError, OSError) as error:
                self._set_aside(request_id, path, error)
            else:
                found.append((request_id, request))
        return found

    def _set_aside(self, request_id: str, path: Path, error: Exception) -> None:
        aside = path.with_name(path.name + MALFORMED_SUFFIX)
        why = " ".join(str(error).split())
        _LOG.error("%s is no request and was set aside as %s: %s", path, aside.name, why)
        try:
            path.rename(aside)
            self.answer(request_id, Answer(error=f"This is no request: {why}"))
        except OSError:
            _LOG.exception("%s could not be set aside", path)


def _write(path: Path, message: BaseModel) -> None:
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as file:
        file.write(message.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
