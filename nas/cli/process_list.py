"""A password in a command line, which every user of the machine can read in the process list."""

from __future__ import annotations

import os
import sys

from nas.runtime.secrets import redact

_OPTION = "--storage"


def hide_password() -> None:
    """Start this very process anew without the password, where ``--storage`` was given one.

    The whole URL goes on in ``NAS_STORAGE``, which only the user's own processes can read. Process id, terminal,
    files and signals stay as they are; nothing has been done yet that would be done twice.
    """
    arguments = sys.orig_argv
    positions = [at for at, each in enumerate(arguments) if _value(arguments, at) and redact(each) != each]
    if not positions:
        return
    # Only now, since the library takes its time, in which the password could be seen.
    from nas.search.storage_url import VARIABLE, clean
    from search_spaces.errors import StudyError

    url, public = "", list(arguments)
    for at in positions:
        url = _value(arguments, at)
        prefix = arguments[at].removesuffix(url)
        try:
            public[at] = prefix + clean(url)
        except StudyError:  # no URL; opening it will say so
            public[at] = prefix + redact(url)
    sys.stderr.write(
        "nas: the password in --storage could be read in the process list until now, and may stand in the shell's "
        f"history; put the whole URL into the environment variable {VARIABLE} or a file for --storage-file, or the "
        "password into ~/.pgpass\n"
    )
    sys.stderr.flush()
    os.execve(sys.executable, public, {**os.environ, VARIABLE: url})


def _value(arguments: list[str], at: int) -> str:
    """Return the storage URL that the argument at a position gives, or nothing."""
    if arguments[at].startswith(f"{_OPTION}="):
        return arguments[at].removeprefix(f"{_OPTION}=")
    return arguments[at] if at and arguments[at - 1] == _OPTION else ""
