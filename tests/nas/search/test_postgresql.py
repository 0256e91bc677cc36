"""A search into a PostgreSQL server, where its programs are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from nas.runtime.lock import Holder
from nas.search.database_check import require_usable
from nas.search.lease import Lease
from nas.search.ownership import Owner
from nas.search.storage import check_storage, open_storage_for_reading
from nas.search.trial_store import Store
from search_spaces.errors import StudyError
from tests.helpers.postgres import postgres_server
from tests.helpers.searches import FakeEvaluations, Killed, MemoryStore, comparable, run_search, small_space


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test alone, on 127.0.0.1."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


def test_postgresql(postgres: str, tmp_path: Path) -> None:
    space = small_space()
    with pytest.raises(Killed):
        run_search(tmp_path, space, FakeEvaluations(dies_after=9), url=postgres)
    assert comparable(run_search(tmp_path, space, url=postgres)) == comparable(
        run_search(MemoryStore(), space)
    )
    with pytest.raises(StudyError, match="has the objectives"):
        check_storage(postgres, "study", ("top1",))


def test_studies_of_one_server_are_told_apart_by_id(postgres: str) -> None:
    space, goal = small_space(), ("top1", "macs")
    assert open_storage_for_reading(postgres) is None  # and no table is made
    engine = sqlalchemy.create_engine(postgres)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()
    alice, bob = (Owner(letter * 32, {"images": letter}, f"/{letter}/exp") for letter in "ab")
    store = Store(postgres, "exp-aaaaaaaa", goal, space.choices, alice)
    check_storage(postgres, "exp-aaaaaaaa", goal, alice)
    with pytest.raises(StudyError, match="belongs to another study"):
        Store(postgres, "exp-aaaaaaaa", goal, space.choices, bob)
    holder = Holder.of_this_process(["nas"])
    with (
        Lease(store.study, holder, "/one 1").hold(),
        pytest.raises(StudyError, match="is worked on, in a copy"),
        Lease(store.study, holder, "/two 2").hold(),
    ):
        pass
    reading = open_storage_for_reading(postgres)
    assert reading is not None
    assert Store.for_reading(reading, "exp-aaaaaaaa", postgres, goal, space.choices).records() == []


def test_preflight_of_a_server_leaves_nothing(postgres: str) -> None:
    engine = sqlalchemy.create_engine(postgres)

    def tables() -> dict[str, int]:
        with engine.connect() as connection:
            return {
                name: connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {name}")).scalar_one()
                for name in sqlalchemy.inspect(connection).get_table_names()
            }

    require_usable(postgres)
    assert tables() == {}
    optuna.create_study(storage=postgres, study_name="theirs")
    before = tables()
    require_usable(postgres)
    assert tables() == before and before["studies"] == 1
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER ROLE nas SET default_transaction_read_only = on"))
    with pytest.raises(StudyError, match="read-only transaction"):
        require_usable(postgres)
    engine.dispose()
