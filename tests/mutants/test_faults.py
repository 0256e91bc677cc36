"""The known faults can still be planted; ``make mutants`` sees that each is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_line_is_there_and_so_are_its_tests(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.right) == 1 and fault.wrong != fault.right
    assert fault.tests
    for test in fault.tests:
        file, _, function = test.partition("::")
        assert (ROOT / file).exists()
        assert not function or f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")
