"""The ledger: which journals are in Tiled and which reconstructions were made; one SQLite file."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "ledger.db"
_POLL_S = 0.05
_TABLES = """
CREATE TABLE IF NOT EXISTS journals (uid TEXT PRIMARY KEY, kind TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS submitted (uid TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS reconstructions (
    uid TEXT PRIMARY KEY, key TEXT NOT NULL, attempt INTEGER NOT NULL, raw_uid TEXT NOT NULL,
    seq_num INTEGER NOT NULL, state TEXT NOT NULL, UNIQUE (key, attempt));
"""


@dataclass(frozen=True)
class Reconstruction:
    """One attempt at a reconstruction.

    Parameters
    ----------
    uid : str
        Of the processed run.
    key : str
        The same for all attempts.
    attempt : int
        From 1.
    raw_uid : str
        Uid of the raw run.
    seq_num : int
        Event of the raw run.
    state : {"running", "success", "fail", "abort"}
        How it stands.
    """

    uid: str
    key: str
    attempt: int
    raw_uid: str
    seq_num: int
    state: str = "running"


class Ledger:
    """What the processing service has to remember; usable from several threads.

    Parameters
    ----------
    state_folder : Path
        State folder of the configuration; made when missing.
    """

    def __init__(self, state_folder: Path) -> None:
        state_folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            state_folder / FILE_NAME, check_same_thread=False, timeout=10.0
        )
        with self._database:
            self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def mark_in_tiled(self, uid: str, kind: str) -> None:
        """Remember that a journal (`kind` raw or processed) is in Tiled with its stop document."""
        with self._lock, self._database as database:
            database.execute("INSERT OR REPLACE INTO journals VALUES (?, ?)", (uid, kind))

    def in_tiled(self) -> set[str]:
        """Return the uids of all journals that are in Tiled with their stop document."""
        with self._lock:
            return {uid for (uid,) in self._database.execute("SELECT uid FROM journals")}

    def forget_in_tiled(self, uids: Iterable[str]) -> None:
        """Forget that journals are in Tiled, so that they are written again."""
        with self._lock, self._database as database:
            database.executemany("DELETE FROM journals WHERE uid = ?", [(uid,) for uid in uids])

    def mark_submitted(self, uid: str) -> None:
        """Remember that all bursts of a raw run were given to the engine."""
        with self._lock, self._database as database:
            database.execute("INSERT OR REPLACE INTO submitted VALUES (?)", (uid,))

    def submitted(self) -> set[str]:
        """Return the uids of raw runs of which all bursts were given to the engine."""
        with self._lock:
            return {uid for (uid,) in self._database.execute("SELECT uid FROM submitted")}

    def changes(self) -> int:
        """Return a number that differs after another process has written into the ledger."""
        with self._lock:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def claim(self, reconstructions: Sequence[Reconstruction]) -> None:
        """Remember reconstructions that begin: all of them, or none.

        Raises
        ------
        sqlite3.IntegrityError
            One of the attempts was claimed before.
        """
        with self._lock, self._database as database:
            database.executemany(
                "INSERT INTO reconstructions (uid, key, attempt, raw_uid, seq_num, state) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [(r.uid, r.key, r.attempt, r.raw_uid, r.seq_num, r.state) for r in reconstructions],
            )

    def end(self, uid: str, state: str) -> None:
        """Remember how a reconstruction ended."""
        with self._lock, self._database as database:
            database.execute("UPDATE reconstructions SET state = ? WHERE uid = ?", (state, uid))

    def last_attempt(self, key: str) -> Reconstruction | None:
        """Return the last attempt at a reconstruction, or None when there was none."""
        found = self._select("key = ?", key)
        return found[-1] if found else None

    def attempts(self) -> list[Reconstruction]:
        """Return all attempts at all reconstructions."""
        return self._select("1 = ?", 1)

    def running(self) -> list[Reconstruction]:
        """Return the reconstructions that have not ended."""
        return self._select("state = ?", "running")

    def aborted(self) -> list[Reconstruction]:
        """Return the attempts that were cut short."""
        return self._select("state = ?", "abort")

    def of_raw(self, raw_uid: str) -> list[Reconstruction]:
        """Return the last attempts at all reconstructions of a raw run, by event."""
        last = {r.key: r for r in self._select("raw_uid = ?", raw_uid)}
        return sorted(last.values(), key=lambda r: (r.seq_num, r.key))

    def _select(self, condition: str, value: str | int) -> list[Reconstruction]:
        with self._lock:
            rows = self._database.execute(
                "SELECT uid, key, attempt, raw_uid, seq_num, state FROM reconstructions "
                f"WHERE {condition} ORDER BY key, attempt",
                (value,),
            ).fetchall()
        return [Reconstruction(*row) for row in rows]


def wait_for_reconstructions(
    state_folder: Path, raw_uid: str, bursts: int, timeout_s: float
) -> list[str]:
    """Wait until every reconstruction of a raw run is in Tiled with its stop document.

    Parameters
    ----------
    state_folder : Path
        State folder of the configuration.
    raw_uid : str
        Uid of the raw run.
    bursts : int
        Number of its events.
    timeout_s : float
        Longest wait.

    Returns
    -------
    list of str
        Uids of the processed runs, successful or not, by event.

    Raises
    ------
    TimeoutError
        Something is missing after `timeout_s`; the message says what.
    """
    ledger = Ledger(state_folder)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            made, shown = ledger.of_raw(raw_uid), ledger.in_tiled()
            waiting = [r.uid for r in made if r.state == "running" or r.uid not in shown]
            begun = len({r.seq_num for r in made})
            if begun >= bursts and not waiting:
                return [r.uid for r in made]
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"After {timeout_s:g} s, {begun} of {bursts} bursts of run {raw_uid} were "
                    f"begun and {len(waiting)} reconstructions are not in Tiled yet. Look into the "
                    f"log of the processing service in {state_folder}. The raw data are safe."
                )
            time.sleep(_POLL_S)
    finally:
        ledger.close()
