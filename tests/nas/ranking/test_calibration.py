"""A supernet that is wrong about operators is set right by a few trainings alone, as far as theory says."""

from __future__ import annotations

from random import Random

import pytest

from nas.ranking.calibration import LEAST_TRAINED, calibrate
from nas.ranking.correlation import kendall_tau
from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration


def train(design: Architecture, top1: float) -> TrainedDesign:
    return TrainedDesign(design, "sampled", (TrainingRun(design.digest, 0, 1, top1, top1, (top1,), 1),))


def convolutions(design: Architecture) -> float:
    blocks = [block.operator == "dwconv" for block in design.stages[0].blocks]
    return sum(blocks) / len(blocks)


@pytest.fixture(scope="module")
def designs() -> list[Architecture]:
    space, rng = load_declaration("twins_cswin").space("nano", 28, 1, 10), Random(0)
    return [space.sample(rng) for _ in range(120)]


def test_what_is_wrong_about_an_operator_is_set_right(designs: list[Architecture]) -> None:
    rng = Random(1)
    truth = {each.digest: 50 + rng.gauss() for each in designs}
    # The supernet gives convolution three standard deviations of the truth too many.
    scores = {each.digest: truth[each.digest] / 10 + 0.3 * convolutions(each) for each in designs}
    trained, rest = [train(each, truth[each.digest]) for each in designs[:40]], designs[40:]
    predicted = calibrate(scores, rest, trained)

    def order(by: dict[str, float]) -> float:
        return kendall_tau([by[each.digest] for each in rest], [truth[each.digest] for each in rest])

    assert order(scores) < 0.65 < 0.85 < order(predicted)
    errors = [predicted[each.digest] - truth[each.digest] for each in rest]
    assert sum(error**2 for error in errors) / len(errors) < 0.25  # of a variance of 1


def test_a_form_of_an_operator_is_set_right_as_an_operator_is(designs: list[Architecture]) -> None:
    def dynamic(design: Architecture) -> float:
        forms = [block.settings.get("dynamic") == "homogeneous" for block in design.stages[0].blocks]
        return sum(forms) / len(forms)

    rng = Random(4)
    truth = {each.digest: 50 + rng.gauss() for each in designs}
    scores = {each.digest: truth[each.digest] / 10 + 0.3 * dynamic(each) for each in designs}
    predicted = calibrate(scores, designs[60:], [train(each, truth[each.digest]) for each in designs[:60]])
    errors = [predicted[each.digest] - truth[each.digest] for each in designs[60:] if dynamic(each) > 0]
    # Three standard deviations too many in a stage throughout; of all convolutions alike they could not be taken off.
    assert len(errors) > 5 and sum(error**2 for error in errors) / len(errors) < 0.25


def test_scores_that_say_nothing_are_not_believed(designs: list[Architecture]) -> None:
    rng, spread = Random(2), list[float]()
    for _ in range(8):
        truth = {each.digest: 50 + rng.gauss() for each in designs}
        scores = {each.digest: rng.gauss() for each in designs}
        trained, rest = [train(each, truth[each.digest]) for each in designs[:40]], designs[40:]
        predicted = calibrate(scores, rest, trained)
        spread += [predicted[each.digest] - 50 for each in rest]
    # Of a variance of 1: out of sample 14 coefficients fit p / (n - p - 1) of the noise, and less for the penalty.
    assert sum(each**2 for each in spread) / len(spread) < 14 / (40 - 14 - 1)


def test_scores_without_bias_are_kept_in_their_order(designs: list[Architecture]) -> None:
    rng = Random(3)
    truth = {each.digest: 50 + 3 * rng.gauss() for each in designs}
    scores = {digest: -1000 + value / 7 for digest, value in truth.items()}  # another unit, another zero
    predicted = calibrate(scores, designs[16:], [train(each, truth[each.digest]) for each in designs[:16]])
    tau = kendall_tau(list(predicted.values()), [truth[digest] for digest in predicted])
    assert tau > 0.75


def test_few_trainings_correct_nothing(designs: list[Architecture]) -> None:
    trained = [train(each, 50) for each in designs[: LEAST_TRAINED - 1]]
    with pytest.raises(ValueError, match="15 trained designs"):
        calibrate({each.digest: 1.0 for each in designs}, designs, trained)
    # Trainings of designs that nobody scored do not count.
    with pytest.raises(ValueError, match="15 trained designs"):
        calibrate(
            {each.digest: 1.0 for each in designs[:15]}, designs[:3], [*trained, train(designs[20], 50)]
        )
