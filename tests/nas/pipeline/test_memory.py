"""Memory in the plan: shards computed by hand from a budget, a refusal, stored recipes that stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.pipeline import memory
from nas.pipeline.memory import Footprint, plan_memory
from nas.runtime.resources import GIB, MIB, Amount, format_bytes
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.footprint import PathMemory
from nas.training.saved_memory import SavedBytes
from search_spaces.cost import costs
from search_spaces.errors import RequestError
from search_spaces.space import Space
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder

HERE = Cluster(8, 2, "this machine", running=False)
TWO_GPUS = WorkerAllocation(2, 4.0, 1.0, "cuda")
RECIPES = Settings(recipe=Recipe(batch_size=64, shards=2), retraining=Recipe(batch_size=64))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, space: Space) -> None:
    """A GPU of 6 GiB, a supernet of no weights to speak of whose worst path saves 1/4 GiB for each image."""
    path = PathMemory(space.largest, SavedBytes(0, GIB / 4), "cuda", "bfloat16", "a small GPU", 6 * GIB)
    monkeypatch.setattr(memory, "measure_worst_path", lambda *arguments: path)
    monkeypatch.setattr(memory, "count_supernet_parameters", lambda *arguments: 0)


def plan(
    settings: Settings, space: Space, *, is_stored: bool = False, teacher_params: int = 0
) -> tuple[Settings, Footprint]:
    how = {"is_stored": is_stored, "teacher_params": teacher_params}
    return plan_memory(settings, space, 1000, TWO_GPUS, HERE, **how)


@pytest.mark.usefixtures("device")
def test_a_teacher_takes_its_weights_or_its_answers(space: Space) -> None:
    """By hand: 4 bytes a weight; for 1000 images of 3 classes in half precision 6000 bytes."""
    _, footprint = plan(RECIPES, space, teacher_params=2**28)
    assert [phase.memory.teacher for phase in footprint.phases().values()] == [GIB, GIB]
    # 4 GiB are left: 4 / (1.1 / 4) = 14.5 images, so that 64 are in 5 shards or in 2 times 3.
    assert (footprint.supernet.shards, footprint.retraining.shards) == (6, 5)
    assert "          of the supernet's, its teacher takes 1.0 GiB" in footprint.lines()
    clean = replace(RECIPES, recipe=replace(RECIPES.recipe, teacher_images="clean"))
    _, footprint = plan(clean, space, teacher_params=2**28)
    assert [phase.memory.teacher for phase in footprint.phases().values()] == [6000, GIB]
    _, footprint = plan(replace(RECIPES, teacher="largest"), space)
    params = costs(space.largest).params
    assert [phase.memory.teacher for phase in footprint.phases().values()] == [0, 4 * params]


@pytest.mark.usefixtures("device")
def test_shards_by_hand(space: Space) -> None:
    # A GPU keeps 1 GiB for itself and a tenth of what is saved: 5 GiB hold 5 / (1.1 / 4) = 18.2 images. 64 images in
    # 2 shards are 32 images, in 4 they are 16.
    fitted, footprint = plan(RECIPES, space)
    assert (fitted.recipe.shards, footprint.supernet.images) == (4, 16)
    assert footprint.supernet.memory.total == round(GIB + 1.1 * 16 * GIB / 4)
    # A retraining, whose recipe begins with one shard: 1, 2, 3 (22 images), 4.
    assert (fitted.retraining.shards, footprint.retraining.images) == (4, 16)
    assert fitted == replace(
        RECIPES, recipe=replace(RECIPES.recipe, shards=4), retraining=replace(RECIPES.retraining, shards=4)
    )
    assert footprint.lines() == [
        "memory    supernet at most 5.4 GiB, retraining at most 5.4 GiB on each device; a small GPU has 6.0 GiB",
        "          the worst path saves 4.0 GiB for 16 images in bfloat16",
        "          supernet in 4 shards instead of 2, so that it fits",
        "          retraining in 4 shards instead of 1, so that it fits",
    ]
    assert footprint.to_json()["supernet"]["bytes"] == footprint.supernet.memory.total


@pytest.mark.usefixtures("device")
def test_what_fits_is_left_as_it_is(space: Space) -> None:
    small = replace(RECIPES, recipe=Recipe(batch_size=32, shards=2), retraining=Recipe(batch_size=16))
    fitted, footprint = plan(small, space)
    assert fitted == small and not any("instead of" in line for line in footprint.lines())


@pytest.mark.usefixtures("device")
def test_a_stored_recipe_stays_and_the_plan_says_what_is_wrong(space: Space) -> None:
    settings, footprint = plan(RECIPES, space, is_stored=True)
    assert settings == RECIPES and footprint.supernet.shards == 2
    assert footprint.warnings[0] == (
        "the supernet may not fit: its path of most memory takes 9.8 GiB in 2 shards and a small GPU has 6.0 GiB; "
        "a new study, of another --study, would choose 4"
    )
    assert len(footprint.warnings) == 2


@pytest.mark.usefixtures("device")
def test_too_little_for_two_images_is_refused(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PathMemory(space.largest, SavedBytes(0, 4 * GIB), "cuda", "bfloat16", "a small GPU", 6 * GIB)
    monkeypatch.setattr(memory, "measure_worst_path", lambda *arguments: path)
    with pytest.raises(
        RequestError, match=r"on 2 images at a time takes 9\.8 GiB and a small GPU has 6\.0 GiB; choose"
    ):
        plan(RECIPES, space)
    assert plan(RECIPES, space, is_stored=True)[0] == RECIPES  # a study that has begun may try


@pytest.mark.usefixtures("device")
def test_a_device_that_is_not_here_changes_nothing(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PathMemory(space.largest, SavedBytes(0, 4 * GIB), "cuda", "bfloat16")
    monkeypatch.setattr(memory, "measure_worst_path", lambda *arguments: path)
    settings, footprint = plan(RECIPES, space)
    assert settings == RECIPES and footprint.device_bytes is None and "has" not in footprint.lines()[0]


def test_a_search_on_little_memory_divides_its_batches_and_keeps_to_that(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images", images=40)
    monkeypatch.chdir(tmp_path)
    command = (
        "search",
        "--space",
        "tiny.yaml",
        "--data",
        "folder:images",
        "--budget",
        "1cpu",
        "--dry-run",
        "--json",
    )
    roomy = json.loads(nas(*command).out)
    needed = roomy["memory"]["supernet"]["bytes"]
    assert roomy["settings"]["recipe"]["shards"] == roomy["memory"]["supernet"]["shards"] == 2
    # What 32 images save is 2.8 MiB, beside 1 GiB of the process; half of them save 1.4 MiB less. As much again as a
    # process takes is the driver's.
    monkeypatch.setattr(memory, "measure_memory", lambda: Amount(GIB + needed - MIB, GIB))
    tight = json.loads(nas(*command).out)
    assert tight["settings"]["recipe"]["shards"] == 4
    assert any("supernet in 4 shards instead of 2" in line for line in tight["lines"])
    monkeypatch.setattr(memory, "measure_memory", lambda: Amount(GIB + 100 * MIB, GIB))
    refused = nas(*command)
    assert refused.code == 2 and "a worker has 100 MiB; choose a smaller --scale" in refused.err


def test_what_is_free_now_is_a_warning_and_no_other_recipe(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images", images=40)
    monkeypatch.chdir(tmp_path)
    command = "search --space tiny.yaml --data folder:images --budget 2cpu --dry-run --json".split()
    monkeypatch.setattr(memory, "measure_memory", lambda: Amount(16 * GIB, 16 * GIB))
    idle = json.loads(nas(*command).out)
    assert not any("is free now" in warning for warning in idle["warnings"])
    monkeypatch.setattr(memory, "measure_memory", lambda: Amount(16 * GIB, 300 * MIB))
    busy = json.loads(nas(*command).out)
    assert busy["settings"] == idle["settings"] and busy["memory"] == idle["memory"]
    wanted = 2 * max(busy["memory"][phase]["bytes"] for phase in ("supernet", "retraining"))
    assert (
        f"training on 2 workers takes up to {format_bytes(wanted)} of memory and 300 MiB is free now; close other "
        "programs or give a smaller --budget"
    ) in busy["warnings"]
