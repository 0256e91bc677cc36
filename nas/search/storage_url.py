"""The URL of a study's database: what it is, where its password comes from, how it is written down.

URLs are made and taken apart by SQLAlchemy, never by cutting strings: a folder may be called ``a?b=c#d``, ``%20`` or
``{x}``. A study stores its URL without secrets. They come back from ``NAS_STORAGE``, the environment variable with
the whole URL, or from where the database's own library looks: ``~/.pgpass``, ``PGPASSWORD``, ``PGSERVICE``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from nas.runtime.secrets import HIDDEN, is_secret_key, redact, remember
from search_spaces.errors import StudyError

#: The environment variable that holds a storage URL, with its password.
VARIABLE = "NAS_STORAGE"

_complete: dict[str, str] = {}  # clean URL -> the URL with its secrets, as this process was given it


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file, wherever the current folder will be."""
    return _to_string(URL.create("sqlite", database=str(path.resolve())))


def sqlite_path(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for other databases and for what SQLite calls URIs."""
    parsed = _parse(url)
    if parsed is None or parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return None if parsed.database.startswith("file:") else Path(parsed.database)


def clean(url: str) -> str:
    """Return a URL as it may be written and printed: in SQLAlchemy's spelling, without secrets.

    The secrets stay in this process, for `complete` alone. An SQLite file's path becomes absolute; what is no URL is
    returned as it is, since opening it says so.

    Raises:
        StudyError: If a password is not spelled as in a URL, or the database is one in memory.
    """
    parsed = _parse(url)
    if "\0" in url:
        raise StudyError(
            f"the storage {redact(url)} holds zeros; give an SQLAlchemy URL such as sqlite:///study.db"
        )
    if parsed is None:
        if "@" in url:
            # Without a scheme nothing says where a password begins.
            shown = redact(url) if "://" in url else f"{HIDDEN}@{url.rpartition('@')[2]}"
            raise StudyError(
                f"the storage {shown} cannot be read as a URL; write @ : / ? # % of a password as "
                "%40 %3A %2F %3F %23 %25"
            )
        return url
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StudyError(
            f"the storage {url} is a database in memory, which ends with the command; name a file, for example "
            "sqlite:///study.db"
        )
    if (path := sqlite_path(url)) is not None:
        parsed = parsed.set(database=str(path.resolve()))
    public = _without_secrets(parsed)
    if _has_secrets(parsed):
        for secret in (parsed.password, *_secret_values(parsed)):
            if secret:
                remember(str(secret))
        _complete[public] = _to_string(parsed)
    return public


def complete(url: str) -> str:
    """Return a clean URL as the database is opened: with the secrets that were given for it, if any were."""
    if url not in _complete and sqlite_path(url) is None and (given := os.environ.get(VARIABLE)):
        clean(given)
    return _complete.get(url, url)


def has_secrets(url: str) -> bool:
    """Return whether a URL holds a password or another secret."""
    parsed = _parse(url)
    return redact(url) != url if parsed is None else _has_secrets(parsed)


def read_storage_file(path: Path) -> str:
    """Return the storage URL in a file that nobody but its owner can read.

    Raises:
        StudyError: If it cannot be read, others can read it, or it is empty.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise StudyError(
            f"--storage-file {path} cannot be read ({reason}); name a file that holds a storage URL"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StudyError(f"--storage-file {path} can be read by others; type: chmod 600 {path}")
    if not text or "\n" in text:
        raise StudyError(f"--storage-file {path} does not hold one storage URL; write one line into it")
    return text


def _parse(url: str) -> URL | None:
    """Return SQLAlchemy's ``URL``, or None where the text is none."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    # Half a password that holds an @ would be taken for the host.
    return None if "@" in (parsed.host or "") else parsed


def _has_secrets(url: URL) -> bool:
    return url.password not in (None, HIDDEN) or any(map(is_secret_key, url.query))


def _secret_values(url: URL) -> list[str]:
    return [each for key, values in url.normalized_query.items() if is_secret_key(key) for each in values]


def _without_secrets(url: URL) -> str:
    query = {key: value for key, value in url.query.items() if not is_secret_key(key)}
    return _to_string(URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query))


def _to_string(url: URL) -> str:
    return url.render_as_string(hide_password=False)
