"""Secrets in texts: found wherever they stand, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from nas.runtime import secrets
from nas.runtime.console import log
from nas.runtime.provenance import provenance
from nas.runtime.secrets import redact, redact_command, remember


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", set())


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql+psycopg://me:hunter22@host/db", "postgresql+psycopg://me:***@host/db"),
        ("at mysql://me:a/b:c@d@host:1/db?x=1 now", "at mysql://me:***@host:1/db?x=1 now"),
        ("'--storage=POSTGRESQL://me:p%40ss@h/d'", "'--storage=POSTGRESQL://me:***@h/d'"),
        ("postgresql://:pass@h", "postgresql://:***@h"),
        (
            "postgresql://h/d?user=me&password=x&sslmode=on",
            "postgresql://h/d?user=me&password=***&sslmode=on",
        ),
        ("mysql://h/d?passwd=x&ssl_key=k", "mysql://h/d?passwd=***&ssl_key=k"),
        ("x://h/d?sslpassword=x#f", "x://h/d?sslpassword=***#f"),
        ("x://h/d?auth_token=x&apikey=y", "x://h/d?auth_token=***&apikey=***"),
        ("host=h password='a b' dbname=d", "host=h password=*** dbname=d"),
        (
            "nothing: me@host, http://127.0.0.1:8080/dashboard",
            "nothing: me@host, http://127.0.0.1:8080/dashboard",
        ),
        ("sqlite:////a/b?c=d#e@f", "sqlite:////a/b?c=d#e@f"),
    ],
)
def test_redact(text: str, redacted: str) -> None:
    assert redact(text) == redacted


_PASSWORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=5, max_size=20).filter(
    lambda text: len(set(text) - set("*")) > 4
)


@given(_PASSWORDS)
def test_a_password_is_hidden_in_every_spelling(password: str) -> None:
    url = URL.create("postgresql+psycopg", "me", password, "host", 5432, "db").render_as_string(False)
    encoded = url.partition("me:")[2].partition("@host")[0]
    assert redact(url) == "postgresql+psycopg://me:***@host:5432/db"
    assert redact_command(["nas", f"--storage=postgresql://me:{password}@host/db"]) == [
        "nas",
        "--storage=postgresql://me:***@host/db",
    ]
    remember(password)
    assert (
        redact(f"login failed: ({password})") == redact(f"login failed: ({encoded})") == "login failed: (***)"
    )


def test_short_passwords_are_hidden_where_they_are_known_to_be_some() -> None:
    remember("nas")
    assert redact("nas search --storage x://me:nas@h") == "nas search --storage x://me:***@h"


def test_words_that_hold_a_password_stay() -> None:
    remember("postgres")
    assert redact("postgresql is not postgres") == "postgresql is not ***"


def test_log_and_provenance_are_redacted(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    from pathlib import Path

    path, before = Path(str(tmp_path)) / "log.txt", log.path
    log.to(path)
    try:
        log.say("at x://me:hunter22@h")
        log.note("again x://me:hunter22@h")
    finally:
        log.path = before
    assert path.read_text().count("***") == 2 and "hunter22" not in path.read_text() + capsys.readouterr().err
    assert provenance(0, ["nas", "--storage", "x://me:hunter22@h"])["command"][2] == "x://me:***@h"
