"""Reading a database writes nothing beside it, also where a killed writer left something there."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from nas.search.sqlite_reading import connect_for_reading
from nas.search.storage import open_storage, open_storage_for_reading
from search_spaces.errors import StudyError
from tests.helpers.command_line import tree


def rows(path: Path) -> list[int]:
    with closing(connect_for_reading(path)) as connection:
        return [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]


@pytest.fixture(params=["DELETE", "WAL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A finished database, in a folder of an odd name."""
    folder = tmp_path / "a?b=c#d %20"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "s.db")) as connection:
        connection.execute(f"PRAGMA journal_mode={request.param}")
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
    return folder / "s.db"


def test_a_database_that_is_being_made_holds_nothing_yet(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    open_storage(url).engine.dispose()
    assert open_storage_for_reading(url) is not None
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    assert open_storage_for_reading(url) is None


def test_nothing_is_written(database: Path) -> None:
    before = tree(database.parent)
    assert rows(database) == [1]
    with closing(connect_for_reading(database)) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("INSERT INTO t VALUES (2)")
    assert tree(database.parent) == before


def test_what_a_killed_writer_left_is_read_from_a_copy(database: Path, tmp_path: Path) -> None:
    """The state of the files in the middle of a transaction, and just after one, as a kill leaves it."""
    for number, committed in enumerate((False, True), start=2):
        left = tmp_path / f"left{number}"
        with closing(sqlite3.connect(database)) as writer:
            writer.execute("PRAGMA cache_size=1")
            writer.execute("PRAGMA cache_spill=1")
            writer.executemany("INSERT INTO t VALUES (?)", [(1000 + each,) for each in range(3000)])
            if committed:
                writer.commit()
            shutil.copytree(database.parent, left)
            writer.rollback()
            writer.execute("DELETE FROM t WHERE a >= 1000")
            writer.commit()
        before = tree(left)
        assert rows(left / "s.db") == ([1, *range(1000, 4000)] if committed else [1])
        assert tree(left) == before


def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    assert open_storage_for_reading(url) is None and list(tmp_path.iterdir()) == []
    study = optuna.create_study(storage=open_storage(url), study_name="mine")
    reading = open_storage_for_reading(url)
    assert reading is not None
    for count in range(3):
        assert len(optuna.load_study(storage=reading, study_name="mine").trials) == count
        study.add_trial(optuna.trial.create_trial(value=1.0))
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]


def test_what_is_no_database_of_ours(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)")
    (tmp_path / "text.db").write_text("no database at all" * 100)
    before = tree(tmp_path)
    assert open_storage_for_reading(f"sqlite:///{tmp_path}/empty.db") is None
    assert open_storage_for_reading(f"sqlite:///{tmp_path}/other.db") is None
    with pytest.raises(StudyError, match=r"text\.db is not a database that can be used"):
        open_storage_for_reading(f"sqlite:///{tmp_path}/text.db")
    assert tree(tmp_path) == before
