"""What a file may declare is limited, the limit is said, and who means it sets it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.errors import ArchitectureError, RequestError, SpaceError
from search_spaces.limits import DEPTH, LIMITS
from tests.helpers.command_line import TINY_SPACE

DESIGN = {
    "format": 1, "image_size": [8, 8], "in_channels": 3, "num_classes": 2, "stem": "conv3x3_s2", "style": {},
    "stages": [{"dim": 8, "num_heads": 2, "blocks": [
        {"operator": "lsa", "window_size": 2, "pos": "none", "mlp_ratio": 2.0}
    ]}],
}  # fmt: skip


def numbers(count: int) -> str:
    return ", ".join(map(str, range(1, count + 1)))


def aliases(depth: int) -> str:
    """Each line is nine times the one before: 764 bytes write out 9^25 values."""
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (aliases(25), "values of a YAML file, those that aliases repeat included may be 1,000,000 at most"),
        ("#" * 1_000_001, "bytes of a YAML file may be 1,000,000 at most, not 1,000,001; set NAS_LIMIT_YAML_BYTES"),
        (TINY_SPACE.replace("depth: [1, 2]", f"depth: [{numbers(10_000)}]"), "options of a choice may be 1,000"),
        (TINY_SPACE.replace("depth: [1, 2]", "depth: [1000000000]"), "depth is too large: blocks of a stage may be"),
        (TINY_SPACE.replace("dim: 8", "dim: 8000000000"), "channels, heads or classes of a network may be 100,000"),
        (TINY_SPACE.replace("images: [16, 32]", "images: [16, 80000000]"), "pixels of a side of a network's images"),
        ("[" * 50_000, "nested too deeply"),
        (f"name: {'9' * 5000}", "Exceeds the limit"),
    ],
)  # fmt: skip
def test_a_declaration_that_asks_for_too_much_is_refused_at_once(text: str, says: str) -> None:
    started = time.process_time()
    with pytest.raises(SpaceError, match=r"^x\.yaml: ") as caught:
        parse_declaration(text, "x.yaml")
    assert says in str(caught.value), caught.value
    assert time.process_time() - started < 10  # seconds; without a limit some run for ever


def test_a_limit_is_set_by_whoever_means_it(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = TINY_SPACE.replace("depth: [1, 2]", "depth: [1001]")
    assert deep != TINY_SPACE
    with pytest.raises(SpaceError, match="not 1,001; set NAS_LIMIT_DEPTH if you mean it"):
        parse_declaration(deep, "x.yaml")
    monkeypatch.setenv("NAS_LIMIT_DEPTH", "1001")
    assert parse_declaration(deep, "x.yaml").name
    monkeypatch.setenv("NAS_LIMIT_DEPTH", "many")
    with pytest.raises(RequestError, match="NAS_LIMIT_DEPTH=many is not a positive integer"):
        parse_declaration(deep, "x.yaml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": [8, 10**9]}, "'image_size' is too large: pixels of a side"),
        ({"num_classes": 10**9}, "'num_classes' is too large"),
        ({"stages": [{"dim": 2**40, "num_heads": 2, "blocks": []}]}, "'dim' is too large"),
        ({"stages": [{"dim": 8, "num_heads": 2, "blocks": [{}] * 1001}]}, "'blocks' is too large: blocks of a stage"),
        ({"stages": [{}] * 101}, "'stages' is too large"),
    ],
)  # fmt: skip
def test_a_design_that_asks_for_too_much_is_refused(change: dict[str, Any], says: str) -> None:
    assert Architecture.from_json(DESIGN).num_classes == 2
    with pytest.raises(ArchitectureError, match=says):
        Architecture.from_json({**DESIGN, **change})


def test_limits_are_told_apart_and_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(NAS_LIMIT_\w+)` \| ([\d,]+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(limit.variable, f"{limit.default:,}", limit.what) for limit in LIMITS]
    assert len({limit.variable for limit in LIMITS}) == len(LIMITS)
    assert DEPTH.refusal(DEPTH.default) is None


def test_what_a_file_says_can_neither_break_a_sentence_nor_command_a_terminal() -> None:
    block = {"operator": "\x1b[2J\nls\ud800a", "pos": "none", "mlp_ratio": 2.0}
    stages = [{"dim": 8, "num_heads": 2, "blocks": [block]}]
    with pytest.raises(ArchitectureError, match=r"unknown operator '\\x1b\[2J ls\\ud800a'") as caught:
        Architecture.from_json({**DESIGN, "stages": stages})
    assert str(caught.value).isprintable()
