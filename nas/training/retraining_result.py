"""What a retraining leaves: weights, accuracies and where they came from; and the network read back from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from nas.data.dataset import Data
from nas.evaluation.accuracy import accuracy, evaluation_batch_size
from nas.evaluation.own_scores import OwnScoring
from nas.runtime.files import load_tensors, save_tensors, write_json
from nas.runtime.provenance import provenance
from nas.runtime.uncertainty import encode_bits, error_fields
from nas.study.folder import Study
from nas.training.former_checkpoint import remove_checkpoints
from nas.training.retraining_job import RetrainingJob
from nas.training.stored_answers import TrainingTeacher
from nas.training.stored_logits import STORED_IMAGES, require_stored_logits, write_logits
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import CheckpointError
from supernet.checkpoints import load_network
from supernet.network import Network
from supernet.resizing import AtImageSize, resize_images
from supernet.subnet import build_subnet


def write_result(
    job: RetrainingJob,
    network: nn.Module,
    data: Data,
    device: torch.device,
    teacher: TrainingTeacher | None = None,
    own_scoring: OwnScoring | None = None,
) -> None:
    """Evaluate a trained network, write its weights and result, and remove its checkpoint."""
    size = job.architecture.image_size
    resized = AtImageSize(network, size)
    validation = accuracy(resized, data.val.batches(evaluation_batch_size(size), device=device))
    # Nowhere else does a network see a test image.
    test = accuracy(resized, data.final_test().batches(evaluation_batch_size(size), device=device))
    test_images = len(data.final_test())
    own = {} if own_scoring is None else own_scoring.score(job.architecture, network, data, device)
    weights = job.folder / "model.safetensors"
    save_tensors(weights, network.state_dict(), {"digest": job.architecture.digest})
    _write_logits(job, network, data)
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
            **({"own_scores": own} if own else {}),
            "weights": str(weights.name),
            "recipe": asdict(job.recipe),
            "made_from": job.made_from,
            **({} if teacher is None else {"teacher": describe_teacher(teacher)}),
            "provenance": provenance(job.recipe.seed, []),
        },
    )
    remove_checkpoints(job.checkpoint_file)


def _write_logits(job: RetrainingJob, network: nn.Module, data: Data) -> None:
    """Store what the trained network answers about a few validation images, in float32 on the CPU."""
    copy = build_subnet(job.architecture)
    copy.load_state_dict(network.state_dict())
    images, _ = next(data.val.batches(STORED_IMAGES, device=torch.device("cpu")))
    write_logits(job.folder, copy.eval(), resize_images(images, job.architecture.image_size))


def describe_teacher(teacher: TrainingTeacher) -> dict[str, Any]:
    """Return what a result says of who taught it: its name and digest, and how good it was if that was measured."""
    known: dict[str, Any] = {"name": teacher.name, "digest": teacher.digest}
    if (accuracy := teacher.accuracy) is None:
        return known
    errors = error_fields("val_top1", accuracy.top1, accuracy.images)
    return {**known, "val_top1": accuracy.top1, **errors, "val_images": accuracy.images}


def trained_network(study: Study, result: Mapping[str, Any]) -> Network:
    """Return the network that a result of `retrain` describes, with its trained weights, on the CPU.

    Raises:
        CheckpointError: If the weights are damaged, or answer otherwise than when they were trained.
    """
    design = Architecture.from_json(result["architecture"])
    folder = study.retraining_folder(design.digest, result["mode"])
    weights, _ = load_tensors(folder / result["weights"])
    try:
        network = load_network(design, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / result['weights']}: {error}; retrain the design") from None
    require_stored_logits(folder, network)
    return network
