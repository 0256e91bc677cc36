"""Reading an SQLite file without writing anything: no file beside it, no lock left, nothing in it, whoever owns it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

_TIMEOUT = 60  # seconds that a reader waits for a writer
_WAL_FORMAT = 2  # bytes 18 and 19 of a file that is written through a -wal file


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """Open a database read-only.

    What a killed writer left beside it, SQLite would have to write back first; then a copy in memory is opened.

    Raises:
        sqlite3.Error: If it is no database.
    """
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size:
        return _copy_to_memory(path)
    # Nobody writes to a database of that format while it has no -wal file; plain reading would create one.
    connection = _connect(path, "mode=ro&immutable=1" if _is_wal(path) else "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError:
        connection.close()
        if not path.with_name(f"{path.name}-journal").exists():
            raise
        return _copy_to_memory(path)
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?{options}", uri=True, timeout=_TIMEOUT, check_same_thread=False
    )


def _is_wal(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(20)[18:] == bytes([_WAL_FORMAT, _WAL_FORMAT])


def _copy_to_memory(path: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-wal", f"{path.name}-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path.with_name(name), Path(folder, name))
        with contextlib.closing(sqlite3.connect(Path(folder, path.name))) as copy:
            copy.backup(memory)
    return memory
