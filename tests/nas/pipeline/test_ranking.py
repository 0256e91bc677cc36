"""What a ranking is refused for before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas.pipeline import ranking
from nas.pipeline.ranking import plan_ranking
from search_spaces.errors import CheckpointError, RequestError
from tests.helpers.studies import make_study


def test_a_search_without_accuracies_has_no_supernet_to_judge(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 3, objectives="macs,params")
    with pytest.raises(RequestError, match=r"has no supernet to judge; give one .* with --supernet"):
        plan_ranking(study, budget="1cpu")


def test_the_supernet_of_another_search_counts_as_trained(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 3)
    settings = replace(study.settings(), supernet=str(tmp_path / "moved.safetensors"))
    (study.folder / "study.yaml").write_text(settings.to_yaml())
    with pytest.raises(CheckpointError, match=r"there is no weights file .*moved\.safetensors"):
        plan_ranking(study, budget="1cpu")
    assert ranking.supernet_weights(study) == tmp_path / "moved.safetensors"
