"""A search into a PostgreSQL or a MariaDB server, where their programs are installed."""

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
from tests.helpers.searches import FakeEvaluations, Killed, MemoryStore, comparable, run_search, small_space
from tests.helpers.servers import MariaDb, PostgreSql, Server, serving


@pytest.fixture(scope="module", params=[PostgreSql, MariaDb])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of these tests alone, on 127.0.0.1."""
    with serving(request.param) as running:
        yield running


@pytest.fixture
def url(server: Server) -> str:
    """An empty database."""
    server.clear()
    return server.url


def test_a_search_that_was_killed_goes_on(url: str, tmp_path: Path) -> None:
    space = small_space()
    with pytest.raises(Killed):
        run_search(tmp_path, space, FakeEvaluations(dies_after=9), url=url)
    assert comparable(run_search(tmp_path, space, url=url)) == comparable(run_search(MemoryStore(), space))
    with pytest.raises(StudyError, match="has the objectives"):
        check_storage(url, "study", ("top1",))


def test_studies_of_one_server_are_told_apart_by_id(url: str) -> None:
    space, goal = small_space(), ("top1", "macs")
    assert open_storage_for_reading(url) is None  # and no table is made
    engine = sqlalchemy.create_engine(url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()
    alice, bob = (Owner(letter * 32, {"images": letter}, f"/{letter}/exp") for letter in "ab")
    store = Store(url, "exp-aaaaaaaa", goal, space.choices, alice)
    check_storage(url, "exp-aaaaaaaa", goal, alice)
    with pytest.raises(StudyError, match="belongs to another study"):
        Store(url, "exp-aaaaaaaa", goal, space.choices, bob)
    holder = Holder.of_this_process(["nas"])
    with (
        Lease(store.storage, store.study, url, holder, "/one 1").hold(),
        pytest.raises(StudyError, match="is worked on, in a copy"),
        Lease(store.storage, store.study, url, holder, "/two 2").hold(),
    ):
        pass
    reading = open_storage_for_reading(url)
    assert reading is not None
    assert Store.for_reading(reading, "exp-aaaaaaaa", url, goal, space.choices).records() == []


def test_preflight_of_a_server_leaves_nothing(url: str, server: Server) -> None:
    engine = sqlalchemy.create_engine(url)

    def tables() -> dict[str, int]:
        with engine.connect() as connection:
            return {
                name: connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {name}")).scalar_one()
                for name in sqlalchemy.inspect(connection).get_table_names()
            }

    require_usable(url)
    assert tables() == {}
    optuna.create_study(storage=url, study_name="theirs")
    before = tables()
    require_usable(url)
    assert tables() == before and before["studies"] == 1
    with pytest.raises(StudyError, match=r"read-only transaction|denied"):
        require_usable(server.make_read_only_user())
    engine.dispose()
