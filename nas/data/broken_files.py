"""How files that cannot be read are reported: the first of them in the error, all of them in the log."""

from __future__ import annotations

from collections.abc import Sequence

from nas.runtime.console import log
from search_spaces.errors import DataError

#: Broken files that an error names.
NAMED_FILES = 10


def broken_files_error(broken: Sequence[tuple[str, str]]) -> DataError:
    """Return the error that names the first of some files that cannot be read; the others go to the log."""
    for path, reason in broken:
        log.note(f"cannot be decoded: {path} ({reason})")
    if len(broken) == 1:
        return DataError(
            f"{broken[0][0]} cannot be decoded ({broken[0][1]}); remove or replace it, or add --skip-broken"
        )
    named = ", ".join(f"{path} ({reason})" for path, reason in broken[:NAMED_FILES])
    more = f", and {len(broken) - NAMED_FILES} more" if len(broken) > NAMED_FILES else ""
    return DataError(
        f"{len(broken)} images cannot be decoded: {named}{more}; remove or replace them, or add --skip-broken "
        "(nas data SPEC lists all)"
    )
