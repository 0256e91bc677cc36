"""A ``study.yaml`` means the same files from wherever it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.study.identity import make_identity
from nas.study.locations import locate
from nas.study.settings import Settings

SETTINGS = Settings(
    space="spaces/mine.yaml",
    data="folder:images",
    data_dir="sets",
    supernet="w.safetensors",
    latency_table="latency.json",
    init_from=("cswin_tiny=c.pth",),
    teacher="timm:resnet18=t.pth",
)
FILES = ("spaces/mine.yaml", "images/a", "sets/b", "w.safetensors", "latency.json", "c.pth", "t.pth")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a study in it."""
    project = tmp_path / "project"
    for name in (*FILES, "studies/first/study.yaml"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)  # others, of the same name
    return project


def paths(settings: Settings) -> list[Path]:
    """Return the files that settings name."""
    texts = [settings.space, settings.data.removeprefix("folder:"), settings.data_dir, settings.supernet]
    texts += [settings.latency_table, settings.init_from[0][11:], str(settings.teacher)[14:]]
    return [Path(str(text)).resolve() for text in texts]


def expected(project: Path) -> list[Path]:
    names = ("spaces/mine.yaml", "images", "sets", "w.safetensors", "latency.json", "c.pth", "t.pth")
    return [project / name for name in names]


def test_found_above_the_file_from_wherever_it_is_used(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "studies" / "first" / "study.yaml"
    monkeypatch.chdir(project)
    assert (
        locate(SETTINGS, Path("studies/first/study.yaml")) == SETTINGS
    )  # spelled as it is, where that leads there
    monkeypatch.chdir(project.parent / "elsewhere")
    assert paths(locate(SETTINGS, file)) == expected(project)
    monkeypatch.chdir(file.parent)
    assert paths(locate(SETTINGS, Path("study.yaml"))) == expected(project)
    moved = project.rename(project.with_name("moved"))
    assert paths(locate(SETTINGS, moved / "studies" / "first" / "study.yaml")) == expected(moved)


@pytest.mark.parametrize("study", ["images", "other"])
def test_a_study_called_after_images_is_not_taken_for_them(
    study: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is the study itself or one beside it: ``nas search --data folder:images --study images``."""
    for name in ("images", "other"):
        (project / "studies" / name).mkdir()
        (project / "studies" / name / "study.yaml").touch()
    for place in (project, project.parent / "elsewhere"):
        monkeypatch.chdir(place)
        assert paths(locate(SETTINGS, project / "studies" / study / "study.yaml")) == expected(project)


def test_found_where_the_study_was_begun(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = project.parent / "far" / "study"
    far.mkdir(parents=True)
    monkeypatch.chdir(project)
    make_identity("study", {}).write(far)
    monkeypatch.chdir(project.parent / "elsewhere")
    assert paths(locate(SETTINGS, far / "study.yaml")) == expected(project)


def test_found_in_the_current_folder_at_last(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = project.parent / "far"
    far.mkdir()
    monkeypatch.chdir(project)
    assert locate(SETTINGS, far / "study.yaml") == SETTINGS


def test_names_and_absolute_paths_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist5k").mkdir()
    (tmp_path / "twins_cswin").touch()
    for settings in (Settings(), Settings(data=f"folder:{tmp_path}/no", supernet=f"{tmp_path}/no")):
        assert locate(settings, tmp_path / "a" / "study.yaml") == settings


def test_a_space_that_is_gone_is_the_copy_in_the_study(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").touch()
    assert locate(Settings(space="gone.yaml"), tmp_path / "study.yaml").space == str(tmp_path / "space.yaml")
