"""``nas search``: what is typed becomes the settings, and with ``--config`` overrides those of the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.cli.options import search_options
from nas.pipeline.request import SearchRequest
from nas.study.named_recipes.reader import load_recipe
from nas.study.recipe import Recipe
from nas.study.recipes import RecipeOverrides
from nas.study.setting import Setting
from nas.study.settings import Settings
from search_spaces.errors import RequestError
from tests.helpers.command_line import Nas, tree

# Differs from the defaults and from the examples below in every setting.
STORED = Settings(
    space="stored.yaml",
    scale="large",
    data="folder:stored",
    data_dir="stored",
    image_size=64,
    objectives="top1,params,macs",
    max_macs="600M",
    max_params="25M",
    max_latency_ms=3.5,
    latency_table="stored.json",
    latency_runtime="onnxruntime",
    sampler="nsga2",
    batch=9,
    ahead=3,
    policy="sandwich",
    paths="by-cost",
    sharing="block",
    supernet="stored.safetensors",
    init_from=("twins_svt_small=stored.pth",),
    validation_images=99,
    compile=False,
    seed=5,
    racing=0.2,
    recipe=Recipe(epochs=3, batch_size=32, shards=3, lr=1e-3, seed=5),
    retraining=Recipe(epochs=4, batch_size=16, lr=2e-3, seed=6),
)
# Of settings that not every value of their type is valid for.
EXAMPLES = {
    "policy": "uniform",
    "objectives": "top1,macs",
    "max_macs": "7M",
    "max_params": "8M",
    "training_recipe": "cifar",
    "test_crop": 0.9,
    "sampler": "random",  # tpe does not propose ahead, as the stored settings do
}


def example(each: Setting) -> Any:
    """Return a valid value that is neither the default nor the stored one."""
    stored = getattr(STORED, each.name, None)
    if each.name in EXAMPLES:
        return EXAMPLES[each.name]
    if each.choices:
        return next(choice for choice in each.choices if choice not in (each.default, stored))
    if each.type is bool:
        return True
    if each.type in (int, int | None):
        return 7
    if each.type in (float, float | None):
        return 0.03
    return ("cswin_tiny=given.pth",) if each.type == tuple[str, ...] else "given"


def arguments(each: Setting, value: Any) -> list[object]:
    """Return an option as it is typed."""
    if isinstance(value, bool):
        return [each.flag]
    if each.name == "candidates":
        return [each.flag, value, "--retrain", 1]  # which chooses among them
    if isinstance(value, tuple):
        return [word for text in value for word in (each.flag, text)]
    return [each.flag, value]


@pytest.fixture
def requested(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SearchRequest]:
    """Run ``nas search`` as far as the request and return it."""

    def run(*typed: object) -> SearchRequest:
        requests: list[SearchRequest] = []

        def stop(request: SearchRequest) -> None:
            requests.append(request)
            raise RequestError("enough")

        monkeypatch.setattr("nas.api.search.plan_search", stop)
        outcome = nas("search", *typed)
        assert outcome.err == "nas: enough\n", outcome
        return requests[0]

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The stored settings as a file."""
    path = tmp_path / "study.yaml"
    path.write_text(STORED.to_yaml())
    return path


def overridden(each: Setting, value: Any) -> Settings:
    """Return the stored settings with one option, as the declaration says what it sets."""
    if each.name == "training_recipe":
        named = load_recipe(value)
        return replace(
            STORED,
            recipe=replace(named.supernet, seed=5, shards=3),
            retraining=replace(named.retraining, seed=5, shards=3),
        )
    settings = STORED if each.overrides else replace(STORED, **{each.name: value})
    keys = [*each.overrides, *(["recipe.seed", "retraining.seed"] if each.name == "seed" else [])]
    for key in keys:
        recipe, _, number = key.partition(".")
        settings = replace(settings, **{recipe: replace(getattr(settings, recipe), **{number: value})})
    return settings


def test_without_options_the_file_counts_alone(requested: Callable[..., SearchRequest], config: Path) -> None:
    request = requested("--config", config)
    assert request.settings == STORED
    assert request.given == {}


