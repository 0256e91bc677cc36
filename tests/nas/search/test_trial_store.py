"""What is stored of trials and read again, through Optuna's tables and through its public interface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import optuna
import pytest

from nas.search import optuna_tables
from nas.search.loop import pareto_records
from nas.search.storage import check_storage
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration
from search_spaces.errors import StudyError
from search_spaces.space import Space
from tests.helpers.searches import (
    GOALS,
    FakeEvaluations,
    Killed,
    MemoryStore,
    comparable,
    run_search,
    small_space,
)


@pytest.fixture(autouse=True, params=["tables", "public"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way into the database; no schema counts as tested where it is the public one."""
    if request.param == "public":
        monkeypatch.setattr(optuna_tables, "TESTED_SCHEMAS", set())
    return str(request.param)


@pytest.fixture(scope="module")
def space() -> Space:
    """A space of few parameters."""
    return small_space()


def different_designs(space: Space, count: int) -> list[Architecture]:
    """Return designs of which no two are equal: a study holds one evaluation of each."""
    rng, found = Random(3), dict[str, Architecture]()
    while len(found) < count:
        design = space.sample(rng)
        found[design.digest] = design
    return list(found.values())


def test_records_round_trip(space: Space, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    design = space.sample(Random(3))
    record = TrialRecord(
        0,
        0,
        space.values(design),
        design,
        {"top1": 50.0, "macs": 7.0},
        origin="twins",
        images=6,
        correct=0b110100,
        sampler_attrs={"g": 1},
    )
    rejected = TrialRecord(0, 1, space.values(design), design, {"macs": 9.0}, rejected="macs 9 > 8")
    for one in (rejected, record):
        store.add([one])
    again = Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    assert again.records() == [record, rejected]
    assert (again.records()[0].images, again.records()[0].correct) == (6, 0b110100)
    trial = again.study.get_trials()[1]
    assert trial.user_attrs["digest"] == design.digest and trial.user_attrs["design"] == str(design)
    assert again.study.metric_names == ["top1", "macs"]
    assert {p.name for p in tmp_path.iterdir()} >= {"s.db"}


def test_trials_are_stored_as_optuna_stores_them(space: Space, tmp_path: Path) -> None:
    rng = Random(5)
    designs = [space.sample(rng) for _ in range(3)]
    records = [
        TrialRecord(
            0,
            index,
            space.values(design, rng),
            design,
            {"top1": score, "macs": 7.0},
            sampler_attrs={"g": index},
        )
        for index, (design, score) in enumerate(zip(designs, (1.5, float("inf"), 2.0), strict=True))
    ]
    records[2] = replace(records[2], rejected="macs 9 > 8")
    ours, theirs = (
        Store(f"sqlite:///{tmp_path}/s.db", name, ("top1", "macs"), space.choices)
        for name in ("ours", "theirs")
    )
    ours.add(records[:1])
    ours.add(records[1:])
    ours.add([])
    for record in records:
        theirs.study.add_trial(theirs.to_frozen_trial(record))
    again = [
        optuna.load_study(storage=f"sqlite:///{tmp_path}/s.db", study_name=n) for n in ("ours", "theirs")
    ]
    pairs = list(zip(*(study.get_trials() for study in again), strict=True))
    assert len(pairs) == 3
    for mine, given in pairs:
        assert mine.datetime_start <= mine.datetime_complete
        for name in ("number", "state", "params", "distributions", "user_attrs", "system_attrs"):
            assert getattr(mine, name) == getattr(given, name), name
        assert mine.values == given.values
        assert abs(mine.datetime_complete - given.datetime_complete).total_seconds() < 60


def test_trials_of_another_space_are_refused(space: Space, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    store = Store(url, "study", ("top1", "macs"), space.choices)
    design = space.sample(Random(3))
    store.add([TrialRecord(0, 0, space.values(design), design, {"top1": 50.0, "macs": 7.0})])
    other = load_declaration("twins_cswin").space("tiny", 224, 3, 10)
    with pytest.raises(StudyError, match="holds trials of another space; choose another --study"):
        Store(url, "study", ("top1", "macs"), other.choices).records()


def test_a_trial_that_lacks_parameters_is_refused(space: Space, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    store.study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    assert store.records() == []  # one without any is nobody's design
    name = space.choices[0].name
    store.study.add_trial(
        optuna.trial.create_trial(
            values=[1.0, 2.0],
            params={name: space.choices[0].options[0]},
            distributions={name: store.distributions[name]},
        )
    )
    with pytest.raises(StudyError, match="holds trials of another space"):
        store.records()


def test_studies_of_one_database_do_not_mix(space: Space, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    records = [
        TrialRecord(0, index, space.values(design), design, {"top1": 50.0 + index, "macs": 7.0})
        for index, design in enumerate(different_designs(space, 3))
    ]
    mine, other = (Store(url, name, ("top1", "macs"), space.choices) for name in ("mine", "other"))
    for first in range(3):  # in turn, so that their trials lie between one another
        mine.add(records[first : first + 1])
        other.add(records)
    assert mine.records() == records == other.records()  # each trial once, however often it is added
    assert [trial.number for trial in mine.study.get_trials()] == [0, 1, 2]
    ended = [trial.datetime_complete for trial in mine.study.get_trials()]
    assert mine.completion_times() == ended == sorted(mine.completion_times())


def test_other_objectives_are_refused(space: Space, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    Store(url, "study", ("top1", "macs"), space.choices)
    check_storage(url, "study", ("top1", "macs"))
    check_storage(url, "another", ("top1", "params"))
    # ("top1", "params") has the directions of ("top1", "macs") and is another search all the same.
    for objectives in (("top1", "params"), ("top1",), ("macs", "top1")):
        with pytest.raises(StudyError, match="has the objectives top1, macs"):
            check_storage(url, "study", objectives)
        with pytest.raises(StudyError, match="has the objectives top1, macs"):
            Store(url, "study", objectives, space.choices)


def test_check_creates_nothing(tmp_path: Path) -> None:
    check_storage(f"sqlite:///{tmp_path}/deep/s.db", "study", ("top1",))
    assert list(tmp_path.iterdir()) == []


def test_optuna_reads_the_store(space: Space, tmp_path: Path) -> None:
    records = run_search(tmp_path, space, trials=8)
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/study.db")
    best = {trial.user_attrs["digest"] for trial in study.best_trials}
    assert best == {record.architecture.digest for record in pareto_records(records, GOALS[2])}


def test_killed_and_resumed_equals_uninterrupted(space: Space, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_search(tmp_path, space, first := FakeEvaluations(shuffle=0, dies_after=7), trials=12)
    last = FakeEvaluations(shuffle=1)
    records = run_search(tmp_path, space, last, trials=12)
    assert comparable(records) == comparable(run_search(MemoryStore(), space, trials=12))
    assert len(first.seen + last.seen) == len({*first.seen, *last.seen}) == 12


def test_the_user_reads_why_storing_is_slow(
    way: str, space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    line = (
        "study 'study' has a database with a schema that was not tested: v3.2.0.a (version 12); its trials go "
        "through Optuna's public interface, which takes about 0.3 s each\n"
    )
    assert capsys.readouterr().err == (line if way == "public" else "")
