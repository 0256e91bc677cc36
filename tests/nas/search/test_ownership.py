"""A study in a shared database belongs to the folder whose id it bears; others' are not touched."""

from __future__ import annotations

from pathlib import Path
from random import Random

import optuna
import pytest

from nas.search.ownership import FINGERPRINT_ATTR, Owner, find_former_name
from nas.search.storage import check_storage, open_storage_for_reading
from nas.search.trial_store import Store, TrialRecord
from search_spaces.errors import StudyError
from search_spaces.space import Space
from tests.helpers.command_line import tree
from tests.helpers.searches import small_space

GOAL = ("top1", "macs")
ALICE = Owner("a" * 32, {"images": "1", "seed": 0}, "/alice/exp")
BOB = Owner("b" * 32, {"images": "2", "seed": 0}, "/bob/exp")


@pytest.fixture(scope="module")
def space() -> Space:
    return small_space()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shared.db"


def record(space: Space) -> TrialRecord:
    design = space.sample(Random(0))
    return TrialRecord(0, 0, space.values(design), design, {"top1": 50.0, "macs": 7.0})


def test_each_owner_has_trials_of_his_own(space: Space, url: str) -> None:
    alice = Store(url, "exp-aaaaaaaa", GOAL, space.choices, ALICE)
    alice.add([record(space)])
    assert Store(url, "exp-bbbbbbbb", GOAL, space.choices, BOB).records() == []
    assert Store(url, "exp-aaaaaaaa", GOAL, space.choices, ALICE).records() == [record(space)]


@pytest.mark.parametrize("way", ["check", "open"])
def test_what_belongs_to_another_is_refused_and_stays_as_it_is(
    way: str, space: Space, url: str, tmp_path: Path
) -> None:
    Store(url, "exp", GOAL, space.choices, ALICE)
    optuna.create_study(storage=url, study_name="somebody's", directions=["maximize", "minimize"])
    moved = Owner(ALICE.id, {**ALICE.fingerprint, "seed": 1}, "/alice/exp")

    def use(name: str, owner: Owner) -> None:
        if way == "check":
            check_storage(url, name, GOAL, owner)
        else:
            Store(url, name, GOAL, space.choices, owner)

    content = (tmp_path / "shared.db").read_bytes()
    with pytest.raises(
        StudyError, match=r"belongs to another study \(aaaaaaaa, not bbbbbbbb; of /alice/exp\)"
    ):
        use("exp", BOB)
    with pytest.raises(StudyError, match="was made by another program"):
        use("somebody's", BOB)
    with pytest.raises(StudyError, match=r"was searched with other settings .*: seed"):
        use("exp", moved)
    assert (tmp_path / "shared.db").read_bytes() == content


def test_a_study_whose_first_command_was_killed_as_it_was_made_goes_on(space: Space, url: str) -> None:
    optuna.create_study(storage=url, study_name="exp-aaaaaaaa", directions=["maximize", "minimize"])
    store = Store(url, "exp-aaaaaaaa", GOAL, space.choices, ALICE)
    assert store.study.user_attrs[FINGERPRINT_ATTR] == ALICE.fingerprint


def test_trials_of_earlier_versions_go_by_name_once(space: Space, url: str, tmp_path: Path) -> None:
    Store(url, "exp", GOAL, space.choices).add([record(space)])

    def find(name: str, alone: bool) -> str | None:
        storage = open_storage_for_reading(url)
        assert storage is not None
        return find_former_name(storage, name, alone=alone)

    before = tree(tmp_path)
    assert find("exp", False) == find("exp", True) == find("renamed", True) == "exp"
    assert find("renamed", False) is None
    assert tree(tmp_path) == before
    assert Store(url, "exp", GOAL, space.choices, ALICE).records() == [record(space)]
    assert find("exp", True) is None  # it is Alice's now
    with pytest.raises(StudyError, match="belongs to another study"):
        Store(url, "exp", GOAL, space.choices, BOB)


def test_other_peoples_studies_are_no_former_ones(url: str) -> None:
    study = optuna.create_study(storage=url, study_name="exp", directions=["maximize", "minimize"])
    study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    storage = open_storage_for_reading(url)
    assert storage is not None and find_former_name(storage, "exp", alone=True) is None
