"""A student trained on as its int8 file computes, where that file does not pass the gate without.

What the student was taught stays what it is: its int8 file alone gets the weights that were tuned, and
the gate holds that file to the fp32 one as it would any other. The gate's verdict hangs on a machine and
on limits that may be widened later, and neither should decide the fp32 weights.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from potstill import recipe as recipes
from potstill.errors import PotstillError
from potstill.preflight import Facts
from potstill.processes import is_main
from potstill.runtime.folder import STUDENT
from potstill.stages import Prepared
from potstill.teach import CHECKPOINTS, train
from potstill.training.schedule import Schedule

if TYPE_CHECKING:
    from potstill.deploy.rounded import Roundings
    from potstill.models.encoder import EncoderModel

TUNED = "tuned"  # in the run folder: the tuned student
STAGE = "int8 tuning"  # no stage of a recipe can be called so
SHARE, SLOWER = 0.1, 0.1  # of the last stage's length and learning rate
EVALUATIONS = 4  # checkpoints of so short a stage


def tune(recipe: recipes.Recipe, facts: Facts, folder: Path, resume: bool, roundings: Roundings) -> None:
    """Write `folder`/tuned, the student trained on under `roundings`; nothing is done where it is there.

    Raises:
        PotstillError: a term has projections, and they went with the checkpoints of a run that was whole.
    """
    from potstill.models.fake_quantize import rounded
    from potstill.models.loading import load_encoder
    from potstill.training.processes import tell

    if tell(lambda: (folder / TUNED).is_dir()):
        return
    own, last = tuning(recipe), _last(recipe)
    taught = folder / CHECKPOINTS / f"{last}-{recipe.stages[last].name}"
    student = load_encoder(folder / STUDENT, lm_head=own.masks)
    # What was exported has no language model's head around it.
    inside = {path: path.replace("network", f"network.{student.network.base_model_prefix}", 1) if own.masks else path for path in
              (*roundings.inputs, *roundings.tables)}  # fmt: skip
    inputs = {inside[path]: entry for path, entry in roundings.inputs.items()}
    with rounded(student, inputs, [inside[path] for path in roundings.tables], roundings.weight_levels):
        train(own, facts, student, folder, resume, begin=partial(_go_on, student, taught))
    if is_main():
        student.save(folder / TUNED)


def tuning(recipe: recipes.Recipe) -> recipes.Recipe:
    """A recipe of one stage, which goes on with the last one of `recipe`; with its terms alone, no perturbation and no frozen part."""
    wanted = (recipe.export.limits or recipes.Int8()).tuning or recipes.Tune()
    last, training = recipe.stages[_last(recipe)], recipe.training
    steps, epochs = wanted.steps, wanted.epochs
    if steps is None and epochs is None:
        if last.steps is not None:
            steps = max(1, round(SHARE * last.steps))
        else:
            epochs = SHARE * (last.epochs or training.epochs * (1.0 if last.share is None else last.share))
    rate = wanted.learning_rate or SLOWER * (last.learning_rate or training.learning_rate)
    changes = {"share": None, "steps": steps, "epochs": epochs, "learning_rate": rate, "perturb": False, "train": "all"}
    # No stage of a user's, so its name need not look like one.
    stage = last.model_copy(update={"name": STAGE, **changes})
    return recipe.model_copy(update={"stages": [stage], "training": training.model_copy(update={"evaluations": EVALUATIONS})})


def _last(recipe: recipes.Recipe) -> int:
    """The last stage that had something to learn."""
    return max(number for number, stage in enumerate(recipe.stages) if stage.share != 0 and any(term.weight != 0 for term in stage.terms))


def _go_on(student: EncoderModel, taught: Path, stage: Prepared) -> None:
    """Begin where the recipe's last stage ended: its schedules at their end, and what it taught beside the student.

    That is projections, a loss's memory, a language model's head.

    Args:
        taught: the last stage's checkpoints, while the run is not whole.
    """
    from safetensors.torch import load_file

    from potstill.training.distillation import Distillation
    from potstill.training.trainer import STATE, newest_checkpoint

    objective = stage.objective
    objective.terms = [
        replace(term, weight=_ended(term.weight), options={name: _ended(schedule) for name, schedule in term.options.items()})
        for term in objective.terms
    ]
    newest = newest_checkpoint(taught)
    if newest is None:
        if objective.state_dict() or (student.network is not student.backbone and student.kind == "embed"):
            raise PotstillError(
                taught.parents[1],
                "no int8 setting passes the gate, and to tune one is too late: the last stage's projections went with its checkpoints",
                "widen the limits, or train again under these",
            )
        return
    best = json.loads((newest / STATE).read_text(encoding="utf-8")).get("best_model_checkpoint")
    file = (Path(best) if best else newest) / "model.safetensors"
    Distillation(student, objective).load_state_dict(load_file(file))


def _ended(schedule: Schedule) -> Schedule:
    return Schedule("constant", schedule.final, schedule.final)
