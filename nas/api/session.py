"""What every call of a script or a notebook has around it: a log of its own, and errors in the words of Python."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from nas.runtime.console import console, log
from search_spaces.errors import NasError

_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*[a-z0-9])")
_COMMAND = re.compile(r"\bnas [a-z]+ ")


@contextlib.contextmanager
def session(*, quiet: bool = False) -> Iterator[None]:
    """Run a block as one job of a program that may run several: each has its own log.

    Args:
        quiet: Whether nothing is printed while it works; the study's log has it all the same.

    Raises:
        NasError: What the block raises, with options spelled as the keywords that they are in Python.
    """
    before = console.quiet, log.path
    console.quiet, log.path = quiet or console.quiet, None
    try:
        yield
    except NasError as error:
        error.args = (spell_for_python(str(error)),)
        raise
    finally:
        console.quiet, log.path = before


def spell_for_python(text: str) -> str:
    """Return a sentence with options as keywords, ``max_macs`` for ``--max-macs``; commands stay as they are typed."""
    found = _COMMAND.search(text)
    end = len(text) if found is None else found.start()
    return _OPTION.sub(lambda option: option[1].replace("-", "_"), text[:end]) + text[end:]


def format_call(name: str, **arguments: object) -> list[str]:
    """Return a call as the command that a study remembers: ``nas.search(space='twins_cswin')``."""
    given = (
        f"{key}={_plain(value)!r}"
        for key, value in arguments.items()
        if value is not None and value is not False
    )
    return [f"nas.{name}({', '.join(given)})"]


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
