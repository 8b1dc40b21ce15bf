"""SQLite through aiosqlite: many scripts in one transaction, in one hop to the database's thread.

WAL with `synchronous=FULL`: what was acknowledged survives a power cut. One writer at a time is SQLite's own rule, so a
transaction begins IMMEDIATE and needs no row locks.
"""

import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from batchrun.errors import QueueError, StorageError
from batchrun.files import is_folder
from batchrun.queue.script import Call, Outcome, Row, Rows, Script, ScriptFactory
from batchrun.queue.statements import migrations, statements

BUSY_TIMEOUT_S = 60.0
_WAL_TRIES = 100
_OLDEST_SQLITE = (3, 37, 0)
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "glusterfs", "fuse.gluster", "ceph", "afs", "9p", "davfs")
_OCTAL = re.compile(r"\\([0-7]{3})")


_PRIMARY_CODE = 0xFF
_NEXT_STEP = {
    sqlite3.SQLITE_FULL: "free disk space, then try again: nothing is lost",
    sqlite3.SQLITE_IOERR: "look at the disk (is it full, or gone?), then try again: nothing is lost",
    sqlite3.SQLITE_READONLY: "it and its folder must be writable, also to look at it",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: put a copy of it back that was made before",
}


class SqliteDatabase:
    """One connection to one queue file."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, busy_timeout_s: float) -> None:
        self._connection = connection
        self._path = path
        self._busy_timeout_s = busy_timeout_s

    @classmethod
    async def open(cls, path: Path, *, create: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S) -> "SqliteDatabase":
        """Open the file, made and brought to the newest version when needed.

        Args:
            path: the queue's file.
            create: when there is none.
            busy_timeout_s: how long another process may hold the file.

        Raises:
            QueueError: no such file and not `create`, a network file system, a newer version, not a queue.
            StorageError: the file cannot be read or written.
        """
        _check_place(path, create=create)
        try:
            connection = await aiosqlite.connect(
                path, isolation_level=None, timeout=busy_timeout_s, cached_statements=256
            )
        except sqlite3.Error as error:
            raise StorageError(f"the queue {path} cannot be opened: {error}") from error
        database = cls(connection, path, busy_timeout_s)
        try:
            await database._hop(_prepare, path)
        except BaseException:
            await connection.close()
            raise
        return database

    async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
        """All scripts in one transaction: one that raises changes nothing and sinks no other; the others run again then.

        Returns:
            (value, None) or (None, exception) for each script.

        Raises:
            StorageError: nothing at all was committed.
        """
        outcomes: list[Outcome] = await self._hop(_transact, scripts)
        return outcomes

    async def read(self, script: ScriptFactory[Any]) -> Any:  # noqa: ANN401  # the script's own value
        """One script that only looks, on one snapshot."""
        return await self._hop(_read, script)

    async def close(self) -> None:
        """Close the connection; SQLite then folds the write-ahead log back into the file."""
        await self._connection.close()

    async def _hop(self, function: Any, *args: Any) -> Any:  # noqa: ANN401  # a thin bridge to the thread
        # aiosqlite offers one thread hop a statement; a transaction of many statements needs one hop as a whole, which
        # is what its own methods are built on.
        raw = self._connection._conn  # noqa: SLF001
        try:
            return await self._connection._execute(function, raw, *args)  # type: ignore[no-untyped-call]  # noqa: SLF001
        except sqlite3.Error as error:
            raise StorageError(f"the queue {self._path}: {self._described(error)}") from error

    def _described(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code == sqlite3.SQLITE_BUSY:
            held_s = f"{self._busy_timeout_s:.0f} s"
            return f"another process has held its file for {held_s}; is one of them stopped (Ctrl-Z)? ({error})"
        next_step = _NEXT_STEP.get(code)
        return f"{error}; {next_step}" if next_step else f"{error}; it could not be read or written"


def _check_place(path: Path, *, create: bool) -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise QueueError(f"SQLite {sqlite3.sqlite_version} is too old; batchrun needs 3.37 or newer")
    if is_folder(path):
        raise QueueError(f"{path} is a folder; --db takes the path of the queue's file, such as {path / 'queue.db'}")
    try:
        is_there = path.exists()
    except OSError as error:
        raise StorageError(f"the queue {path} cannot be looked at: {error.strerror}") from error
    if not is_there and not create:
        raise QueueError(f"there is no queue {path}; a run makes it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the queue's folder {path.parent} cannot be made: {error.strerror}") from error
    kind = file_system_of(path.parent)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        raise QueueError(
            f"the queue {path} would lie on a network file system ({kind}), where SQLite's locks do not hold; "
            "put it on a local disk with --db PATH"
        )


def file_system_of(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that holds the folder, or '' where the system does not tell."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    here = os.path.realpath(folder)
    best, kind = "", ""
    for line in lines:
        _, written, this_kind, *_ = line.split(" ")
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), written)  # a blank stands there as \\040
        inside = here == point or here.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, this_kind
    return kind


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    try:
        _check_is_queue(connection, path)  # before anything is changed: it may be somebody else's file
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection)
        connection.execute("PRAGMA foreign_keys = ON")  # not before: a migration may make a table anew
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise QueueError(f"{path} is not a queue: it is no SQLite database") from error
        raise


def _migrate(connection: sqlite3.Connection) -> None:
    newest = migrations("sqlite")[-1][0]
    version = _version(connection)
    if version == newest:
        return
    connection.execute("BEGIN IMMEDIATE")  # a second process waits here and then finds the work done
    try:
        _bring_up(connection, newest)
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file to the write-ahead log. SQLite does not wait for a second process that does the same."""
    for _ in range(_WAL_TRIES):
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("BEGIN IMMEDIATE")  # this does wait, until the other one is done
            connection.execute("ROLLBACK")
        else:
            if mode == "wal":
                return
    raise StorageError("the queue's file cannot use a write-ahead log; is it on a local disk?")