@pytest.mark.parametrize("each", search_options(), ids=lambda each: each.flag)
def test_every_option_beside_a_config_takes_effect(
    each: Setting, requested: Callable[..., SearchRequest], config: Path
) -> None:
    # Some choices have two values; then the stored one is given up for the default.
    value = each.default if len(each.choices) == 2 else example(each)
    expected = overridden(each, value)
    assert expected != STORED
    assert requested("--config", config, *arguments(each, value)).settings == expected


@pytest.mark.parametrize(
    "each",
    # The objectives by default have no top1, which what races here asks for.
    [each for each in search_options() if each.type in (str, int) and each.name != "objectives"],
    ids=lambda each: each.flag,
)
def test_a_default_that_is_typed_takes_effect_too(
    each: Setting, requested: Callable[..., SearchRequest], config: Path
) -> None:
    request = requested("--config", config, each.flag, each.default)
    assert request.settings == overridden(each, each.default) != STORED


@pytest.mark.parametrize("each", search_options(), ids=lambda each: each.flag)
def test_every_option_without_a_config_takes_effect(
    each: Setting, requested: Callable[..., SearchRequest]
) -> None:
    value, base = "block" if each.name == "sharing" else example(each), Settings()
    if each.name == "racing":
        base = Settings(objectives="top1,macs")
        request = requested("--objective", base.objectives, *arguments(each, value))
    else:
        request = requested(*arguments(each, value))
    if each.overrides:
        assert (request.settings, request.overrides) == (Settings(), RecipeOverrides(**{each.name: value}))
    else:
        assert (request.settings, request.overrides) == (
            replace(base, **{each.name: value}),
            RecipeOverrides(),
        )
    assert {
        name: request.given[name] for name in request.given if name != "objectives" or name == each.name
    } == {each.name: value}


def test_a_smaller_batch_beside_a_config_has_fewer_shards(
    requested: Callable[..., SearchRequest], config: Path
) -> None:
    recipe = requested("--config", config, "--batch-size", 4).settings.recipe
    assert (recipe.batch_size, recipe.shards) == (4, 2)


def test_config_with_storage_study_and_budget(requested: Callable[..., SearchRequest], config: Path) -> None:
    request = requested(
        "--config", config, "--storage", "sqlite:///s.db", "--study", "./s", "--budget", "1cpu,9trials"
    )
    assert (request.storage, request.study_folder.folder, request.budget) == (
        "sqlite:///s.db",
        Path("s"),
        "1cpu,9trials",
    )
    assert request.settings == STORED
    assert requested("--config", config).study_folder.folder == Path("studies/stored-stored")


def test_a_search_from_a_file_with_another_seed(
    nas: Nas, space_file: Path, images: Path, tmp_path: Path
) -> None:
    stored = Settings(space=str(space_file), data=f"folder:{images}", recipe=Recipe(epochs=2, batch_size=8))
    (tmp_path / "study.yaml").write_text(stored.to_yaml())
    options = (
        "--budget",
        "1cpu",
        "--study",
        tmp_path / "s",
        "--epochs",
        5,
        "--seed",
        3,
        "--dry-run",
        "--json",
    )
    outcome = nas("search", "--config", tmp_path / "study.yaml", *options)
    assert outcome.code == 0, outcome
    plan = json.loads(outcome.out)
    assert (plan["workers"], plan["device"], plan["study"]) == (1, "cpu", str(tmp_path / "s"))
    assert plan["settings"]["recipe"]["epochs"] == 5 and plan["settings"]["seed"] == 3
    assert plan["lines"] == outcome.err.splitlines()
    assert "supernet  5 epochs" in outcome.err and "of 8 images" in outcome.err


def test_a_dry_run_writes_nothing(
    nas: Nas, space_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home", "work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "work")
    before = tree(tmp_path), tree(space_file.parent), tree(images)
    base = ("search", "--space", space_file, "--data", f"folder:{images}", "--budget", "1cpu", "--dry-run")
    for further in (
        (),
        ("--json",),
        ("--study", tmp_path / "work" / "s"),
        ("--storage", f"sqlite:///{tmp_path}/work/trials.db"),
        ("--retrain", 2, "--baselines", "--export"),
        ("--objective", "macs,latency_ms"),
        ("--objective", "macs"),
    ):
        outcome = nas(*base, *further)
        assert outcome.code == 0, outcome
        assert (tree(tmp_path), tree(space_file.parent), tree(images)) == before, further
