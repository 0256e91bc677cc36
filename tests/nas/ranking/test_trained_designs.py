"""The table of designs trained alone: it grows, is read back, and refuses what it is not about."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest

from nas.ranking.stratified import sample_evenly
from nas.ranking.trained_designs import TrainingRun, TrainingTable
from search_spaces.cost import costs
from search_spaces.declaration import parse_declaration
from search_spaces.errors import StudyError
from tests.helpers.searches import small_space

ABOUT = {"images": "abc", "epochs": 2, "recipe": {"lr": 0.1}}


def run_of(digest: str, seed: int, value: float, epochs: int = 2) -> TrainingRun:
    """Return a training."""
    return TrainingRun(digest, seed, epochs, value, value - 1, (value / 2, value), 3.5)


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    table = TrainingTable(tmp_path / "table.json", ABOUT)
    first, second = (small_space().sample(Random(seed)) for seed in (1, 2))
    table.add_designs([("smallest", first), ("sampled", second), ("again", first)])
    for run in (
        run_of(first.digest, 0, 40),
        run_of(first.digest, 1, 44),
        run_of(second.digest, 0, 50, epochs=4),
    ):
        table.add_run(run)
    read = TrainingTable(tmp_path / "table.json")
    assert (read.about, read.designs, read.runs) == (table.about, table.designs, table.runs)
    (design,) = read.trained(2)
    assert (design.architecture, design.origin, design.val_top1) == (first, "smallest", 42)
    assert [run.seed for run in design.runs] == [0, 1]
    assert read.trained(2, seeds=[1, 2]) == []
    assert [each.architecture for each in read.trained(4)] == [second]


def test_latencies_stay_with_their_designs(tmp_path: Path) -> None:
    table = TrainingTable(tmp_path / "table.json", ABOUT)
    first, second = (small_space().sample(Random(seed)) for seed in (1, 2))
    table.add_designs([("smallest", first), ("sampled", second)])
    table.latencies[second.digest] = 1.25
    for each in (first, second):
        table.add_run(run_of(each.digest, 0, 40))
    read = TrainingTable(tmp_path / "table.json")
    assert [each.latency_ms for each in read.trained(2)] == [None, 1.25]
    # A table that was begun before takes over what another process has measured.
    other = TrainingTable(tmp_path / "other.json", ABOUT)
    other.file = read.file
    other.refresh()
    assert other.latencies == {second.digest: 1.25}


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    TrainingTable(tmp_path / "table.json", ABOUT).write()
    with pytest.raises(StudyError, match=r"other epochs; move it away"):
        TrainingTable(tmp_path / "table.json", {**ABOUT, "epochs": 3})


@pytest.mark.parametrize(
    "text", ["", "{}", '{"about": {}, "designs": [], "runs": [], "provenance": []}', "[" * 10_000]
)
def test_a_damaged_table_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(StudyError, match=r"table\.json"):
        TrainingTable(tmp_path / "table.json")


def test_a_table_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        TrainingTable(tmp_path / "table.json")
    assert str(caught.value) == f"cannot read {tmp_path}/table.json: No such file or directory"


def test_designs_that_all_cost_the_same_are_drawn_too() -> None:
    text = """
    name: even
    blocks: {mlp_ratio: 1, operators: {dwconv: {kernel_size: 3, dynamic: none}}}
    scales: {one: {images: 16, stem: patch4x4, stages: [{dim: 8, num_heads: NUM, depth: 1}]}}
    """
    for heads, count in (("2", 1), ("[1, 2, 4]", 3)):
        space = parse_declaration(text.replace("NUM", heads), "even").space("one", 16, 3, 3)
        drawn = {design.digest for _, design in sample_evenly(space, Random(0), 3)}
        assert len(drawn) == count


def test_designs_are_drawn_evenly_over_macs_in_every_beginning() -> None:
    space = small_space()
    least, most = costs(space.smallest).macs, costs(space.largest).macs
    drawn = [design for _, design in sample_evenly(space, Random(0), 16, bins=4)]
    assert len({design.digest for design in drawn}) == 16
    for designs in (drawn, drawn[:8]):
        parts = [min(3, int(4 * math.log(costs(d).macs / least) / math.log(most / least))) for d in designs]
        assert sorted(parts) == sorted(list(range(4)) * (len(designs) // 4))


def test_a_time_without_end_is_damage(tmp_path: Path) -> None:
    table = TrainingTable(tmp_path / "table.json", ABOUT)
    table.add_run(run_of("a" * 12, 0, 40))
    text = (tmp_path / "table.json").read_text()
    (tmp_path / "table.json").write_text(text.replace('"seconds": 3.5', '"seconds": 1e999'))
    with pytest.raises(StudyError, match=r"'runs\.0\.seconds'"):
        TrainingTable(tmp_path / "table.json")


def test_what_another_run_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    first, second = (small_space().sample(Random(seed)) for seed in (1, 2))
    ours, others = (TrainingTable(tmp_path / "table.json", ABOUT) for _ in range(2))
    ours.add_designs([("sampled", first)])
    others.add_designs([("sampled", second)])
    others.provenance.append({"seed": 7})
    others.add_run(run_of(second.digest, 0, 50))
    ours.refresh()
    ours.add_run(run_of(first.digest, 0, 40))
    read = TrainingTable(tmp_path / "table.json")
    assert set(read.designs) == {first.digest, second.digest}
    assert sorted(run.val_top1 for run in read.runs.values()) == [40, 50]
    assert read.provenance == [{"seed": 7}]
