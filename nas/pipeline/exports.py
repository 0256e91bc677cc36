"""A retrained design of a study as a standalone model: which one, where to, and what its card says of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.export.model_card import accuracy_metrics
from nas.export.options import DEFAULT_OPTIONS, FileOptions
from nas.export.writer import export_model
from nas.pipeline.export_samples import load_samples
from nas.runtime.console import log, progress_callback
from nas.runtime.files import require_writable
from nas.runtime.provenance import provenance
from nas.runtime.uncertainty import Accuracy
from nas.study.designs import best_of_search, describe_origin
from nas.study.folder import Study
from nas.training.retraining_result import trained_network
from nas.training.stored_logits import read_stored_images
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError


def find_best_result(study: Study, digest: str | None = None, mode: str | None = None) -> dict[str, Any]:
    """Return the best result of retraining a design that the search proposed, or the best of one design.

    Args:
        study: The study.
        digest: The design; None for what the search proposed.
        mode: Which of `MODES` it was trained in; None for any.

    Raises:
        RequestError: If there is none.
    """
    study.require()
    results = [
        result
        for result in study.results()
        if digest in (None, result["digest"]) and mode in (None, result["mode"])
    ]
    if not results:
        named = "" if digest is None else f" '{digest}'"
        command = shlex.join(
            ["nas", "retrain", str(study.folder), *([] if digest is None else ["--arch", digest])]
        )
        raise RequestError(f"study {study.folder} has no retrained design{named}; run: {command}")
    return best_of_search(study, results)


def require_export_folder(folder: Path, study: Study | None = None) -> None:
    """Check that an export may be written to ``folder``: it is free, or holds an export to replace.

    Args:
        folder: Where to write.
        study: The study that the model is of, whose own files are not to be mixed with it.

    Raises:
        RequestError: If it may not.
    """
    require_writable(folder)
    if study is not None:
        inside, own = folder.resolve(), study.folder.resolve()
        if inside.is_relative_to(own) and not inside.is_relative_to(own / "exports"):
            raise RequestError(
                f"--out {folder} lies among the files of the study; choose a folder in {study.folder / 'exports'} or "
                "outside the study"
            )
    if folder.exists() and not (folder / "verification.json").exists() and any(folder.iterdir()):
        raise RequestError(f"--out {folder} is not empty and holds no export; choose another folder")


def _describe_design(result: Mapping[str, Any]) -> str:
    """Return what kind of image classifier a result is of, for the model card."""
    origin = describe_origin(result)
    if result.get("published"):
        return f"of the design {result['origin']}, fitted to its images and trained on them"
    if origin:
        return f"whose attention design starts a neural architecture search ({origin})"
    return "whose attention design was found by neural architecture search"


def _describe_teacher(result: Mapping[str, Any]) -> dict[str, str]:
    """Return what the model card says of who taught a result; nothing where nobody did."""
    taught_by = result.get("teacher")
    if taught_by is None:
        return {}
    known = {"teacher": f"{taught_by['name']} ({taught_by['digest'][:12]})"}
    if "val_top1" in taught_by:
        known["teacher's top-1 on the validation images"] = str(Accuracy.from_result(taught_by, "val"))
    return known


def export_result(
    study: Study,
    result: dict[str, Any],
    folder: Path,
    formats: tuple[str, ...],
    options: FileOptions = DEFAULT_OPTIONS,
    *,
    command: Sequence[str],
) -> dict[str, float]:
    """Export a retrained design, by a command line or a call; return the measured differences by file."""
    design, dataset = Architecture.from_json(result["architecture"]), study.dataset()
    metrics = {
        **accuracy_metrics("test", Accuracy.from_result(result, "test")),
        **accuracy_metrics("validation", Accuracy.from_result(result, "val")),
        "trained": "from scratch" if result["mode"] == "scratch" else "from the supernet's weights",
        "images": dataset.data,
        **_describe_teacher(result),
    }
    network = trained_network(study, result)
    images = read_stored_images(study.retraining_folder(design.digest, result["mode"]))
    samples = load_samples(study) if options.precisions else None
    with progress_callback("exporting") as on_progress:
        differences = export_model(
            network,
            design,
            folder,
            name=f"{study.name}-{design.digest}",
            mean=dataset.mean,
            std=dataset.std,
            class_names=dataset.class_names,
            reading=dataset.reading,
            test_crop=dataset.test_crop,
            metrics=metrics,
            provenance=provenance(study.settings().seed, command),
            formats=formats,
            options=options,
            images=images if images is not None and len(images) > 1 else None,
            samples=samples,
            description=_describe_design(result),
            on_progress=on_progress,
        )
    largest = ", ".join(f"{file} {value:.1e}" for file, value in differences.items())
    log.say(f"exported {design.digest} to {folder}; largest differences to the subnet: {largest}")
    return differences