def _check_is_queue(connection: sqlite3.Connection, path: Path) -> None:
    newest = migrations("sqlite")[-1][0]
    connection.execute("BEGIN")  # one snapshot: another process may be making the queue just now
    version = _version(connection)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    connection.execute("ROLLBACK")
    if version > newest:
        raise QueueError(f"{path} was made by a newer batchrun (version {version}, this one knows {newest}); upgrade")
    if version == 0 and tables:
        raise QueueError(f"{path} is not a queue: it is another program's SQLite database")


def _bring_up(connection: sqlite3.Connection, newest: int) -> None:
    version = _version(connection)
    for number, text in migrations("sqlite"):
        if number > version:
            for statement in _split(text):
                connection.execute(statement)
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise StorageError(f"the queue's file is damaged: a row of {broken[0]} points to nothing in {broken[2]}")
    connection.execute(f"PRAGMA user_version = {newest}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _split(text: str) -> list[str]:
    """The statements of a migration; unlike executescript, running them one by one stays inside the transaction."""
    found: list[str] = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def _transact(connection: sqlite3.Connection, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = _outcomes(connection, scripts)
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    return outcomes


def _outcomes(connection: sqlite3.Connection, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
    """All scripts in the open transaction. Hardly ever does one raise: only then is each put behind a savepoint."""
    try:
        return [(_drive(connection, script()), None) for script in scripts]
    except Exception as error:
        if _sinks_all(connection, error):
            raise
    connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    return [_guarded(connection, script) for script in scripts]


def _sinks_all(connection: sqlite3.Connection, error: Exception) -> bool:
    """Not one item's fault: disk full, I/O error; SQLite may have given the whole transaction up."""
    return isinstance(error, sqlite3.OperationalError) or not connection.in_transaction


def _guarded(connection: sqlite3.Connection, script: ScriptFactory[Any]) -> Outcome:
    connection.execute("SAVEPOINT item")
    try:
        value = _drive(connection, script())
    except Exception as error:
        if _sinks_all(connection, error):
            raise
        connection.execute("ROLLBACK TO item")
        connection.execute("RELEASE item")
        return None, error
    connection.execute("RELEASE item")
    return value, None


def _read(connection: sqlite3.Connection, script: ScriptFactory[Any]) -> Any:  # noqa: ANN401
    connection.execute("BEGIN")
    try:
        return _drive(connection, script())
    finally:
        _roll_back(connection)


def _drive(connection: sqlite3.Connection, script: Script[Any]) -> Any:  # noqa: ANN401
    """Answer the script's calls until it returns."""
    try:
        call = next(script)
        while True:
            call = script.send(_answer(connection, call))
    except StopIteration as end:
        return end.value


def _answer(connection: sqlite3.Connection, call: Call) -> Rows:
    sql = statements()[call.name]
    if isinstance(call.params, Sequence):
        connection.executemany(sql, call.params)
        return ()
    rows: list[Row] = connection.execute(sql, call.params).fetchall()
    return rows


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
