"""Whether a search goes on with a study or is refused: planned, and entered as the run does before it trains."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.pipeline.models import plan_retraining
from nas.pipeline.plan import SearchPlan, plan_search
from nas.pipeline.request import SearchRequest
from nas.study.find import default_study_name
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.errors import StudyError
from tests.helpers.command_line import TINY_SPACE, paint_folder, tree

Begin = Callable[..., SearchPlan]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Plan a search and enter its study, in a folder with a space and images."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY_SPACE)
    paint_folder(Path("one"))

    def run(*, storage: str | None = None, study: str | None = "./study", **given: Any) -> SearchPlan:
        given = {"space": "tiny.yaml", "data": "folder:one", "epochs": 1, **given}
        plan = plan_search(SearchRequest(given, budget="1cpu", study=study, storage=storage))
        identity = plan.study.create(
            plan.settings, plan.dataset_info, plan.declaration, plan.storage_url, [], plan.identity
        )
        return replace(plan, identity=identity)

    return run


def is_resumed(plan: SearchPlan, again: SearchPlan) -> bool:
    return plan.identity.id == again.identity.id


@pytest.mark.parametrize(
    "spec", ["folder:./one", "folder:one/", "folder:{tmp}/one", "folder:one/../one", "folder:link"]
)
def test_images_are_spelled_in_any_way(spec: str, begin: Begin, tmp_path: Path) -> None:
    first = begin()
    Path("link").symlink_to("one")
    assert is_resumed(first, begin(data=spec.format(tmp=tmp_path)))


def move_images() -> dict[str, Any]:
    Path("one").rename("moved")
    return {"data": "folder:moved"}


def copy_images() -> dict[str, Any]:
    shutil.copytree("one", "copy")
    for path in Path("copy").rglob("*.png"):
        os.utime(path, (0, 0))
    return {"data": "folder:copy"}


def rename_study() -> dict[str, Any]:
    Path("study").rename('it\'s 100% <ü> "new"?')
    return {"study": './it\'s 100% <ü> "new"?'}


def move_study() -> dict[str, Any]:
    Path("far").mkdir()
    shutil.move("study", "far/study")
    return {"study": "./far/study"}


def copy_study() -> dict[str, Any]:
    shutil.copytree("study", "copy")
    return {"study": "./copy"}


def link_study() -> dict[str, Any]:
    Path("link").symlink_to("study")
    return {"study": "./link"}


def move_space() -> dict[str, Any]:
    Path("tiny.yaml").rename("renamed.yaml")
    text = Path("renamed.yaml").read_text().replace("name: tiny", "name: renamed")
    Path("renamed.yaml").write_text(f"# a comment\n{text}")
    return {"space": "renamed.yaml"}


SAME = [move_images, copy_images, rename_study, move_study, copy_study, link_study, move_space]


@pytest.mark.parametrize("change", SAME, ids=lambda change: change.__name__)
def test_moved_copied_and_renamed_it_goes_on(change: Callable[[], dict[str, Any]], begin: Begin) -> None:
    first = begin()
    again = begin(**change())
    assert is_resumed(first, again)
    assert again.checkpoint_identities[0] == first.checkpoint_identities[0]


def other_pixels() -> None:
    path = Path("one/class0/00.png")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)


def swapped_labels() -> None:
    for name in ("00.png", "01.png"):
        first, second = Path("one/class0", name), Path("one/class1", name)
        content = first.read_bytes(), second.read_bytes()
        second.write_bytes(content[0])
        first.write_bytes(content[1])


def another_class_name() -> None:
    Path("one/class0").rename("one/class_0")


def one_more() -> None:
    shutil.copy("one/class0/00.png", "one/class0/99.png")
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save("one/class0/99.png")


@pytest.mark.parametrize(
    "change", [other_pixels, swapped_labels, another_class_name, one_more], ids=lambda change: change.__name__
)
def test_other_images_under_the_same_path_are_refused(change: Callable[[], None], begin: Begin) -> None:
    first = begin()
    change()
    before = tree(Path("study"))
    with pytest.raises(
        StudyError, match=r"was made with other images .*--study ./study-[0-9a-f]{6}$"
    ) as error:
        begin()
    Path("design.json").write_text(json.dumps(first.space.smallest.to_json()))
    with pytest.raises(StudyError, match="holds other images than study"):
        plan_retraining(first.study, named=["design.json"], budget="1cpu")
    assert tree(Path("study")).keys() == before.keys()
    suggested = str(error.value).rpartition("--study ")[2]
    assert not is_resumed(first, begin(study=suggested))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 1}, "seed=0, not 1"),
        ({"max_macs": "3M"}, "max_macs=None, not 3000000.0"),
        ({"objectives": "macs,top1"}, "objectives=loss, macs, not macs, top1"),
        ({"image_size": 32}, "another space, scale or image size"),
        ({"batch_size": 16}, "recipe.batch_size=64, not 16"),
        ({"validation_images": 5}, "validation_images=2000, not 5"),
    ],
    ids=str,
)
def test_other_settings_are_refused(given: dict[str, Any], said: str, begin: Begin) -> None:
    begin()
    with pytest.raises(StudyError, match=said):
        begin(**given)


def test_a_study_keeps_the_defaults_of_the_version_that_began_it(begin: Begin) -> None:
    first = begin(objectives="top1,macs", sampler="nsga2")
    again = begin()
    assert is_resumed(first, again)
    assert (again.settings.objectives, again.settings.sampler) == ("top1,macs", "nsga2")
    # What the user asks for is asked for, and a value that was never a default is not kept.
    with pytest.raises(StudyError, match="sampler=nsga2, not screened"):
        begin(sampler="screened")
    begin(study="./other", objectives="top1,params")
    with pytest.raises(StudyError, match="objectives=top1, params, not loss, macs"):
        begin(study="./other")


def test_two_studies_of_one_name_share_nothing(begin: Begin, tmp_path: Path) -> None:
    paint_folder(Path("two"), images=14)
    url = f"sqlite:///{tmp_path}/shared.db"
    alice = begin(study="alice/exp", storage=url)
    bob = begin(study="./bob/exp", storage=url, data="folder:two")
    stores = [plan.study.open_store() for plan in (alice, bob)]
    assert {store.study.study_name for store in stores} == {
        f"exp-{plan.identity.id[:8]}" for plan in (alice, bob)
    }
    assert all(store.records() == [] for store in stores)
    # A copy of the folder is the same study.
    shutil.copytree("alice", "carol")
    again = begin(study="./carol/exp", storage=url)
    assert is_resumed(alice, again)
    assert again.study.open_store().study.study_name == stores[0].study.study_name
    # Whoever takes another's identity file is refused by the database.
    identity = replace(bob.identity, optuna_name=alice.identity.optuna_name)
    identity.write(bob.study.folder)
    with pytest.raises(StudyError, match="belongs to another study"):
        begin(study="./bob/exp", storage=url, data="folder:two")


def test_a_database_that_is_gone_is_said_and_the_search_goes_on(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    first = begin()
    first.study.open_store(16)
    assert first.study.open_store().study.trials == [] and capsys.readouterr().err == ""
    Path("study/study.db").unlink()
    again = begin()
    assert is_resumed(first, again) and again.study.records() == []
    again.study.open_store()
    assert "are no longer in sqlite:" in capsys.readouterr().err


def test_a_storage_that_a_file_names_is_not_made_where_none_was(begin: Begin, tmp_path: Path) -> None:
    begin()
    elsewhere, url = tmp_path / "planted.db", f"sqlite:///{tmp_path}/planted.db"
    Path("study/storage.txt").write_text(f"{url}\n")
    with pytest.raises(
        StudyError, match=r"planted.db that study/storage.txt names is not there; .* --storage to"
    ):
        begin()
    assert not elsewhere.exists()
    begin(storage=url).study.open_store()  # whoever types it wants it
    assert elsewhere.exists()
    begin()


def test_a_folder_that_is_gone_leaves_its_trials_alone(begin: Begin, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    first = begin(storage=url)
    name = first.study.open_store().study.study_name
    shutil.rmtree("study")
    again = begin(storage=url)
    assert not is_resumed(first, again) and again.study.open_store().study.study_name != name


def test_a_study_goes_on_from_another_folder_of_work(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begin(study="./studies/first")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "studies" / "first"
    again = plan_search(SearchRequest(config=folder / "study.yaml", budget="1cpu", study=str(folder)))
    assert is_resumed(first, again)
    other = plan_search(SearchRequest(config=folder / "study.yaml", budget="1cpu"))
    assert other.study.folder == Path("studies/tiny-one")
    assert other.data.digest == first.data.digest
    again.study.require_images(other.data)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Settings(), "twins_cswin-mnist5k"),
        (Settings(data="torch/cifar10"), "twins_cswin-cifar10"),
        (Settings(data="folder:/"), "twins_cswin-images"),
        (Settings(data="folder:/" + "d" * 250), f"twins_cswin-{'d' * 80}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_study_is_called_after_space_and_images(settings: Settings, name: str) -> None:
    assert default_study_name(settings) == name


@pytest.mark.parametrize(
    ("space", "name"), [("my space", "my_space"), ("a/../b", "a_.._b"), ("s" * 250, "s" * 80)]
)
def test_a_space_of_a_file_is_called_as_it_calls_itself(space: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(TINY_SPACE.replace("name: tiny", f"name: {space}"))
    settings = Settings(space=str(file), data="folder:~/flowers/")
    assert default_study_name(settings) == f"{name}-flowers"


def test_two_sets_of_one_name_do_not_meet_in_one_study(begin: Begin) -> None:
    paint_folder(Path("other/one"), images=14)
    first = begin(study=None)
    assert first.study.folder == Path("studies/tiny-one")
    with pytest.raises(StudyError, match=r"other images .*for example --study studies/tiny-one-"):
        begin(study=None, data="folder:other/one")


def test_the_default_study_of_an_earlier_version_goes_on(begin: Begin) -> None:
    begin(study="./studies/tiny")
    assert begin(study=None).study.folder == Path("studies/tiny-one")  # it has an id, so its name was meant
    shutil.rmtree("studies/tiny-one")
    Path("studies/tiny/study.json").unlink()
    assert begin(study=None).study.folder == Path("studies/tiny")
    assert begin(study="./studies/tiny").study.identity() is not None


def test_a_study_made_since_the_plan_is_not_entered_by_another(begin: Begin) -> None:
    plan = plan_search(
        SearchRequest({"space": "tiny.yaml", "data": "folder:one", "seed": 3}, budget="1cpu", study="./study")
    )
    begin()
    with pytest.raises(StudyError, match="seed=0, not 3"):
        plan.study.create(
            plan.settings, plan.dataset_info, plan.declaration, plan.storage_url, [], plan.identity
        )


def test_who_works_on_a_study_is_told_before_images_are_read(begin: Begin) -> None:
    plan, study = begin(), Study(Path("study"))
    pid = os.fork()
    if not pid:  # a process that holds the lock and is killed
        with study.lock.hold(["nas", "search"]):
            Path("held").touch()
            time.sleep(60)
        os._exit(0)
    try:
        while not Path("held").exists():
            time.sleep(0.01)
        shutil.move("one", "gone")
        with pytest.raises(StudyError, match=f"is worked on by .* process {pid}"):
            begin()
        with pytest.raises(StudyError, match=f"is worked on by .* process {pid}"):
            plan_retraining(plan.study, budget="1cpu")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    shutil.move("gone", "one")
    assert is_resumed(plan, begin())
