"""Calling a function in a process of its own, which leaves nothing behind in this one: no memory, no hold on a GPU."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nas.runtime.error_text import last_line
from search_spaces.errors import WorkError

Result = TypeVar("Result")


def call_in_own_process(function: Callable[[], Result], seconds: float | None = None) -> Result:
    """Return what ``function`` returns in a new process.

    Args:
        function: Something to pickle, as a function of a module or a `functools.partial` of one is.
        seconds: After which the process is ended, or None.

    Raises:
        WorkError: If it fails or takes longer; the sentence says why and not what was called.
    """
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        answer = Path(folder, "answer")
        try:
            process = subprocess.run(
                [sys.executable, "-m", "nas.runtime.own_process", str(answer)],
                input=pickle.dumps(function),
                capture_output=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise WorkError(f"it took longer than {seconds:g} s") from None
        if process.returncode:
            message = process.stderr.decode(errors="replace")
            raise WorkError(
                last_line(RuntimeError(message or f"its process ended with {process.returncode}"))
            )
        result: Result = pickle.loads(answer.read_bytes())
        return result


def main() -> None:
    """Call what stdin holds and write the answer to the file that is the first argument."""
    function = pickle.load(sys.stdin.buffer)
    Path(sys.argv[1]).write_bytes(pickle.dumps(function()))


if __name__ == "__main__":
    main()
