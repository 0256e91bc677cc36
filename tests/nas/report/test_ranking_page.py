"""What pages say of a supernet's order, from planted rankings; a damaged file is one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from nas.pipeline.ranking import SUPERNET, rank
from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from nas.report.ranking_page import describe, to_page
from nas.report.study_report import write_report
from nas.runtime.files import write_json
from search_spaces.errors import StudyError
from tests.helpers.searches import small_space
from tests.helpers.studies import make_study


def planted(seeds: Sequence[int] = (0, 1)) -> dict[str, object]:
    """Return a ranking of 12 designs whose supernet has them in the wrong order throughout."""
    designs = []
    for number, design in enumerate(Random(0).sample(list(small_space().enumerate()), 12)):
        runs = (TrainingRun(design.digest, seed, 1, 40 + number + seed / 4, 40, (40,), 1.0) for seed in seeds)
        designs.append(TrainedDesign(design, "<sampled>", tuple(runs)))
    scores = {each.architecture.digest: 100 - each.val_top1 for each in designs}
    found: dict[str, object] = json.loads(json.dumps(rank(designs, {SUPERNET: scores}).to_json()))
    return found


def test_the_summary_has_the_order_the_size_and_the_noise() -> None:
    text = describe(planted())
    assert "order by the supernet has a Kendall tau of <b>-1.00 (-1.00 to -1.00)</b>" in text
    assert "Size alone, in " in text
    assert "two seeds order the designs alike with 1.00" in text
    assert "not known" in describe(planted(seeds=(0,)))


def test_the_page_stands_alone_and_escapes_what_it_is_given() -> None:
    page = to_page(planted(), "a <study>")
    assert "a &lt;study&gt;" in page and "<study>" not in page
    assert "<sampled>" not in page
    assert 'src="http' not in page


def test_the_report_has_what_nas_rank_found(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 6)
    write_report(study)
    assert "Does the supernet order" not in study.report_file.read_text()
    write_json(study.ranking_file, planted())
    write_report(study)
    report = study.report_file.read_text()
    assert "Does the supernet order designs as training does?" in report
    assert "-1.00 (-1.00 to -1.00)" in report


@pytest.mark.parametrize(
    "text", ["", "{}", '{"predictors": [], "baselines": [], "ceiling": [], "designs": []}']
)
def test_a_damaged_ranking_is_one_sentence(tmp_path: Path, text: str) -> None:
    study = make_study(tmp_path / "study", 3)
    study.ranking_file.write_text(text)
    with pytest.raises(StudyError, match=r"cannot read .*ranking\.json"):
        write_report(study)


def test_a_design_without_trainings_is_damage(tmp_path: Path) -> None:
    study, content = make_study(tmp_path / "study", 3), json.loads(json.dumps(planted()))
    content["designs"][0]["val_top1_by_seed"] = {}
    write_json(study.ranking_file, content)
    with pytest.raises(StudyError, match=r"ranking\.json: 'designs\.0\.val_top1_by_seed'"):
        write_report(study)
