"""Long work that the user may interrupt and resume."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence

from nas.runtime.interrupt import Interrupted, graceful
from nas.runtime.secrets import redact_command


@contextlib.contextmanager
def resumable(command: Sequence[str], how: str | None = None) -> Iterator[None]:
    """Save what is done where the user interrupts the block, and say how to resume it.

    Args:
        command: The command line that resumes it.
        how: What to say instead, where no command line does.

    Raises:
        Interrupted: If the user did.
    """
    try:
        with graceful():
            yield
    except Interrupted:
        how = how or f"resume with: {shlex.join(redact_command(command))}"
        raise Interrupted(f"interrupted; everything done is saved, {how}") from None
