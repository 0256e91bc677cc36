"""Which designs are retrained, and from which weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.pipeline.candidates import calibrated_merits, choose_candidates, choose_to_halve
from nas.pipeline.ranking import rank, supernet_weights, trainings_file
from nas.ranking.trained_designs import TrainingRun, TrainingTable
from nas.runtime.files import write_json
from nas.study.designs import SAMPLED, find_design
from nas.study.folder import Study
from search_spaces.analogues import analogues
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError, RequestError
from tests.helpers.studies import make_study, write_result


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study."""
    return make_study(tmp_path_factory.mktemp("study") / "s", 12)


def test_the_front_best_first(study: Study) -> None:
    front = [entry["digest"] for entry in study.front()]
    assert [each.architecture.digest for each in choose_candidates(study, top=2)] == front[:2]
    assert {each.modes for each in choose_candidates(study, top=2)} == {("scratch", "inherit")}


def test_published_designs_take_the_images_of_the_study(study: Study) -> None:
    (candidate,) = choose_candidates(study, named=["dwnet_tiny"])
    space, design = study.space(), candidate.architecture
    assert (design.image_size, design.in_channels, design.num_classes) == (space.image_size, 1, 2)
    assert (candidate.design.origin, candidate.design.published) == ("dwnet_tiny", True)
    assert candidate.modes == ("scratch",)  # the supernet has none of its weights


def test_a_published_design_at_a_budget_on_the_images_of_the_study(study: Study) -> None:
    (candidate,) = choose_candidates(study, named=["dwnet_tiny@500k"])
    design = candidate.architecture
    assert (design.image_size, design.num_classes) == (study.space().image_size, 2)
    assert costs(design).macs == pytest.approx(500e3, rel=0.02)
    assert candidate.design.origin == "dwnet_tiny@500k"
    with pytest.raises(RequestError, match="the MACs behind @ must be a positive number such as 600M"):
        choose_candidates(study, named=["dwnet_tiny@500kb"])
    with pytest.raises(ArchitectureError, match=r"^dwnet_tiny: it cannot be scaled to 0\.0001M MACs"):
        choose_candidates(study, named=["dwnet_tiny@100"])


def test_they_cannot_inherit(study: Study) -> None:
    with pytest.raises(RequestError, match=r"^dwnet_tiny cannot inherit .* leave --inherit out"):
        choose_candidates(study, named=["dwnet_tiny"], modes=("inherit",))


def test_images_that_are_too_small(study: Study) -> None:
    with pytest.raises(ArchitectureError, match=r"^twins_svt_small: it cannot take images of 8x8 px"):
        choose_candidates(study, named=["twins_svt_small"])


def test_baselines_stand_beside_the_winner_and_what_is_named(study: Study) -> None:
    candidates = choose_candidates(study, named=["dwnet_tiny"], baselines=True)
    digests = [each.architecture.digest for each in candidates]
    assert digests[0] == study.front()[0]["digest"] and len(set(digests)) == len(digests)
    assert {design.digest for _, design in analogues(study.space())} <= set(digests)
    origins = {each.design.origin for each in candidates}
    assert "dwnet_tiny" in origins and any(origin.endswith("-like") for origin in origins)


def test_a_retrained_baseline_is_found_by_its_digest(study: Study) -> None:
    design = find_design("dwnet_tiny", study)
    write_result(study, design.architecture, "scratch", 50.0, 50.0, origin="dwnet_tiny", published=True)
    assert find_design(design.architecture.digest, study) == design
    assert find_design(study.front()[0]["digest"], study).origin == SAMPLED


def test_an_unknown_name_is_told_what_is_known(study: Study) -> None:
    with pytest.raises(ArchitectureError, match=r"has no design 'dwnet_tinny'.*did you mean 'dwnet_tiny'"):
        find_design("dwnet_tinny", study)


def test_without_a_supernet_all_are_trained_from_scratch(tmp_path: Path) -> None:
    costs_alone = make_study(tmp_path / "s", 8, objectives="macs,params")
    assert {each.modes for each in choose_candidates(costs_alone)} == {("scratch",)}
    with pytest.raises(RequestError, match="the search trained no supernet"):
        choose_candidates(costs_alone, modes=("inherit",))


def test_trainings_of_a_gate_correct_the_scores_that_candidates_are_chosen_by(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", 40)
    records = study.records()
    assert calibrated_merits(study, records) is None  # nothing was trained alone
    measured = [record for record in records if record.measured]
    # Trained alone, designs are the better the worse the supernet finds them.
    truth = {record.architecture.digest: 60 - record.scores["top1"] / 2 for record in measured}
    trainings_file(study).parent.mkdir()
    table = TrainingTable(trainings_file(study), {"images": "images", "epochs": 2})

    def train(count: int, supernet: Path) -> None:
        table.add_designs([("sampled", record.architecture) for record in measured[:count]])
        for record in measured[:count]:
            digest = record.architecture.digest
            table.add_run(TrainingRun(digest, 0, 2, truth[digest], truth[digest], (truth[digest],), 1))
        scores = {record.architecture.digest: record.scores["top1"] for record in measured[:count]}
        content = {"epochs": 2, "supernet": str(supernet)}
        write_json(study.ranking_file, {**rank(table.trained(2), {"supernet": scores}).to_json(), **content})

    train(15, supernet_weights(study))
    assert calibrated_merits(study, records) is None
    train(24, tmp_path / "another.safetensors")  # whose scores are not those of the search
    assert calibrated_merits(study, records) is None
    train(24, supernet_weights(study))
    merits = calibrated_merits(study, records)
    assert merits is not None and merits.keys() == truth.keys()
    rest = [record.architecture.digest for record in measured[24:]]
    best, worst = max(rest, key=lambda digest: truth[digest]), min(rest, key=lambda digest: truth[digest])
    assert merits[best] > merits[worst]
    # Of the front the design with the best prediction is taken first, not the one with the best score.
    front = [entry["digest"] for entry in study.front()]
    (first,) = [each.digest for each in choose_to_halve(study, 1, 6) if each.why == "front's best"]
    assert first == max(front, key=lambda digest: (merits[digest], -study_macs(study, digest)))


def study_macs(study: Study, digest: str) -> float:
    (scores,) = [entry["scores"] for entry in study.front() if entry["digest"] == digest]
    return float(scores["macs"])
