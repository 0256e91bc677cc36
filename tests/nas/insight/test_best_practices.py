"""The checklist: what a study's records show is ticked off, and what they lack is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nas.insight.best_practices import COMPLIES, FAILS, UNKNOWN, Check, check_practices
from nas.runtime.files import write_json
from nas.study.folder import Study
from tests.helpers.studies import make_study, write_result

SETUP = {"platform": "Linux", "python": "3.11", "cpu_count": 2, "devices": [], "command": ["nas", "search"]}
ORIGIN = {
    **SETUP,
    "commit": "0123456789abcdef",
    "dirty": False,
    "packages": {"torch": "2.15.0", "timm": "1.0"},
}


def checks(study: Study, searching: timedelta | None = timedelta(seconds=90)) -> dict[int, Check]:
    found = check_practices(study, study.records(), searching)
    assert [each.number for each in found] == list(range(1, 15))
    assert [each.section for each in found] == [2] * 3 + [3] * 8 + [4] * 3
    assert all(each.record and each.reason for each in found)
    return {each.number: each for each in found}


def record(study: Study, origin: Mapping[str, Any]) -> None:
    write_json(study.folder / "provenance.json", origin)


def beside(study: Study, name: str, **settings: object) -> None:
    """Put a study beside another that differs from it in some settings."""
    identity = study.identity()
    assert identity is not None
    folder = study.folder.parent / name
    folder.mkdir()
    replace(identity, fingerprint={**identity.fingerprint, **settings}).write(folder)


def rank(study: Study) -> None:
    order = {"predictor": "supernet", "designs": 1, "regret": {}, "tau_by_quartile": []}
    interval = {"value": None, "low": None, "high": None}
    design = {"digest": "0", "origin": "", "design": "", "macs": 1, "val_top1": 50, "scores": {}}
    write_json(
        study.ranking_file,
        {
            "predictors": [{**order, "tau": interval, "rho": interval}],
            "baselines": [],
            "ceiling": [],
            "designs": [{**design, "val_top1_by_seed": {"0": 50}}],
        },
    )


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = make_study(tmp_path / "study", 6)
    record(made, ORIGIN)
    return made


def test_a_study_alone_lacks_what_takes_others(study: Study) -> None:
    found = checks(study)
    verdicts = {number: each.verdict for number, each in found.items()}
    lacking = {4, 5, 8, 9, 10, 13}
    unknown = {6, 11, 12}
    assert {number for number, verdict in verdicts.items() if verdict == FAILS} == lacking
    assert {number for number, verdict in verdicts.items() if verdict == UNKNOWN} == unknown
    assert "commit 0123456789ab" in found[1].reason and "seed 0" in found[2].reason
    assert "one run, of seed 0" in found[9].reason
    assert "search 1 min 30" in found[13].reason.replace("m ", " min ") and "supernet" in found[13].reason


@pytest.mark.parametrize(
    ("change", "number", "verdict"),
    [
        ({"dirty": True}, 3, FAILS),
        ({"dirty": None}, 3, UNKNOWN),
        ({"commit": None}, 1, UNKNOWN),
        ({"commit": None}, 2, UNKNOWN),
        ({"packages": {}}, 14, FAILS),
        ({"cpu_count": None}, 14, FAILS),
        ({"command": []}, 14, FAILS),
    ],
)
def test_what_was_not_recorded(study: Study, change: dict[str, Any], number: int, verdict: str) -> None:
    assert checks(study)[number].verdict == COMPLIES
    record(study, {**ORIGIN, **change})
    assert checks(study)[number].verdict == verdict


def test_without_any_provenance_nothing_is_taken_for_done(study: Study) -> None:
    (study.folder / "provenance.json").unlink()
    found = checks(study, None)
    assert {number: found[number].verdict for number in (1, 2, 3, 7, 11, 14)} == {
        1: UNKNOWN,
        2: UNKNOWN,
        3: UNKNOWN,
        7: UNKNOWN,
        11: UNKNOWN,
        14: FAILS,
    }


def test_other_seeds_a_random_search_and_ablations_lie_beside_it(study: Study) -> None:
    beside(study, "seed1", seed=1)
    beside(study, "random1", seed=1, sampler="random")
    beside(study, "sandwich", policy="sandwich")
    beside(study, "elsewhere", images="other")
    found = checks(study)
    assert found[9].verdict == COMPLIES and "2 runs" in found[9].reason and "seed1" in found[9].reason
    assert found[5].verdict == COMPLIES and found[5].reason.endswith(": policy (sandwich)")
    assert found[8].verdict == FAILS and "random search in random1, but no random designs" in found[8].reason
    rank(study)
    found = checks(study)
    assert (found[8].verdict, found[10].verdict) == (COMPLIES, COMPLIES)
    assert "elsewhere" not in "".join(each.reason for each in found.values())


def test_a_damaged_neighbour_is_none(study: Study) -> None:
    (study.folder.parent / "damaged").mkdir()
    (study.folder.parent / "damaged" / "study.json").write_text("{")
    assert checks(study)[9].verdict == FAILS


def test_baselines_are_trained_by_the_same_recipe_on_the_same_machine(study: Study) -> None:
    space, recipe = study.space(), asdict(study.settings().retraining)
    write_result(study, space.smallest, "scratch", 90, 90, provenance=ORIGIN)
    assert checks(study)[4].verdict == FAILS
    write_result(study, space.largest, "scratch", 91, 91, origin="swin_tiny", provenance=ORIGIN)
    found = checks(study)
    assert {found[number].verdict for number in (4, 6, 11)} == {COMPLIES}
    assert "swin_tiny beside 1 found" in found[4].reason
    other = {**ORIGIN, "packages": {"torch": "2.14.0", "timm": "1.0"}}
    changed = {**recipe, "epochs": recipe["epochs"] + 1, "seed": 5}
    write_result(
        study, space.largest, "scratch", 91, 91, origin="swin_tiny", provenance=other, recipe=changed
    )
    found = checks(study)
    assert (found[6].verdict, found[6].reason) == (FAILS, "recipes of retrained networks differ in epochs")
    assert (found[11].verdict, found[11].reason) == (FAILS, "runs differ in torch")
