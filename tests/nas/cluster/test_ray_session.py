"""Ray's folder lies where its sockets fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas.cluster import ray_session
from nas.cluster.ray_session import describe_missing_place, fits_sockets, session_places, without_secrets


def test_sockets_fit_in_the_usual_places_and_not_in_that_of_a_batch_system() -> None:
    assert fits_sockets(Path("/tmp")) and fits_sockets(Path("/var/tmp"))
    assert not fits_sockets(Path("/") / ("x" * 88))
    longest = str(Path("/tmp")) + f"/nas-{os.getuid()}-12345678" + ray_session._LONGEST_SOCKET
    assert len(longest) <= 107


def test_a_long_folder_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 88)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    assert long not in session_places() and Path("/tmp") in session_places()
    assert describe_missing_place() is None


def test_no_place_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "temporary_places", lambda: [Path("/proc/x"), Path("/" + 88 * "x")])
    assert session_places() == []
    sentence = describe_missing_place()
    assert sentence is not None and sentence.startswith("Ray's sockets find no place: none of /proc/x, /xxx")
    assert sentence.endswith("set RAY_TMPDIR to one, for example RAY_TMPDIR=/dev/shm")


def test_workers_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NAS_STORAGE", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.delenv("MYSQL_PWD", raising=False)
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), without_secrets():
        assert not {"NAS_STORAGE", "PGPASSWORD"} & os.environ.keys()
        raise ZeroDivisionError
    assert dict(os.environ) == before
