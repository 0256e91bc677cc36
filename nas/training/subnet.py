"""Training chosen designs by themselves: from scratch and from the supernet's weights, side by side."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.cluster.budget import WorkerAllocation
from nas.cluster.trials import run_trials
from nas.data.batching import SHARD_IMAGES, batch_sizes
from nas.data.dataset import Data
from nas.evaluation.accuracy import accuracy, evaluation_batch_size
from nas.runtime import interrupt
from nas.runtime.console import bar, log
from nas.runtime.device import autocast
from nas.runtime.files import load_tensors, save_tensors, write_json
from nas.runtime.provenance import provenance
from nas.runtime.uncertainty import Accuracy, encode_bits, error_fields, format_accuracy
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.training.augmentation import recipe_augmentation
from nas.training.compiled import eager_on_short_batches
from nas.training.loop import ForwardBackward, Training
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from supernet.block import Network
from supernet.compile_blocks import compile_blocks
from supernet.subnet import build_subnet

MODES = ("scratch", "inherit")


@dataclass(frozen=True)
class Candidate:
    """A design to retrain.

    Args:
        design: The design, and where it is from.
        modes: Which of `MODES` it is trained in.
    """

    design: Design
    modes: tuple[str, ...] = MODES

    @property
    def architecture(self) -> Architecture:
        """The design itself."""
        return self.design.architecture


@dataclass(frozen=True)
class RetrainingJob:
    """One design to train.

    Args:
        design: The design, and where it is from.
        mode: ``scratch``, or ``inherit`` to start from the supernet's weights.
        folder: Where its checkpoint and its result go.
        recipe: How to train it.
        images: Digest of the images.
        weights: Digest of the weights that it starts from, where it inherits some.
        compile: Whether its blocks are compiled.
    """

    design: Design
    mode: str
    folder: Path
    recipe: Recipe
    images: str
    weights: str | None = None
    compile: bool = False

    @property
    def architecture(self) -> Architecture:
        """The design itself."""
        return self.design.architecture

    @property
    def made_from(self) -> dict[str, str | None]:
        """What its result depends on beside design, mode and recipe."""
        return {"images": self.images, "weights": self.weights}

    @property
    def result_file(self) -> Path:
        """The file whose presence says that the job is finished."""
        return self.folder / "result.json"


def retrain(
    study: Study,
    candidates: Sequence[Candidate],
    recipe: Recipe,
    data: Data,
    inherited: Mapping[str, Mapping[str, Tensor]],
    allocation: WorkerAllocation,
    compile: bool = False,
) -> list[dict[str, Any]]:
    """Train designs and return their results, best validation accuracy first.

    Finished ones are taken from the study; a design that was interrupted goes on where it stopped.

    Args:
        study: Where results are kept.
        candidates: What to train.
        recipe: How to train.
        data: Images; the test split is read once, by the last evaluation of each network.
        inherited: Weights from the supernet by digest, of every design that inherits.
        allocation: What each training gets.
        compile: Whether blocks are compiled.
    """
    images = study.images_digest(data)
    # Tune's trials run in folders of their own, where a relative path would mean another file.
    jobs = [
        RetrainingJob(
            each.design,
            mode,
            study.retraining_folder(each.architecture.digest, mode).absolute(),
            recipe,
            images,
            digest_weights(inherited[each.architecture.digest]) if mode == "inherit" else None,
            compile,
        )
        for each in candidates
        for mode in each.modes
    ]
    waiting = [job for job in jobs if not _is_finished(job)]
    if waiting:
        weights = {
            digest: {name: weight.numpy() for name, weight in state.items()}
            for digest, state in inherited.items()
        }
        tune_folder = study.folder.absolute() / "retrained" / ".tune"
        shutil.rmtree(tune_folder, ignore_errors=True)  # Tune's own records; the jobs resume themselves
        with bar("retraining", len(waiting) * recipe.epochs) as progress:
            epochs: dict[str, int] = {}

            def on_result(result: Mapping[str, Any]) -> None:
                epochs[result["name"]] = result["epoch"]
                info = f"{result['name']} {format_accuracy(result['top1'], len(data.val))} val"
                progress.update(sum(epochs.values()), info)

            run_trials(
                train_one,
                waiting,
                {"data": data, "inherited": weights},
                allocation,
                str(tune_folder),
                on_result,
            )
        shutil.rmtree(tune_folder, ignore_errors=True)
    results = [study.read_result(job.result_file) for job in jobs]
    for result in results:
        log.say(
            f"retrained {result['digest']} ({result['mode']}): {Accuracy.from_result(result, 'val')} validation, "
            f"{Accuracy.from_result(result, 'test')} test top-1"
        )
    return sorted(results, key=lambda result: -result["val_top1"])


def _is_finished(job: RetrainingJob) -> bool:
    """Return whether a job's result is there, of the same recipe, images and inherited weights."""
    if not job.result_file.exists():
        return False
    result = Study.read_result(job.result_file)
    # Results of earlier versions do not say more; a study has one set of images and one supernet.
    made_from = result.get("made_from", job.made_from)
    return bool(result["recipe"] == asdict(job.recipe) and made_from == job.made_from)


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a network's weights by name and content."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def train_one(
    job: RetrainingJob,
    payload: Mapping[str, Any],
    device: torch.device,
    on_result: Callable[[dict[str, Any]], None],
) -> None:
    """Train one design, from where it stopped if it was begun; runs in a worker.

    Args:
        job: What to train.
        payload: ``data``, and by digest the weights that designs inherit.
        device: Where to train.
        on_result: Called with the validation accuracy after each epoch.
    """
    if _is_finished(job):
        return
    data: Data = payload["data"]
    recipe, design = job.recipe, job.architecture
    size = design.image_size
    torch.manual_seed(recipe.seed)
    network = build_subnet(design, recipe.drop_path)
    if job.mode == "inherit":
        weights = payload["inherited"][design.digest]
        network.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    network.to(device)
    steps_per_epoch = len(batch_sizes(len(data.train), recipe.batch_size, SHARD_IMAGES))
    former = f"{design.digest}/{job.mode}"
    identity = f"{former}/{job.images}/{job.weights}"
    training = Training(
        network, recipe, steps_per_epoch, job.folder / "checkpoint.safetensors", identity, [former]
    )

    def forward_backward(step: int, images: Tensor, labels: Tensor) -> Tensor:
        with autocast(device):
            loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        return loss.detach()

    run_step: ForwardBackward = forward_backward
    if job.compile:
        compile_blocks(network)
        run_step = eager_on_short_batches(forward_backward, recipe.batch_size)

    augmentation = recipe_augmentation(recipe, data)

    def epoch_batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(
            recipe.batch_size,
            device=device,
            shuffle_seed=recipe.seed,
            epoch=epoch,
            augment=augmentation,
            least=SHARD_IMAGES,
            start=first,
        )

    def report_epoch() -> None:
        scores = accuracy(
            training.averaged_network, data.val.batches(evaluation_batch_size(size), device=device)
        )
        on_result(
            {
                "name": f"{design.digest}/{job.mode}",
                "epoch": training.step // steps_per_epoch,
                "top1": scores["top1"],
            }
        )
        interrupt.check()

    if (
        training.step == training.total_steps
    ):  # stopped after its last step; Tune wants a report of every trial
        report_epoch()
    while training.step < training.total_steps:
        until = (training.step // steps_per_epoch + 1) * steps_per_epoch
        training.run(run_step, epoch_batches, until=until)
        report_epoch()
    _write_result(job, training.averaged_network, data, device)


def _write_result(job: RetrainingJob, network: nn.Module, data: Data, device: torch.device) -> None:
    """Evaluate a trained network, write its weights and result, and remove its checkpoint."""
    size = job.architecture.image_size
    validation = accuracy(network, data.val.batches(evaluation_batch_size(size), device=device))
    # Nowhere else does a network see a test image.
    test = accuracy(network, data.final_test().batches(evaluation_batch_size(size), device=device))
    test_images = len(data.final_test())
    weights = job.folder / "model.safetensors"
    save_tensors(weights, network.state_dict(), {"digest": job.architecture.digest})
    analytic = costs(job.architecture)
    write_json(
        job.result_file,
        {
            "digest": job.architecture.digest,
            "design": str(job.architecture),
            "mode": job.mode,
            "origin": job.design.origin,
            "published": job.design.published,
            "architecture": job.architecture.to_json(),
            "macs": analytic.macs,
            "params": analytic.params,
            "val_top1": validation["top1"],
            **error_fields("val_top1", validation["top1"], len(data.val)),
            "val_images": len(data.val),
            "test_top1": test["top1"],
            **error_fields("test_top1", test["top1"], test_images),
            "test_top5": test["top5"],
            **error_fields("test_top5", test["top5"], test_images),
            "test_images": test_images,
            "test_correct": encode_bits(int(test["correct"]), test_images),
            "weights": str(weights.name),
            "recipe": asdict(job.recipe),
            "made_from": job.made_from,
            "provenance": provenance(job.recipe.seed, []),
        },
    )
    (job.folder / "checkpoint.safetensors").unlink(missing_ok=True)


def trained_network(study: Study, result: Mapping[str, Any]) -> Network:
    """Return the network that a result of `retrain` describes, with its trained weights."""
    design = Architecture.from_json(result["architecture"])
    network = build_subnet(design)
    weights, _ = load_tensors(study.retraining_folder(design.digest, result["mode"]) / result["weights"])
    network.load_state_dict(weights)
    return network.eval()
