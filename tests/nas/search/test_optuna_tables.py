"""Canaries: what we write into Optuna's tables is, to the last cell, what Optuna writes there itself."""

from __future__ import annotations

import math
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import optuna
import pytest
from optuna.trial import FrozenTrial

import nas.search
from nas.search.optuna_tables import TableStudyTrials, unsupported_schema
from nas.search.optuna_trials import PublicStudyTrials
from nas.search.storage import open_storage
from nas.search.trial_store import Store, TrialRecord
from search_spaces.space import Space

# Every table of a trial as the installed Optuna declares it: column and type.
COLUMNS = {
    "trials": {
        "trial_id": "INTEGER",
        "number": "INTEGER",
        "study_id": "INTEGER",
        "state": "VARCHAR(8)",
        "datetime_start": "DATETIME",
        "datetime_complete": "DATETIME",
    },
    "trial_values": {
        "trial_value_id": "INTEGER",
        "trial_id": "INTEGER",
        "objective": "INTEGER",
        "value": "FLOAT",
        "value_type": "VARCHAR(7)",
    },
    "trial_params": {
        "param_id": "INTEGER",
        "trial_id": "INTEGER",
        "param_name": "VARCHAR(512)",
        "param_value": "FLOAT",
        "distribution_json": "TEXT",
    },
    "trial_user_attributes": {
        "trial_user_attribute_id": "INTEGER",
        "trial_id": "INTEGER",
        "key": "VARCHAR(512)",
        "value_json": "TEXT",
    },
    "trial_system_attributes": {
        "trial_system_attribute_id": "INTEGER",
        "trial_id": "INTEGER",
        "key": "VARCHAR(512)",
        "value_json": "TEXT",
    },
}


def read_cells(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all of Optuna's tables of a database."""
    with sqlite3.connect(path) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not name.startswith("nas_")
        ]
        cells = {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
    connection.close()
    return cells


def open_store(path: Path, space: Space) -> Store:
    return Store(f"sqlite:///{path}", "study", ("top1", "macs"), space.choices)


def make_trials(space: Space, store: Store) -> list[FrozenTrial]:
    """Return trials of every kind: complete, stopped, repeated, rejected, with infinities and constraints."""
    rng = Random(5)
    designs = list({design.digest: design for design in (space.sample(rng) for _ in range(30))}.values())[:5]
    values = [1.5, math.inf, -math.inf, 2.0, 0.1 + 0.2]
    records = [
        TrialRecord(
            0,
            index,
            space.values(design, rng),
            design,
            {"top1": top1, "macs": 7e9, "seconds": 0.25},
            origin="Swin-T é",
            sampler_attrs={"_Evolution:generation": index, "constraints:macs": index - 2.5},
        )
        for index, (design, top1) in enumerate(zip(designs, values, strict=True))
    ]
    records[1] = replace(records[1], stopped_after=63)
    records[2] = replace(records[2], repeat=True)
    records[3] = replace(records[3], rejected="macs 9 > 8", scores={"macs": 9.0})
    return [store.to_frozen_trial(record) for record in records]


def test_every_cell_is_what_optuna_writes(space: Space, tmp_path: Path) -> None:
    paths = tmp_path / "tables.db", tmp_path / "public.db"
    stores = [open_store(path, space) for path in paths]
    trials = make_trials(space, stores[0])
    tables = TableStudyTrials(open_storage(f"sqlite:///{paths[0]}"), 1, stores[0].distributions)
    tables.add(trials[:2])
    tables.add(trials[2:])
    PublicStudyTrials(open_storage(f"sqlite:///{paths[1]}"), stores[1].study, stores[1].distributions).add(
        trials
    )
    ours, theirs = (read_cells(path) for path in paths)
    assert ours == theirs
    assert {name: len(ours[name]) for name in ("trials", "trial_values", "trial_params")} == {
        "trials": 5,
        "trial_values": 8,
        "trial_params": 5 * len(space.choices),
    }


def test_both_ways_read_the_same(space: Space, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = open_store(path, space)
    public = PublicStudyTrials(open_storage(f"sqlite:///{path}"), store.study, store.distributions)
    public.add(make_trials(space, store))
    tables = TableStudyTrials(open_storage(f"sqlite:///{path}"), 1, store.distributions)
    assert tables.read() == public.read() and len(tables.read()) == 5
    assert tables.completion_times() == public.completion_times() and len(tables.completion_times()) == 5


def test_the_schema_is_the_tested_one(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    storage = open_storage(f"sqlite:///{path}")
    assert unsupported_schema(storage) is None
    assert storage.get_current_version() == storage.get_head_version()
    with sqlite3.connect(path) as connection:
        found = {
            table: {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})")}
            for table in COLUMNS
        }
    connection.close()
    assert found == COLUMNS


def test_another_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    storage = open_storage(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE version_info SET schema_version = 13")
    connection.close()
    assert unsupported_schema(storage) == "v3.2.0.a (version 13)"


def test_an_optuna_without_the_tables_is_used_through_its_public_interface(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(nas.search, "optuna_tables", raising=False)
    monkeypatch.setitem(sys.modules, "nas.search.optuna_tables", None)
    store = open_store(tmp_path / "s.db", space)
    assert f"meets tables of Optuna {optuna.__version__} that were not tested" in capsys.readouterr().err
    assert store.records() == []
