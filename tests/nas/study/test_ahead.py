"""How far ahead a study proposes: by its workers, by what the user says, by what it began with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.study.settings import Settings, choose_ahead
from search_spaces.errors import RequestError

PLAIN = Settings(space="twins_cswin")


@pytest.mark.parametrize(("workers", "ahead"), [(1, 0), (4, 0), (5, 1), (10, 1), (11, 2), (64, 6), (256, 24)])
def test_three_times_as_many_designs_are_under_way_as_there_are_workers(workers: int, ahead: int) -> None:
    assert choose_ahead(PLAIN, (), workers, None) == replace(PLAIN, ahead=ahead)


def test_a_user_and_a_study_that_has_begun_choose_before() -> None:
    assert choose_ahead(PLAIN, ("ahead",), 64, None) == PLAIN
    begun = replace(PLAIN, ahead=2)
    assert choose_ahead(PLAIN, (), 64, begun) == begun
    assert choose_ahead(replace(PLAIN, ahead=7), ("ahead",), 64, begun).ahead == 7


def test_tpe_waits_for_what_it_learns_from() -> None:
    tpe = replace(PLAIN, sampler="tpe")
    assert choose_ahead(tpe, (), 64, None) == tpe
    with pytest.raises(RequestError, match="--ahead 0"):
        replace(tpe, ahead=1)
