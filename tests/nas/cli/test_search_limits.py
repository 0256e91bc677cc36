"""Limits that no design keeps are refused in the plan; small spaces say that they are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.cost import costs
from search_spaces.space import Space
from tests.helpers.command_line import Nas, tree


@pytest.fixture
def search(nas: Nas, images: Path, space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nas:
    monkeypatch.chdir(tmp_path)

    def run(*more: object):  # type: ignore[no-untyped-def]
        return nas("search", "--space", space_file, "--data", f"folder:{images}", "--budget", "1cpu", *more)

    return run


@pytest.mark.parametrize("flags", [("--dry-run",), ()])
def test_one_below_the_smallest_is_refused_and_nothing_written(
    flags: tuple[str, ...], search: Nas, space: Space, tmp_path: Path
) -> None:
    least, before = costs(space.smallest).macs, tree(tmp_path)
    outcome = search("--max-macs", least - 1, "--study", "./s", *flags)
    assert outcome.code == 2 and tree(tmp_path) == before
    assert f"the smallest has macs {least} ({space.smallest.digest}" in outcome.err


def test_the_value_that_a_refusal_names_is_possible(search: Nas, space: Space) -> None:
    least = costs(space.smallest).macs
    outcome = search("--max-macs", least, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "the only design within the limits" in outcome.err
    outcome = search("--max-macs", int(least * 1.3), "--dry-run")
    assert outcome.code == 0 and "designs, each once, within the limits" in outcome.err
    assert "256 designs by screened" in search("--max-macs", "1G", "--dry-run").err
