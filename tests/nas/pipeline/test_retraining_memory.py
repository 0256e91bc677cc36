"""Memory of designs that are about to be retrained: by hand, in one sentence, and before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.pipeline import memory, retraining_memory
from nas.pipeline.retraining_memory import require_memory
from nas.runtime.resources import GIB, MIB, Amount
from nas.study.recipe import Recipe
from nas.training.footprint import PathMemory
from nas.training.saved_memory import SavedBytes
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder, tree
from tests.helpers.designs import DEEP, FLAT

HERE, CLUSTER = Cluster(8, 2, "this machine", running=False), Cluster(8, 0, "the cluster", running=True)
TWO_GPUS, TWO_CORES = WorkerAllocation(2, 4.0, 1.0, "cuda"), WorkerAllocation(2, 1.0, 0.0, "cpu")


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLAT saves 1/8 GiB for each image and DEEP 1/4, on a GPU of 6 GiB or on a CPU."""

    def measure(designs: Sequence[Architecture], device: str) -> list[PathMemory]:
        per_image = {FLAT: GIB / 8, DEEP: GIB / 4}
        known = ("a small GPU", 6 * GIB) if device == "cuda" else (None, None)
        return [
            PathMemory(design, SavedBytes(0, per_image[design]), device, "float32", *known)
            for design in designs
        ]

    monkeypatch.setattr(retraining_memory, "measure_designs", measure)


@pytest.mark.usefixtures("saving")
def test_each_design_counts_for_itself() -> None:
    # 32 images: 1 GiB of the process, 1.1 times 4 or 8 GiB, and next to nothing for these designs' weights.
    require_memory([FLAT, FLAT], Recipe(batch_size=32), 1000, TWO_GPUS, HERE)
    with pytest.raises(
        RequestError,
        match=rf"training {DEEP.digest} on 32 images at a time takes 9\.8 GiB and a small GPU has 6\.0 ",
    ):
        require_memory([FLAT, DEEP], Recipe(batch_size=32), 1000, TWO_GPUS, HERE)
    require_memory([FLAT, DEEP], Recipe(batch_size=32, shards=2), 1000, TWO_GPUS, HERE)  # 16 images, 5.4 GiB
    require_memory([FLAT, DEEP], Recipe(batch_size=32), 16, TWO_GPUS, HERE)  # no more than 16 there are


@pytest.mark.usefixtures("saving")
def test_trainings_at_the_same_time_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a CPU 1 GiB of the process, twice: the driver has one too. 1.1 * 16 / 8 = 2.2 GiB for each training.
    monkeypatch.setattr(memory, "measure_memory", lambda: Amount(round(4.3 * GIB), 0))
    require_memory([FLAT], Recipe(batch_size=16), 1000, TWO_CORES, HERE)
    with pytest.raises(RequestError, match=r"takes 3\.2 GiB and a worker has 1\.6 GiB; give a --recipe FILE"):
        require_memory([FLAT, FLAT], Recipe(batch_size=16), 1000, TWO_CORES, HERE)
    require_memory(
        [FLAT, FLAT], Recipe(batch_size=16), 1000, TWO_CORES, CLUSTER
    )  # nobody knows what that has


def test_a_retraining_is_refused_before_anything_is_written(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    search = "search --space tiny.yaml --data folder:images --objective macs --budget 1cpu,4trials --study s"
    assert nas(*search.split()).code == 0
    before = tree(tmp_path / "s")
    monkeypatch.setattr(memory, "measure_memory", lambda: Amount(GIB + 100 * MIB, GIB))
    refused = nas("retrain", "s", "--budget", "1cpu", "--epochs", "1")
    assert refused.code == 2 and "a worker has 100 MiB; give a --recipe FILE of a smaller" in refused.err
    assert tree(tmp_path / "s") == before
