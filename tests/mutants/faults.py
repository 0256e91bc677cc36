"""Faults of training, evaluation and scaling that a test must catch: each is one change of one line."""

from __future__ import annotations

from dataclasses import dataclass

TRAINING, EVALUATION = "tests/nas/training", "tests/nas/evaluation"
STEP, RETRAINING = f"{TRAINING}/test_step_values.py", f"{TRAINING}/test_retraining_values.py"
CRITERION = f"{TRAINING}/test_criterion.py"
DISTILLATION = f"{TRAINING}/test_distillation.py"
TEACHER = f"{TRAINING}/test_teacher.py"
ANSWERS = f"{TRAINING}/test_stored_answers.py"
SCORES = f"{EVALUATION}/test_values.py"
SIZES = f"{TRAINING}/test_image_size.py"
SCALING = "tests/search_spaces/test_scaling.py"


@dataclass(frozen=True)
class Fault:
    """A change that makes the code wrong.

    Attributes:
        name: What is wrong then.
        file: The file.
        right: Text that stands there once.
        wrong: What takes its place.
        tests: Where the tests are that should notice.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "the teacher is never used in sandwich",
        "nas/training/supernet_step.py",
        'path.learns_from == "teacher" and first_answer is not None',
        'path.learns_from == "nobody" and first_answer is not None',
        (STEP,),
    ),
    Fault(
        "training images of a supernet are not varied",
        "nas/training/supernet.py",
        "augment=augmentation",
        "augment=False",
        (TRAINING,),
    ),
    Fault(
        "training images of a design are not varied",
        "nas/training/subnet.py",
        "augment=augmentation",
        "augment=False",
        (RETRAINING,),
    ),
    Fault(
        "labels are not smoothed",
        "nas/training/criterion.py",
        "else recipe.label_smoothing",
        "else 0.0",
        (STEP,),
    ),
    Fault(
        "smoothed probabilities are smoothed again",
        "nas/training/criterion.py",
        "0.0 if targets.is_floating_point() else",
        "",
        (CRITERION,),
    ),
    Fault(
        "a resumed training mixes other images",
        "nas/training/criterion.py",
        "np.random.seed(seed)",
        "pass",
        (CRITERION,),
    ),
    Fault(
        "every shard mixes alike",
        "nas/training/criterion.py",
        "_numpy_seed(self.recipe.seed, step, shard)",
        "_numpy_seed(self.recipe.seed, step)",
        (CRITERION,),
    ),
    Fault(
        "CutMix is never drawn",
        "nas/training/criterion.py",
        "switch_prob=recipe.mixup_switch_prob",
        "switch_prob=0.0",
        (CRITERION,),
    ),
    Fault(
        "the warm-up is never as long as the recipe says",
        "nas/training/optimizer.py",
        "if recipe.warmup_epochs is None else recipe.warmup_epochs",
        "",
        (STEP,),
    ),
    Fault(
        "the schedule is never stepped",
        "nas/training/loop.py",
        "self.schedule.step_update(self.step)",
        "pass",
        (STEP,),
    ),
    Fault(
        "norms and biases decay",
        "nas/training/optimizer.py",
        "weight_decay=recipe.weight_decay, fused",
        "weight_decay=recipe.weight_decay, filter_bias_and_bn=False, fused",
        (STEP,),
    ),
    Fault(
        "gradients are not clipped",
        "nas/training/loop.py",
        "if self.recipe.clip_grad:",
        "if False:",
        (STEP,),
    ),
    Fault(
        "paths of a supernet drop no blocks",
        "nas/training/supernet_step.py",
        "path.architecture, settings.recipe.drop_path)",
        "path.architecture)",
        (f"{TRAINING}/test_supernet.py",),
    ),
    Fault(
        "drop path is the same for designs of every size",
        "nas/training/retraining.py",
        "for_params(recipe, costs(each.architecture).params)",
        "recipe",
        (f"{TRAINING}/test_reuse.py",),
    ),
    Fault(
        "workers of a supernet drop the same blocks",
        "nas/training/supernet_step.py",
        "seed_shard(settings.recipe.seed, step, shard)",
        "pass",
        (CRITERION,),
    ),
    Fault(
        "all shards of a step have one seed",
        "nas/training/sharded_step.py",
        "shard * _SHARD_STRIDE",
        "(shard << 40)",
        (CRITERION,),
    ),
    Fault(
        "retraining ignores drop path",
        "nas/training/subnet.py",
        "build_subnet(job.architecture, job.recipe.drop_path)",
        "build_subnet(job.architecture)",
        (RETRAINING,),
    ),
    Fault(
        "the weights of a design are reported instead of their average",
        "nas/training/subnet.py",
        "write_result(job, training.averaged_network, data, device, teacher)",
        "write_result(job, training.model, data, device, teacher)",
        (RETRAINING,),
    ),
    Fault(
        "the average of the weights is the weights themselves",
        "nas/training/ema.py",
        "min(decay, 1 - (1 + step) ** (-2 / 3))",
        "min(0.0, 1 - (1 + step) ** (-2 / 3))",
        (STEP,),
    ),
    Fault(
        "test accuracy is reported as validation accuracy",
        "nas/training/retraining_result.py",
        '"val_top1": validation["top1"],',
        '"val_top1": test["top1"],',
        (RETRAINING,),
    ),
    Fault(
        "validation accuracy is reported as test accuracy",
        "nas/training/retraining_result.py",
        '"test_top1": test["top1"],',
        '"test_top1": validation["top1"],',
        (RETRAINING,),
    ),
    Fault(
        "one evaluator does not recalibrate BatchNorm",
        "nas/evaluation/accuracy.py",
        "        recalibrate(network, self.calibration)\n",
        "",
        (SCORES,),
    ),
    Fault(
        "the evaluator of populations does not recalibrate BatchNorm",
        "supernet/steps.py",
        "[self._run(step, flow, statistics, training=True) for flow in flows], statistics",
        "[self._run(step, flow, statistics, training=False) for flow in flows], statistics",
        (SCORES,),
    ),
    Fault(
        "top-5 is counted as top-1",
        "nas/evaluation/accuracy.py",
        "right = hits[:, 0].cpu()",
        "right = hits.any(dim=1).cpu()",
        (SCORES,),
    ),
    Fault(
        "top-1 is counted as top-5",
        "nas/evaluation/accuracy.py",
        "self.num_top5 += int(hits.any(dim=1).sum())",
        "self.num_top5 += int(hits[:, 0].sum())",
        (SCORES,),
    ),
    Fault(
        "inheriting starts from random weights",
        "nas/training/subnet.py",
        'if job.mode == "inherit":',
        'if job.mode == "nothing":',
        (RETRAINING,),
    ),
    Fault(
        "gradients are summed over shards, not averaged",
        "nas/training/supernet_step.py",
        "(len(paths) * all_shards)",
        "len(paths)",
        (STEP,),
    ),
    Fault(
        "only the first shard is trained on",
        "nas/training/sharded_step.py",
        "for shard in range(shards):",
        "for shard in range(1):",
        (STEP,),
    ),
    Fault(
        "the teacher's answers have no weight in the loss",
        "nas/training/criterion.py",
        "recipe.teacher_weight * of_teacher",
        "0.0 * of_teacher",
        (DISTILLATION,),
    ),
    Fault(
        "soft distillation leaves the square of the temperature out",
        "nas/training/distillation.py",
        " * temperature**2",
        "",
        (DISTILLATION,),
    ),
    Fault(
        "the supernet's teacher is never used",
        "nas/training/supernet_step.py",
        "criterion.loss(logits, *lesson[1:])",
        "criterion.loss(logits, lesson.targets)",
        (TEACHER,),
    ),
    Fault(
        "a teacher is shown images normalised for its student",
        "nas/training/teacher.py",
        "if not is_normalized:",
        "if False:",
        (TEACHER,),
    ),
    Fault(
        "stored answers are not mixed as their images",
        "nas/training/distillation.py",
        "mixing.mix(F.softmax(softened, dim=1))",
        "F.softmax(softened, dim=1)",
        (DISTILLATION,),
    ),
    Fault(
        "stored answers of another teacher are looked up",
        "nas/training/stored_answers.py",
        "load_metadata(path) == _describe(teacher, data)",
        "bool(load_metadata(path))",
        (ANSWERS,),
    ),
    Fault(
        "answers are looked up by class instead of by image",
        "nas/training/stored_answers.py",
        "self.logits[numbers].float()",
        "self.logits[self.labels[numbers]].float()",
        (ANSWERS,),
    ),
    Fault(
        "a checkpoint of another teacher is resumed",
        "nas/training/supernet.py",
        "taught by {task.teacher.digest}",
        "taught",
        (TEACHER,),
    ),
    Fault(
        "a design's teacher is never used",
        "nas/training/subnet_step.py",
        "criterion.loss(network(own), *lesson[1:])",
        "criterion.loss(network(own), lesson.targets)",
        (TEACHER,),
    ),
    Fault(
        "a result of another teacher is taken for finished",
        "nas/training/retraining_job.py",
        'taught = {} if self.teacher is None else {"teacher": self.teacher}',
        "taught: dict[str, str] = {}",
        (TEACHER,),
    ),
    Fault(
        "a long step that is timed on few images is taken for a whole one",
        "nas/training/step_times.py",
        "(ended - loaded) * full / count",
        "(ended - loaded)",
        (f"{TRAINING}/test_step_times.py",),
    ),
    Fault(
        "trainings at the same time are each given the whole machine's memory",
        "nas/pipeline/memory.py",
        '(measure_memory().total - PROCESS_BYTES["cpu"]) // processes',
        'measure_memory().total - PROCESS_BYTES["cpu"]',
        ("tests/nas/pipeline/test_retraining_memory.py",),
    ),
    Fault(
        "what parts save is kept for any type",
        "nas/training/part_counts.py",
        "kind = f\"{device.type}-{str(dtype).removeprefix('torch.')}\"",
        'kind = f"{device.type}"',
        (f"{TRAINING}/test_part_counts.py",),
    ),
    Fault(
        "a path of a supernet is shown images at full size",
        "supernet/supernet.py",
        "return resize_images(images, architecture.image_size) if several else images",
        "return images",
        (SCORES,),
    ),
    Fault(
        "the evaluator of populations shows designs images at full size",
        "supernet/steps.py",
        "x = resize_images(x, step.image_size)",
        "pass",
        (SCORES,),
    ),
    Fault(
        "one evaluator shows designs images at full size",
        "nas/evaluation/accuracy.py",
        "AtImageSize(self.supernet.extract(architecture), architecture.image_size)",
        "self.supernet.extract(architecture)",
        (SCORES,),
    ),
    Fault(
        "a step of retraining is of images at full size",
        "nas/training/subnet_step.py",
        "own = lesson.images if image_size is None else resize_images(lesson.images, image_size)",
        "own = lesson.images",
        (SIZES,),
    ),
    Fault(
        "a retraining keeps its design's size from its steps",
        "nas/training/subnet.py",
        "image_size=size,",
        "image_size=None,",
        (SIZES,),
    ),
    Fault(
        "a teacher is shown images at its student's size",
        "nas/training/subnet_step.py",
        "prepare_lesson(criterion, teaching, step, shard, images, labels)",
        "prepare_lesson(criterion, teaching, step, shard, resize_images(images, image_size or (16, 16)), labels)",
        (SIZES,),
    ),
    Fault(
        "an epoch's accuracy is of images at full size",
        "nas/training/subnet.py",
        "accuracy(AtImageSize(training.averaged_network, size), batches)",
        "accuracy(training.averaged_network, batches)",
        (SIZES,),
    ),
    Fault(
        "a retrained design is scored on images at full size",
        "nas/training/retraining_result.py",
        "resized = AtImageSize(network, size)",
        "resized = network",
        (SIZES,),
    ),
    Fault(
        "smaller images are not antialiased",
        "supernet/resizing.py",
        "antialias=True",
        "antialias=False",
        (SIZES,),
    ),
    Fault(
        "widths for a budget are searched coarsely",
        "search_spaces/scaling.py",
        "_NARROWEST, _WIDEST, _HALVINGS = 1 / 64, 64.0, 14",
        "_NARROWEST, _WIDEST, _HALVINGS = 1 / 64, 64.0, 2",
        (SCALING,),
    ),
)
