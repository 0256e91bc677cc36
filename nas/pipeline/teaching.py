"""A teacher made ready for a training: examined once, and asked for its answers where the recipe keeps them."""

from __future__ import annotations

from dataclasses import replace

from nas.cluster.budget import WorkerAllocation
from nas.cluster.study_files import in_borrowed_folder, lending
from nas.cluster.team import run_distributed
from nas.cluster.teams import allocate_team
from nas.data.dataset import Data
from nas.runtime.console import bar, log
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.study.time_sheet import record_phase
from nas.training.stored_answers import TrainingTeacher, read_answers
from nas.training.teacher import Teacher
from nas.training.teacher_examination import Examination, examine_teacher


def with_known_accuracy(teacher: Teacher, study: Study, data: Data) -> Teacher:
    """Return a teacher with its accuracy, if that was measured in a study.

    Raises:
        StudyError: If what was written of it is damaged.
    """
    return replace(teacher, accuracy=Examination(teacher, data, study.teacher_folder, False).read_accuracy())


def prepare_teacher(
    teacher: Teacher | None,
    recipe: Recipe,
    study: Study,
    data: Data,
    allocation: WorkerAllocation,
    *,
    one_machine: bool,
) -> TrainingTeacher | None:
    """Return a teacher as a training by a recipe has it; one worker asks it what the study does not know yet.

    Args:
        teacher: The teacher; None for none.
        recipe: Says whether its answers are kept.
        study: Where they are, and how good it is.
        data: The images.
        allocation: The workers of the budget.
        one_machine: Whether all of them are on one machine.

    Raises:
        Interrupted: If the user asked to stop.
        WorkError: If its worker fails.
        RequestError: If what was written of it is damaged.
    """
    if teacher is None:
        return None
    keeps_answers = recipe.teacher_images == "clean"
    # Workers may run elsewhere, where a relative path would mean another file.
    examination = Examination(teacher, data, study.teacher_folder.absolute(), keeps_answers)
    if total := examination.total:
        with (
            record_phase(study.folder, "teacher", replace(allocation, workers=1)),
            bar("asking the teacher", total) as progress,
            lending(study.folder) as files,
        ):
            alone = allocate_team(allocation, 1, one_machine=one_machine)
            run_distributed(in_borrowed_folder(examine_teacher, files), examination, alone, progress.update)
            progress.update(total)
    teacher = replace(teacher, accuracy=examination.read_accuracy())
    log.say(
        f"teacher {teacher.name}: {teacher.accuracy} validation top-1"
        + (
            f"; its answers about {len(data.train)} images are stored, it is not asked again"
            if keeps_answers
            else ""
        )
    )
    return read_answers(examination.answers_file, teacher, data) if keeps_answers else teacher
