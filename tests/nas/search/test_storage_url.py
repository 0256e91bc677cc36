"""Storage URLs: every folder name, no secret in what is written, the secret where the database is opened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from nas.pipeline.request import SearchRequest
from nas.runtime import secrets
from nas.search import storage_url
from nas.search.storage import open_storage
from nas.search.storage_url import clean, complete, has_secrets, sqlite_path, sqlite_url
from nas.study.folder import Study
from search_spaces.errors import RequestError, StudyError, WorkError
from tests.helpers.command_line import tree
from tests.helpers.studies import make_study

HOSTILE = [
    "a?b=c#d",
    "100%20 %41",
    "{x}",
    "a b",
    'it\'s "so"',
    "größe",
    "a+b&c;d",
    "me:pw@host",
    "file:x",
    "%",
    "a\\b",
]
FULL = "postgresql+psycopg://me:hunter22@host/db"
PUBLIC = "postgresql+psycopg://me@host/db"


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the secrets of other tests."""
    monkeypatch.setattr(storage_url, "_complete", {})
    monkeypatch.setattr(secrets, "_known", set())
    monkeypatch.delenv("NAS_STORAGE", raising=False)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_database_lies_inside_the_study_and_nothing_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = make_study(Path(name), 4)
    assert (tmp_path / name / "study.db").is_file()
    outside = {path for path in tree(tmp_path) if not path.startswith(str(tmp_path / name) + os.sep)}
    assert outside == {str(tmp_path / name)}
    assert len(Study(tmp_path / name).records()) == len(study.records()) == 4


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_sqlite_urls_are_of_the_file_that_was_meant(name: str) -> None:
    path = Path("/data") / f"x{name}"
    url = sqlite_url(path)
    assert sqlite_path(url) == path and clean(url) == url and not has_secrets(url)
    assert make_url(optuna.storages.RDBStorage._fill_storage_url_template(url)).database == str(path)


def test_relative_files_are_those_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = clean("sqlite:///deep/../s.db")
    monkeypatch.chdir("/")
    assert sqlite_path(url) == tmp_path / "s.db" == sqlite_path(sqlite_url(tmp_path / "s.db"))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_memory_is_no_storage(url: str) -> None:
    with pytest.raises(StudyError, match="database in memory"):
        clean(url)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        (FULL, PUBLIC),
        ("mysql+pymysql://me:p%40ss@h:1/db?charset=utf8", "mysql+pymysql://me@h:1/db?charset=utf8"),
        ("postgresql://h/db?user=me&password=hunter22", "postgresql://h/db?user=me"),
        ("postgresql://h/db?sslpassword=hunter22&sslmode=on", "postgresql://h/db?sslmode=on"),
        ("postgresql://me:***@h/db", "postgresql://me@h/db"),
    ],
)
def test_secrets_stay_in_the_process(url: str, public: str) -> None:
    assert clean(url) == clean(public) == public and not has_secrets(public)
    assert make_url(complete(public)) == make_url(url if has_secrets(url) else public)


def test_secrets_come_back_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(PUBLIC) == PUBLIC
    monkeypatch.setenv("NAS_STORAGE", "postgresql+psycopg://me:other@elsewhere/db")
    assert complete(PUBLIC) == PUBLIC
    monkeypatch.setenv("NAS_STORAGE", FULL)
    assert complete(PUBLIC) == FULL


def test_a_password_spelled_wrongly_is_refused_and_not_shown() -> None:
    with pytest.raises(StudyError, match=r"postgresql://me:\*\*\*@h/db cannot be read .* %40") as caught:
        clean("postgresql://me:hun@ter22@h/db")
    assert "ter22" not in str(caught.value)


def test_errors_of_the_database_do_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_STORAGE_WAIT", "0")
    with pytest.raises(WorkError, match=r"me@127\.0\.0\.1:1/db\?connect_timeout=1 .*not answered") as caught:
        open_storage("postgresql+psycopg://me:hunter22@127.0.0.1:1/db?connect_timeout=1")
    assert "hunter22" not in str(caught.value)


def request(folder: Path, **given: object) -> SearchRequest:
    return SearchRequest(study=str(folder) + "/s", **given)  # type: ignore[arg-type]


def test_where_a_search_stores_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    file.write_text(FULL + "\n")
    file.chmod(0o644)
    assert request(tmp_path).storage_url == sqlite_url(tmp_path / "s" / "study.db")
    with pytest.raises(StudyError, match="read by others; type: chmod 600"):
        _ = request(tmp_path, storage_file=file).storage_url
    file.chmod(0o600)
    assert request(tmp_path, storage_file=file).storage_url == PUBLIC
    assert complete(PUBLIC) == FULL
    with pytest.raises(RequestError, match="give one"):
        _ = request(tmp_path, storage=FULL, storage_file=file).storage_url
    monkeypatch.setenv("NAS_STORAGE", FULL)
    assert request(tmp_path).storage_url == PUBLIC
    assert request(tmp_path, storage="sqlite:///x.db").storage_url == clean("sqlite:///x.db")


def test_a_study_keeps_its_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(tmp_path / "s", 1)
    own = sqlite_url(tmp_path / "s" / "study.db")
    monkeypatch.setenv("NAS_STORAGE", FULL)
    assert request(tmp_path).storage_url == request(tmp_path, storage=own).storage_url == own
    with pytest.raises(
        StudyError, match=r"keeps its trials in sqlite:.*, not in postgresql\+psycopg://me@host/db"
    ):
        _ = request(tmp_path, storage=FULL).storage_url


def test_a_password_that_an_earlier_version_stored(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", 1)
    study.storage_file.write_text(FULL + "\n")
    study.storage_file.chmod(0o644)
    assert study.url == PUBLIC and complete(study.url) == FULL
    assert study.storage_file.stat().st_mode & 0o777 == 0o644  # reading changes nothing
    provenance = tmp_path / "s" / "provenance.json"
    content = json.loads(provenance.read_text())
    provenance.write_text(json.dumps({**content, "command": ["nas", "--storage", FULL]}))
    study._protect_stored_password()
    assert study.storage_file.stat().st_mode & 0o777 == 0o600
    assert json.loads(provenance.read_text()) == {
        **content,
        "command": ["nas", "--storage", FULL.replace("hunter22", "***")],
    }


def test_a_url_without_a_scheme_is_refused_without_its_password() -> None:
    with pytest.raises(StudyError, match=r"the storage \*\*\*@127\.0\.0\.1:1/x cannot be read") as refusal:
        clean("user:swordfish@127.0.0.1:1/x")
    assert "swordfish" not in str(refusal.value)
