"""Small studies whose accuracies are made up from digests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

from nas.runtime.files import write_json
from nas.search.analytic import AnalyticScores
from nas.search.loop import Search, SearchConfig, pareto_records
from nas.search.trial_store import TrialRecord
from nas.study.dataset_info import DatasetInfo
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.skeleton import Style
from search_spaces.walk import Part

SPACE = """
name: small
blocks:
  mlp_ratio: [1, 2]
  operators:
    dwconv: {kernel_size: [3], dynamic: [none], pos: [none, cpe]}
    lsa: {window_size: [2], pos: [none, rpe]}
scales:
  only:
    images: 8
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
      - {dim: 16, num_heads: 2, depth: [1], downsample: conv2x2}
"""


def evaluate(
    designs: list[Architecture], required_top1: list[float], more: object = None
) -> Iterator[dict[int, dict[str, float]]]:
    for index, design in enumerate(designs):
        luck = int(design.digest[:4], 16) / 16**4
        hits = round(450 + 25 * luck)
        # All are right on the first 440 of 500 images, and each on others of the rest.
        right = [*range(440), *Random(design.digest).sample(range(440, 500), hits - 440)]
        correct = sum(1 << (499 - image) for image in right)
        scores = {"top1": hits / 5, "top5": 99.0, "loss": 0.4 - 0.1 * luck, "seconds": 0.5}
        yield {index: {**scores, "images": 500, "correct": correct}}


class MadeUpLatencies:
    """Latencies made up from digests of designs."""

    def latency_ms(self, architecture: Architecture) -> float:
        return 1 + int(architecture.digest[4:6], 16) / 256

    def part_ms(self, part: Part, style: Style) -> float:
        return 0.0  # those of designs do not add up over parts


def make_study(
    folder: Path,
    trials: int,
    objectives: str = "top1,macs",
    max_macs: str | None = None,
    starts: tuple[str, ...] = (),
    batch: int = 8,
) -> Study:
    study = Study(folder)
    settings = Settings(space="small", objectives=objectives, max_macs=max_macs, batch=batch)
    dataset = DatasetInfo("<b>mnist5k", "0" * 64, 8, 1, ("a", "b"), (0.1,), (0.3,))
    declaration = parse_declaration(SPACE, "space.yaml")
    study.create(settings, dataset, declaration, study.default_url, ["nas", "search"])
    space, goal = study.space(), study.goal()
    analogues = [(name, space.largest) for name in starts]
    plan = SearchConfig(goal, "random", batch_size=batch, trials=trials)
    rows = Search(
        space, study.open_store(), plan, evaluate, AnalyticScores(MadeUpLatencies()), analogues
    ).run(lambda row, count: None)
    if len(rows) >= trials > 4:
        study.write_front(rows, goal, pareto_records(rows, goal), 0)
    return study


def unseen_trials(study: Study, count: int, batch: int) -> list[TrialRecord]:
    """Return trials like the study's first, of designs that it has none of; a design is stored once."""
    records, rng = study.records(), Random(batch)
    space, seen = study.space(), {record.architecture.digest for record in records}
    found: list[TrialRecord] = []
    while len(found) < count:
        design = space.sample(rng)
        if design.digest not in seen:
            seen.add(design.digest)
            place = {"batch": batch, "index_in_batch": len(found)}
            params = space.values(design)
            found.append(replace(records[0], **place, params=params, architecture=design, repeat=False))
    return found


def write_result(
    study: Study, design: Architecture, mode: str, val_top1: float, test_top1: float, **further: object
) -> None:
    """Write the ``result.json`` of a retraining that was never run."""
    content = {
        "digest": design.digest,
        "mode": mode,
        "architecture": design.to_json(),
        "macs": int(AnalyticScores()(design)["macs"]),
        "val_top1": val_top1,
        "test_top1": test_top1,
        "test_images": 1000,
        "weights": "model.safetensors",
        "recipe": asdict(study.settings().retraining),
        **further,
    }
    write_json(study.retraining_folder(design.digest, mode) / "result.json", content)
