"""Put each known fault into a copy of the code and see that a test notices: ``make mutants``.

Prints a line for each fault: the test that fails with it, or that none did. Ends with 1 if a fault survives.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parents[2]
TIMEOUT = 600


def copy_code(folder: Path) -> None:
    """Copy all files that git knows into a folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())


def plant(fault: Fault, folder: Path) -> str:
    """Write a fault into the copied code; return the text that was there.

    Raises:
        SystemExit: If the line that the fault is about is no longer there once.
    """
    path = folder / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.right) != 1:
        sys.exit(
            f"{fault.file} holds {fault.right!r} {text.count(fault.right)} times; mend tests/mutants/faults.py"
        )
    path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
    return text


def find_failing_test(tests: tuple[str, ...], folder: Path) -> str | None:
    """Return the first test that fails on the copied code, or None where all pass."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if failed is None:
        sys.exit(f"pytest did not run:\n{done.stdout}\n{done.stderr}")
    return failed[1]


def main() -> int:
    """Try all faults, or those whose names hold the text given; return the exit status."""
    chosen = [fault for fault in FAULTS if all(word in fault.name for word in sys.argv[1:])]
    survivors = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_code(folder)
        every = tuple(dict.fromkeys(test for fault in chosen for test in fault.tests))
        if (failing := find_failing_test(every, folder)) is not None:
            sys.exit(f"{failing} fails without any fault; mend it first")
        for fault in chosen:
            started, right = time.monotonic(), plant(fault, folder)
            caught = find_failing_test(fault.tests, folder)
            (folder / fault.file).write_text(right, encoding="utf-8")
            survivors += caught is None
            print(f"{fault.name}: {caught or 'SURVIVED'} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} faults are caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
