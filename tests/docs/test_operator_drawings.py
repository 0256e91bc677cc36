"""Every operator is drawn, and a drawing shows the positions that its operator looks at."""

from __future__ import annotations

import re

import pytest

from search_spaces.operators import operator_names
from tests.docs.documents import ROOT, read
from tests.docs.operator_drawings import EXAMPLES, FOLDER, QUERY, SIDE, measure_influence

ROW, COLUMN = QUERY
#: By hand: whether the position ``(row, column)`` takes part, for the query at row 5 and column 6 of 14 x 14.
PATTERNS = {
    "lsa": lambda row, column: row < 7 and column < 7,
    "gsa": lambda row, column: True,
    "cswin": lambda row, column: row // 2 == ROW // 2 or column // 2 == COLUMN // 2,
    "dwconv": lambda row, column: abs(row - ROW) <= 2 and abs(column - COLUMN) <= 2,
    "refiner": lambda row, column: True,
    "swin": lambda row, column: 3 <= row < 10 and 3 <= column < 10,
    "outlook": lambda row, column: abs(row - ROW) <= 2 and abs(column - COLUMN) <= 2,
    "linear": lambda row, column: True,
    "pool": lambda row, column: abs(row - ROW) <= 1 and abs(column - COLUMN) <= 1,
}


def drawn(name: str) -> list[list[float]]:
    """Return the opacity of every position in a drawing, 0 where it is empty."""
    squares = re.findall(
        r'<rect x="\d+" y="\d+" [^>]*?(?:fill-opacity="([\d.]+)"|fill="none")/>',
        (FOLDER / f"{name}.svg").read_text(),
    )
    values = [float(value or 0) for value in squares]
    assert len(values) == SIDE * SIDE
    return [values[row * SIDE : (row + 1) * SIDE] for row in range(SIDE)]


def test_every_operator_of_the_project_is_drawn_and_shown() -> None:
    own = {path.stem for path in (ROOT / "search_spaces" / "operators").glob("[a-z]*.py")}
    assert set(EXAMPLES) == own == set(PATTERNS) and own <= set(operator_names())
    page = read("docs/reference/operators.md")
    for name in EXAMPLES:
        assert f"(../images/operators/{name}.svg)" in page


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_drawing_shows_where_its_operator_looks(name: str) -> None:
    influence, picture = measure_influence(EXAMPLES[name]), drawn(name)
    for row in range(SIDE):
        for column in range(SIDE):
            looks = PATTERNS[name](row, column)
            assert (float(influence[row, column]) > 0) == looks == (picture[row][column] > 0), (row, column)
