"""Several processes that make the same database, and the same study in it, at the same instant."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import optuna
import pytest

from nas.search.ownership import Owner
from nas.search.trial_store import Store
from tests.faults.rows import fault
from tests.helpers.searches import small_space
from tests.helpers.servers import MariaDb, PostgreSql, Server, serving

TOGETHER, ROUNDS = 4, 3


@pytest.fixture(scope="module", params=[None, PostgreSql, MariaDb], ids=["SQLite", "PostgreSql", "MariaDb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server | None]:
    with nullcontext() if request.param is None else serving(request.param) as running:
        yield running


@fault(
    "several processes make one database at the same instant",
    during="the first moments of searches",
    outcome="all go on",
    lost="nothing",
    told="nothing",
)
def test_all_of_them_get_the_one_database(server: Server | None, tmp_path: Path) -> None:
    choices, owner = small_space().choices, Owner("a" * 32, {"images": "x"}, "/a")
    for number in range(ROUNDS):
        url = f"sqlite:///{tmp_path}/{number}.db"
        if server is not None:
            server.clear()
            url = server.url
        start = threading.Barrier(TOGETHER)

        def open_it(url: str, start: threading.Barrier) -> None:
            start.wait()
            assert Store(url, "exp-aaaaaaaa", ("top1", "macs"), choices, owner).records() == []

        with ThreadPoolExecutor(TOGETHER) as pool:
            for done in [pool.submit(open_it, url, start) for _ in range(TOGETHER)]:
                done.result()
        studies = optuna.get_all_study_summaries(storage=url)
        assert [study.study_name for study in studies] == ["exp-aaaaaaaa"]
        assert studies[0].user_attrs["nas:id"] == owner.id
