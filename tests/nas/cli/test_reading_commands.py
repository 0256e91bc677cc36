"""Commands that only read write nothing: every file, folder and time is afterwards as it was before."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from nas.cli.render import next_steps
from nas.report import dashboard
from nas.runtime.lock import FolderLock
from nas.study.folder import Study
from search_spaces.errors import RequestError
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder, tree

GOLDEN = Path(__file__).parents[2] / "golden" / "old_study"
EXPORTED = "ce7caaf679bc"


def as_it_was(study: Path) -> None:
    """A study of an earlier version."""


def without_a_database(study: Path) -> None:
    (study / "study.db").unlink()


def in_wal_mode(study: Path) -> None:
    with closing(sqlite3.connect(study / "study.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def killed_in_wal_mode(study: Path) -> None:
    writer = sqlite3.connect(study / "study.db")
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("UPDATE studies SET study_name = study_name")
    writer.commit()
    copy = study.with_name("copy")
    shutil.copytree(study, copy)
    writer.close()
    shutil.rmtree(study)
    copy.rename(study)


def read_only(study: Path) -> None:
    for place, _, files in os.walk(study, topdown=False):
        for name in files:
            os.chmod(os.path.join(place, name), 0o444)
        os.chmod(place, 0o555)


STATES = [as_it_was, without_a_database, in_wal_mode, killed_in_wal_mode, read_only]


@pytest.fixture(params=STATES, ids=lambda state: state.__name__)
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study with a retrained and exported design, and the working directory beside it."""
    folder = tmp_path / "study"
    shutil.copytree(GOLDEN, folder)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    paint_folder(tmp_path / "more", images=20)
    monkeypatch.chdir(tmp_path)
    request.param(folder)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "show DIGEST --study ./study",
        "show study/exports/DIGEST --json",
        "studies .",
        "studies ./study --json",
        "evaluate study/exports/DIGEST --data folder:images",
        "predict study/exports/DIGEST images/class0/00.png",
        "analyze study/exports/DIGEST --data folder:more",
        "search --space tiny.yaml --data folder:images --study ./new --dry-run",
        "search --config study/study.yaml --study ./study --budget 1cpu --dry-run",
        "spaces",
        "recipes",
        "recipes deit",
    ],
)
def test_nothing_is_written(command: str, nas: Nas, study: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    outcome = nas(*command.replace("DIGEST", EXPORTED).split())
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path) == before


def test_the_report_writes_its_page_alone(nas: Nas, study: Path, tmp_path: Path) -> None:
    if not study.stat().st_mode & 0o200:
        pytest.skip("the page has nowhere to go")
    before = tree(tmp_path)
    outcome = nas("report", "./study")
    if not (study / "study.db").exists():  # what was reported of the lost trials stays
        assert outcome.code == 2 and "are no longer in" in outcome.err
        assert tree(tmp_path) == before
        return
    assert outcome.code == 0
    assert changes(before, tree(tmp_path)) == {str(study), str(study / "report.html")}


DAMAGE = {
    "a table is gone": "DROP TABLE trial_user_attributes",
    "text that is no JSON": "UPDATE trial_user_attributes SET value_json='[[1'",
    "values of another kind": "UPDATE trial_user_attributes SET value_json='[1,{}]'",
    "attributes of the study of another kind": "UPDATE study_user_attributes SET value_json='17'",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_database_is_one_sentence_and_one_line_of_the_list(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("damaged", "whole"):
        shutil.copytree(GOLDEN, tmp_path / "studies" / name)
    with closing(sqlite3.connect(tmp_path / "studies" / "damaged" / "study.db")) as connection:
        connection.execute(statement)
        connection.commit()
    outcome = nas("studies", "--json")
    assert outcome.code == 0, outcome.err
    states = {each["name"]: each for each in json.loads(outcome.out)}
    assert states["whole"]["state"].startswith("finished")
    assert states["whole"]["best_se"] > 0 and "±" in states["whole"]["best_text"]
    if "study_user" not in statement:  # which a study of an earlier version does not have
        assert states["damaged"]["state"] == "cannot be read"
        report = nas("report", "studies/damaged")
        assert report.code == 2 and "the database is damaged" in report.err
        assert len(report.err.strip().splitlines()) == 1


def test_printed_commands_can_be_typed_and_paths_are_printed_as_they_are(tmp_path: Path) -> None:
    study = Study(tmp_path / "[bold]it's $HOME[/bold]")
    first, report, dashboard = next_steps(study, [], None).removeprefix("next: ").splitlines()
    assert shlex.split(first) == ["nas", "retrain", str(study.folder), "--top", "1"]
    assert shlex.split(report) == ["nas", "report", str(study.folder)]
    assert shlex.split(dashboard) == ["nas", "dashboard", str(study.folder)]


def test_an_export_writes_its_folder_alone(nas: Nas, study: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    outcome = nas("export", "./study", "--out", "out", "--format", "source")
    assert outcome.code == 0, outcome.err
    assert {
        path for path in changes(before, tree(tmp_path)) if not path.startswith(f"{tmp_path}/out")
    } == set()


@pytest.mark.parametrize(
    "serve",
    [
        lambda folder: dashboard.serve(Study(folder), 8080),
        lambda folder: dashboard.serve_stored(Study(folder).url, 8080),
    ],
    ids=["copy", "stored"],
)
def test_the_dashboard_writes_nothing(
    serve: Callable[[Path], None], study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {}

    def make_server(host: str, port: int, app: Any, *classes: type) -> Any:
        served["app"] = app
        raise OSError("stop here")

    def answer(status: str, headers: object, error: object = None) -> None:
        assert status == "200 OK", error

    monkeypatch.setattr(dashboard, "make_server", make_server)
    before = tree(tmp_path)
    with pytest.raises(RequestError):  # no port, or no trials
        serve(study)
    if "app" in served:

        def get(path: str) -> Any:
            environment: dict[str, Any] = {"PATH_INFO": path}
            setup_testing_defaults(environment)
            return json.loads(b"".join(served["app"](environment, answer)))

        (shown,) = get("/api/studies")["study_summaries"]
        assert get(f"/api/studies/{shown['study_id']}")["trials"]
    assert ("app" in served) == (study / "study.db").exists()
    assert tree(tmp_path) == before


def changes(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Return the paths that are new, gone or changed."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def test_who_works_on_a_study_does_not_keep_readers_out(nas: Nas, study: Path, tmp_path: Path) -> None:
    if not study.stat().st_mode & 0o200:
        pytest.skip("nobody works there")
    with FolderLock(study).hold(["nas", "search"]):
        before = tree(tmp_path)
        assert nas("studies", "./study").code == 0
        assert tree(tmp_path) == before
