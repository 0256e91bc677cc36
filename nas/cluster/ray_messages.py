"""Where Ray's own messages go: to the log, and not to the standard output of this process.

Ray prints pages about each worker and node that dies to the standard output, into the JSON that a command prints there,
whatever it was told of logs. Contains a private name of Ray: the function it prints them with.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from nas.runtime.console import log


def keep_from_stdout(ray: ModuleType) -> None:
    """Send what Ray says about its processes to the log, from now on."""
    worker = ray._private.worker
    if hasattr(worker, "print_to_stdstream"):  # a later version may say it in another way
        worker.print_to_stdstream = _note


def _note(data: Mapping[str, Any], **options: Any) -> None:
    log.note(f"({data.get('pid', 'Ray')}) " + "\n".join(map(str, data.get("lines", ()))))
