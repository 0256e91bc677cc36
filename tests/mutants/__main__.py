"""Put each known fault into a copy of the code and see that a test notices: ``make mutants``.

Prints a line for each fault: the test that fails with it, or that none did. Ends with 1 if a fault survives, or if a
test that noticed one fails without any fault too. Arguments are words that the names of the faults to try hold.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.copied_code import CopiedCode
from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parents[2]


def try_faults(faults: list[Fault], code: CopiedCode) -> tuple[int, set[str]]:
    """Try faults one after the other, each by itself.

    Args:
        faults: What to plant.
        code: A copy of the code.

    Returns:
        How many survived, and the tests that noticed the others.
    """
    survivors, noticed = 0, set[str]()
    for fault in faults:
        started = time.monotonic()
        with code.changed_by(fault):
            failing = code.find_failing_test(fault.tests)
        survivors += failing is None
        if failing is not None:
            noticed.add(failing)
        print(f"{fault.name}: {failing or 'SURVIVED'} ({time.monotonic() - started:.0f} s)", flush=True)
    return survivors, noticed


def main() -> int:
    """Try all faults, or those whose names hold the words given; return the exit status."""
    chosen = [fault for fault in FAULTS if all(word in fault.name for word in sys.argv[1:])]
    if not chosen:
        sys.exit(f"no fault's name holds {' and '.join(sys.argv[1:])}")
    with tempfile.TemporaryDirectory() as folder:
        code = CopiedCode(ROOT, Path(folder))
        survivors, noticed = try_faults(chosen, code)
        if noticed and (failing := code.find_failing_test(tuple(sorted(noticed)))) is not None:
            sys.exit(f"{failing} fails without any fault too; mend it first")
    print(f"{len(chosen) - survivors} of {len(chosen)} faults are caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
