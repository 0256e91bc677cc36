"""Another search of a trained supernet, and the command that a refusal offers for it."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from nas.pipeline.again import ANEW, settings_from_study
from nas.study.folder import Study
from nas.study.setting import declared_settings
from nas.study.settings import Settings
from tests.helpers.command_line import TINY_SPACE, Nas, Outcome, paint_folder, tree

OLD = Path(__file__).parents[2] / "golden" / "old_study"
SAME = (
    *(
        "search",
        "--space",
        "tiny.yaml",
        "--data",
        "folder:images",
        "--study",
        "./study",
        "--budget",
        "1cpu,9trials",
    ),
    *("--objective", "top1,macs,latency_ms", "--epochs", "1", "--batch", "6", "--batch-size", "8"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the old study, its space and its images."""
    shutil.copytree(OLD, tmp_path / "study")
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of(outcome: Outcome) -> dict[str, object]:
    assert outcome.code == 0, outcome
    plan: dict[str, object] = json.loads(outcome.out)
    return plan


def test_space_images_supernet_and_recipes_are_those_of_the_study(nas: Nas, place: Path) -> None:
    before = tree(place)
    line = ("search", "--from-study", "study", "--max-macs", "3M", "--budget", "1cpu", "--dry-run", "--json")
    plan = plan_of(nas(*line))
    stored, settings = Study(place / "study").settings(), plan["settings"]
    assert isinstance(settings, dict)
    assert settings["data"].endswith("images") and settings["space"].endswith("study/space.yaml")
    assert settings["supernet"].endswith("study/supernet/checkpoint.safetensors")
    assert settings["recipe"]["epochs"] == stored.recipe.epochs and settings["max_macs"] == "3M"
    assert settings["objectives"] == "loss,macs"  # searched for anew: a default, not that of the study
    assert plan["study"] == "study-max-macs-3M"
    assert tree(place) == before


def test_what_is_searched_for_is_what_is_given_and_else_the_default(place: Path) -> None:
    given = {"sampler": "tpe", "seed": 4, "objectives": "top1,params", "retrain_epochs": 3}
    settings = settings_from_study(Study(place / "study"), given)
    assert (settings.sampler, settings.seed, settings.objectives) == ("tpe", 4, "top1,params")
    assert settings.retraining.epochs == 3
    defaults = {each.name: each.default for each in declared_settings(Settings)}
    for name in {*ANEW} - {*given, "latency_table"}:
        assert getattr(settings, name) == defaults[name]


@pytest.mark.parametrize(
    "changed",
    [
        ("--max-macs", "3M"),
        ("--sampler", "tpe"),
        ("--batch", "5"),
        ("--racing", "0.1"),
        ("--validation-images", "5"),
        ("--objective", "top1,params"),
        ("--max-params", "4k", "--max-latency-ms", "7.5"),
    ],
    ids=lambda words: words[0],
)
def test_a_refusal_prints_the_command_which_then_works(
    nas: Nas, place: Path, changed: tuple[str, ...]
) -> None:
    outcome = nas(*SAME, *changed)
    assert outcome.code == 2
    _, _, command = outcome.err.strip().partition("search its supernet again: ")
    assert command.startswith("nas search --from-study study ") and command.endswith("--budget 1cpu,9trials")
    assert all(word in shlex.split(command) for word in changed)
    plan = plan_of(nas(*shlex.split(command)[1:], "--dry-run", "--json"))
    assert plan["supernet"] and plan["trials"] == 9


@pytest.mark.parametrize(
    "changed", [("--lr", "0.5"), ("--sharing", "block"), ("--max-macs", "3M", "--policy", "fair")]
)
def test_nothing_is_offered_that_would_not_be_what_was_asked(
    nas: Nas, place: Path, changed: tuple[str, ...]
) -> None:
    outcome = nas(*SAME, *changed)
    assert outcome.code == 2 and "--from-study" not in outcome.err


def test_a_supernet_that_is_not_trained(nas: Nas, place: Path) -> None:
    (place / "study" / "supernet" / "checkpoint.safetensors").unlink()
    outcome = nas("search", "--from-study", "study", "--max-macs", "3M")
    assert outcome.code == 2 and "is not trained yet" in outcome.err
    assert "--from-study" not in nas(*SAME, "--max-macs", "3M").err


def test_other_images_are_refused(nas: Nas, place: Path) -> None:
    shutil.rmtree(place / "images")
    paint_folder(place / "images", images=13)
    outcome = nas("search", "--from-study", "study", "--max-macs", "3M")
    assert outcome.code == 2 and "images" in outcome.err


@pytest.mark.slow
def test_a_trained_supernet_is_searched_again(nas: Nas, place: Path) -> None:
    line = ("search", "--from-study", "study", "--max-params", "3k", "--budget", "1cpu,4trials", "--json")
    outcome = nas(*line)
    assert outcome.code == 0, outcome
    assert "training supernet" not in outcome.err
    assert all(entry["scores"]["params"] <= 3000 for entry in json.loads(outcome.out)["front"])
    assert nas("retrain", json.loads(outcome.out)["study"], "--inherit", "--epochs", "1").code == 0
