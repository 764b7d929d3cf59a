"""A student trained on as its int8 file computes, where that file does not pass the gate without.

Its teacher is the student itself in fp32, which is what the gate holds the int8 file to. The recipe's own
terms and teacher would draw it elsewhere: of a student of 3 layers, with cosines to its fp32 vectors of
.9977 when rounded, 80 steps towards itself made .9983, 120 steps of its recipe at a tenth of the rate .9949.

What the student was taught stays what it is: its int8 file alone gets the tuned weights. The gate's
verdict hangs on a machine and on limits that may be widened later, and neither should decide the fp32 weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.check.plan import RunPlan, StagePlan
from potstill.machine.processes import is_main
from potstill.recipe.recipe import EMBED, Int8, Recipe, Stage, Teacher, Term, Tune
from potstill.run.train import train
from potstill.runtime.folder import STUDENT
from potstill.teacher.make import LoadedTeacher

if TYPE_CHECKING:
    from potstill.deploy.rounded import Roundings

TUNED = "tuned"  # in the run folder: the tuned student
STAGE = "int8 tuning"  # no stage of a recipe can be called so
EVALUATIONS = 4  # checkpoints of so short a stage


def tune(recipe: Recipe, plan: RunPlan, folder: Path, resume: bool, roundings: Roundings) -> None:
    """Write `folder`/tuned, the student trained on under `roundings`; nothing is done where it is there."""
    import torch

    from potstill.deploy.fake_quantize import fake_quantized
    from potstill.machine.distributed import tell
    from potstill.models.loading import load_encoder
    from potstill.objective.terms import stage_terms

    if tell(lambda: (folder / TUNED).is_dir()):
        return
    student = load_encoder(folder / STUDENT)
    with fake_quantized(student, roundings.inputs, roundings.tables, roundings.weight_levels):
        own = tuning(recipe, folder)
        stages = [StagePlan(stage, stage_terms(stage, len(student.layers), len(student.layers))) for stage in own.stages]
        exact = replace(plan, teacher_folder=folder / STUDENT, precision=torch.float32, stages=stages)
        assert own.teacher is not None
        train(own, exact, student, LoadedTeacher(own.teacher, folder / STUDENT, task=own.task), folder, resume)
    if is_main():
        student.save(folder / TUNED)


def tuning(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe by which the student in `folder` is tuned: on the same texts, in one stage, towards its own fp32 answers."""
    wanted = (recipe.export.limits or Int8()).tuning or Tune()
    term = Term(loss="embedding_cosine" if recipe.task == EMBED else "logit_mse")
    stage = Stage(name="int8", steps=wanted.steps, terms=[term])
    # What is rounded to whole steps would be rounded again by a half precision; what dropout hides cannot be matched.
    exact = {"learning_rate": wanted.learning_rate, "dropout": 0.0, "precision": "fp32", "evaluations": EVALUATIONS, "batches": "random"}
    return recipe.model_copy(
        update={
            "teacher": Teacher(model=str(folder / STUDENT), max_length=recipe.student.max_length, cache=False),
            "stages": [stage.model_copy(update={"name": STAGE})],
            "training": recipe.training.model_copy(update=exact),
            "data": recipe.data.model_copy(update={"augment": None}),
        }
    )
