"""Long work that the user may interrupt and resume."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence

from nas.runtime.interrupt import Interrupted, graceful
from nas.runtime.secrets import redact_command


@contextlib.contextmanager
def resumable(command: Sequence[str]) -> Iterator[None]:
    """Save what is done where the user interrupts the block, and name the command that resumes it.

    Raises:
        Interrupted: If the user did.
    """
    try:
        with graceful():
            yield
    except Interrupted:
        raise Interrupted(
            f"interrupted; everything done is saved, resume with: {shlex.join(redact_command(command))}"
        ) from None
