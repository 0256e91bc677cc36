"""The teacher that ``--teacher`` asks for: found, read without running code of it, and checked against the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from nas.data.dataset import Data
from nas.evaluation.accuracy import recalibrate
from nas.export.config import read_export_config
from nas.pipeline.teaching import with_known_accuracy
from nas.runtime.console import quantity
from nas.study.designs import find_architecture
from nas.study.find import find_study
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.study.teacher_spec import LARGEST, NONE, TeacherSpec, parse_teacher
from nas.training.stored_answers import require_to_fit
from nas.training.supernet_checkpoint import read_progress, read_supernet
from nas.training.teacher import Teacher, make_teacher
from nas.training.timm_teacher import read_timm_teacher
from nas.training.weight_files import read_network
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError, StudyError
from search_spaces.space import Space
from supernet.resizing import AtImageSize
from supernet.sampling import policy

#: Batches of training images by which the largest path's BatchNorm statistics are found.
_CALIBRATION_BATCHES, _CALIBRATION_IMAGES = 8, 64
_STEPS_COUNTED = 16  # whose paths stand for all


def find_teacher(text: str | None, data: Data, study: Study | None = None) -> Teacher | None:
    """Return the teacher that a text asks for, which can teach images; None for none.

    Args:
        text: As ``--teacher`` takes it.
        data: The images that it is to teach.
        study: The study whose supernet's largest path may be the teacher.

    Raises:
        RequestError: If there is no such network, its files are damaged, or it cannot teach these images.
    """
    if text is None or text == NONE:
        return None
    spec = parse_teacher(text)
    try:
        teacher = _read_largest_path(study, data) if spec.kind == "largest" else _READERS[spec.kind](spec)
    except RequestError as error:
        if "--teacher" in str(error):
            raise
        # What reads files does not know for whom.
        raise RequestError(f"--teacher {text}: {error}") from None
    teacher.require_same_classes(data)
    return teacher


def find_teacher_of_supernet(settings: Settings, study: Study, data: Data) -> Teacher | None:
    """Return the teacher of a study's supernet; None where none teaches it, or nothing of it is left to train.

    Raises:
        RequestError: As `find_teacher` does; or if a recipe keeps its answers and they are too many.
    """
    if settings.teacher in (None, NONE):
        return None
    images, classes = len(data.train), len(data.class_names)
    require_to_fit(settings.retraining, "retraining", images, classes)
    done, total = read_progress(study.supernet_file, verify=True)
    # Once the supernet is trained, the files of its teacher may be gone.
    if settings.teacher == LARGEST or 0 < total <= done:
        return None
    require_to_fit(settings.recipe, "recipe", images, classes)
    teacher = find_teacher(settings.teacher, data)
    return None if teacher is None else with_known_accuracy(teacher, study, data)


def count_supernet_macs(space: Space, settings: Settings) -> float:
    """Return the multiply-adds by which one image passes forward through the paths of a step, on average."""
    sample_paths = policy(settings.policy, settings.paths)
    steps = [sample_paths(space, settings.seed, step) for step in range(_STEPS_COUNTED)]
    return sum(costs(path.architecture).macs for paths in steps for path in paths) / len(steps)


def describe_teacher(teacher: Teacher, student_macs: float, recipe: Recipe | None = None) -> str:
    """Return what a teacher is and costs, for people.

    Args:
        teacher: The teacher.
        student_macs: Multiply-adds by which one image passes forward through what a step trains.
        recipe: Of the training, where it is known.
    """
    _, height, width = teacher.input_size
    # A backward pass costs about two forward passes.
    share = teacher.macs / (teacher.macs + 3 * student_macs)
    is_asked_once = recipe is not None and recipe.teacher_images == "clean"
    cost = "asked once about each" if is_asked_once else f"about {share:.0%} of a step's multiply-adds"
    known = "" if teacher.accuracy is None else f", {teacher.accuracy} validation top-1"
    return (
        f"{teacher.name}: {quantity(teacher.params)} parameters, {quantity(teacher.macs)} MACs an image of "
        f"{height}x{width} px, {cost}{known}"
    )


def _read_timm(spec: TeacherSpec) -> Teacher:
    return read_timm_teacher(spec.name, spec.weights)


def _read_export(spec: TeacherSpec) -> Teacher:
    folder = Path(str(spec.place)).expanduser()
    if not (folder / "config.json").is_file():
        raise RequestError(
            f"--teacher {spec.text} is no export folder (no config.json); give one that nas export made, timm:NAME, "
            f"STUDY:DIGEST or {LARGEST}"
        )
    config = read_export_config(folder)
    # Its ``model.py`` is not run: the design says what the network is.
    network, design = read_network(folder, find_architecture(str(folder)))
    size = design.in_channels, *design.image_size
    if size != config.input_size or design.num_classes != config.num_classes:
        raise RequestError(
            f"--teacher {spec.text}: its weights and its config.json differ in size or classes; export it again"
        )
    return make_teacher(
        spec.text,
        network,
        design.digest,
        size,
        config.mean,
        config.std,
        config.num_classes,
        config.class_names,
        costs(design).macs,
    )


def _read_result(spec: TeacherSpec) -> Teacher:
    study = find_study(str(spec.place))
    study.require()
    results = [result for result in study.results() if result["digest"] == spec.name]
    if not results:
        raise StudyError(
            f"--teacher {spec.text}: study {study.folder} has no retrained design '{spec.name}'; give the digest of "
            "one that nas retrain trained"
        )
    best = results[0]
    weights = study.retraining_folder(spec.name, best["mode"]) / best["weights"]
    network, design = read_network(weights, Architecture.from_json(best["architecture"]))
    images = study.dataset()
    return make_teacher(
        spec.text,
        network,
        design.digest,
        (design.in_channels, *design.image_size),
        images.mean,
        images.std,
        design.num_classes,
        images.class_names,
        costs(design).macs,
    )


_READERS: dict[str, Callable[[TeacherSpec], Teacher]] = {
    "timm": _read_timm,
    "export": _read_export,
    "study": _read_result,
}


def _read_largest_path(study: Study | None, data: Data) -> Teacher:
    """Return the average of the largest path of a study's supernet, with BatchNorm statistics of its own."""
    settings = None if study is None else study.settings()
    if study is None or settings is None or not settings.needs_supernet:
        raise RequestError(
            f"--teacher {LARGEST} is the largest path of a study's supernet, and there is none; give another teacher"
        )
    weights = Path(settings.supernet) if settings.supernet else study.supernet_file
    if not weights.exists():
        raise StudyError(
            f"--teacher {LARGEST}: the supernet of study {study.folder} is not trained yet; let its search train it "
            "first"
        )
    space = study.space()
    supernet, design = read_supernet(space, settings.sharing, weights), space.largest
    network = supernet.extract(design)
    batches = data.train.batches(_CALIBRATION_IMAGES, device=torch.device("cpu"), shuffle_seed=settings.seed)
    recalibrate(
        AtImageSize(network, design.image_size),
        (images for _, (images, _) in zip(range(_CALIBRATION_BATCHES), batches, strict=False)),
    )
    return make_teacher(
        f"{LARGEST} path {design.digest} of the supernet",
        network,
        design.digest,
        (design.in_channels, *design.image_size),
        data.mean,
        data.std,
        design.num_classes,
        data.class_names,
        costs(design).macs,
    )
