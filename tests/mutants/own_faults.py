"""Faults of what Python programs bring - objectives, limits, steps, callbacks - that a test must catch."""

from __future__ import annotations

from tests.mutants.fault import Fault

STEPS = "tests/nas/training/test_training_step.py"
OBJECTIVES = "tests/nas/api/test_own_objectives.py"
LIMITS = "tests/nas/search/test_measured_limits.py"
CALLBACKS = "tests/nas/api/test_callbacks.py"
API_STEPS = "tests/nas/api/test_own_training_step.py"

OWN_FAULTS = (
    Fault(
        "a supernet's step is the recipe's",
        "nas/training/supernet_step.py",
        "compute_loss(training_step, network, own)",
        "compute_loss(recipe_step, network, own)",
        (STEPS,),
    ),
    Fault(
        "a design's step is the recipe's",
        "nas/training/subnet_step.py",
        "compute_loss(training_step, stepped, batch_of(lesson, criterion, step))",
        "compute_loss(recipe_step, stepped, batch_of(lesson, criterion, step))",
        (STEPS,),
    ),
    Fault(
        "workers train a supernet by the recipe's step",
        "nas/training/supernet.py",
        "            task.training_step,\n",
        "",
        (STEPS,),
    ),
    Fault(
        "workers train a design by the recipe's step",
        "nas/training/subnet.py",
        'training_step=payload.get("training_step") or recipe_step,',
        "",
        (STEPS,),
    ),
    Fault(
        "a supernet's checkpoint goes on with another step",
        "nas/training/supernet.py",
        'f"{identity}/step {step}"',
        'f"{identity}"',
        (STEPS,),
    ),
    Fault(
        "a design that another step trained counts as trained",
        "nas/training/retraining_job.py",
        '"weights": self.weights, **taught, **stepped}',
        '"weights": self.weights, **taught}',
        (STEPS,),
    ),
    Fault(
        "a study goes on with another step",
        "nas/study/settings.py",
        'setting(None, "Name of a Python program\'s function that trainings minimise.")',
        'setting(None, "Name of a function.", compared=NOT_COMPARED)',
        (API_STEPS,),
    ),
    Fault(
        "what a program sends to workers is not looked at",
        "nas/pipeline/plan.py",
        "request.own.require_sendable()",
        "pass",
        (API_STEPS,),
    ),
    Fault(
        "stored answers are not mixed for a step",
        "nas/training/training_step.py",
        "logits = lesson.mixing.mix(F.softmax(logits, dim=1)).log()",
        "pass",
        (STEPS,),
    ),
    Fault(
        "callbacks hear of no step",
        "nas/pipeline/run.py",
        "plan.own.callbacks.on_step(latest.step, all_steps, latest.loss)",
        "pass",
        (CALLBACKS,),
    ),
    Fault(
        "callbacks hear of no trial",
        "nas/pipeline/run.py",
        "plan.own.callbacks.on_trial(trial.architecture, trial.scores, evaluated)",
        "pass",
        (CALLBACKS,),
    ),
    Fault(
        "callbacks hear of no epoch",
        "nas/training/retraining.py",
        "self.own.callbacks.on_epoch(job.architecture, job.mode, epoch, job.recipe.epochs, top1)",
        "pass",
        (CALLBACKS,),
    ),
    Fault(
        "a callback's failure is swallowed",
        "nas/runtime/callbacks.py",
        "            except Exception as error:\n                raise",
        "            except Exception as error:\n                return\n                raise",
        (CALLBACKS,),
    ),
    Fault(
        "objectives of a program are all minimised",
        "nas/search/own_objectives.py",
        "ObjectiveDeclaration(self.name, self.direction, self.unit, of, limit)",
        'ObjectiveDeclaration(self.name, "minimize", self.unit, of, limit)',
        (OBJECTIVES,),
    ),
    Fault(
        "limits of a program are forgotten",
        "nas/search/own_objectives.py",
        "None if self.limit is None else float(self.limit)",
        "None",
        (OBJECTIVES,),
    ),
    Fault(
        "a limit is the largest value where more is better",
        "nas/search/objectives.py",
        'return self.declaration(name).direction == "maximize"',
        "return False",
        (LIMITS,),
    ),
    Fault(
        "a limit on what is measured rejects nothing",
        "nas/search/batches.py",
        "rejected=goal.format_violation(scores),",
        "",
        (LIMITS,),
    ),
    Fault(
        "a design beyond a measured limit is proposed again and complete",
        "nas/search/batches.py",
        "rejected=earlier.rejected,",
        "",
        (LIMITS,),
    ),
    Fault(
        "samplers do not learn of measured limits",
        "nas/search/loop.py",
        "if name not in known:",
        "if False:",
        (LIMITS,),
    ),
    Fault(
        "screening proposes what is predicted to be beyond a measured limit",
        "nas/search/screening.py",
        "children = self._keeping_measured_limits(children, count)",
        "pass",
        (LIMITS,),
    ),
)
