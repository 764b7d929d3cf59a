"""From a stage's rows in the recipe to the rows of its objective."""

from __future__ import annotations

from collections.abc import Mapping

from potstill.errors import PotstillError, collect, shown
from potstill.losses.base import Loss, make_loss
from potstill.models.output import FIELDS, INSIDE, LAYERED
from potstill.objective.layer_map import layer_map
from potstill.objective.schedule import Schedule, parse
from potstill.objective.sizes import TermSpec
from potstill.recipe.recipe import Stage, Term


def stage_terms(stage: Stage, student_layers: int, teacher_layers: int, place: str = "recipe") -> list[TermSpec]:
    """The rows of a stage's objective: losses made, layers mapped, schedules read.

    A row whose weight is 0 throughout is checked and left out, so that nothing is computed for it. PotstillErrors
    come through for everything that is wrong with the rows, all at once.

    Args:
        stage: of the recipe.
        student_layers: number of the student's layers; 0 for a student without layers.
        teacher_layers: number of the teacher's layers; 0 without a teacher.
        place: the recipe's name, for errors.
    """
    with collect() as attempt:
        made = [
            attempt(_term, term, student_layers, teacher_layers, f"{place}: stages.{stage.name}.terms.{number}")
            for number, term in enumerate(stage.terms)
        ]
    return [spec for spec, term in zip(made, stage.terms, strict=True) if spec is not None and term.active]


def check_losses(stage: Stage, place: str = "recipe") -> None:
    """Check what can be checked of a stage's terms while nothing is known of the models.

    PotstillErrors come through for unknown losses, wrong options and wrong weights, all at once.

    Args:
        stage: of the recipe.
        place: the recipe's name, for errors.
    """
    with collect() as attempt:
        for number, term in enumerate(stage.terms):
            attempt(_loss, term, f"{place}: stages.{stage.name}.terms.{number}")
            attempt(_weight, term, f"{place}: stages.{stage.name}.terms.{number}.weight")


def _loss(term: Term, place: str) -> tuple[Loss, dict[str, Schedule]]:
    """A term's loss, and those of its options that change with progress.

    Raises:
        PotstillError: the loss reads no field.
    """
    options = dict(term.model_extra or {})
    moving = {key: parse(value, f"{place}.{key}") for key, value in options.items() if isinstance(value, Mapping)}
    # What the constructor refuses may come only on the way: a temperature of 0 at the end.
    make_loss(term.loss, options | {key: schedule.lowest for key, schedule in moving.items()}, place)
    loss = make_loss(term.loss, options | {key: schedule(0.0) for key, schedule in moving.items()}, place)
    if getattr(loss, "reads", None) not in FIELDS:  # of a loss of the user's own; the others are tested
        problem = f"{term.loss} reads {shown(getattr(loss, 'reads', None))}, which is no field of a model's output"
        raise PotstillError(place, problem, f"set its `reads` to one of {', '.join(FIELDS)}")
    return loss, moving


def _weight(term: Term, place: str) -> Schedule:
    """A term's weight.

    Raises:
        PotstillError: it is below 0 at some progress.
    """
    weight = parse(term.weight, place)
    if weight.lowest < 0:
        raise PotstillError(place, f"{weight.lowest:g} is below 0, which would train the student to a greater loss", "give 0 or more")
    return weight


def _term(term: Term, student_layers: int, teacher_layers: int, place: str) -> TermSpec:
    loss, moving = _loss(term, place)
    weight = _weight(term, f"{place}.weight")
    if loss.reads not in LAYERED:
        if term.layers is not None:
            raise PotstillError(f"{place}.layers", f"{term.loss} reads {loss.reads}, which has no layers", "drop `layers`")
        return TermSpec(term.loss, loss, weight, (), term.project, moving)
    if not student_layers:
        problem = f"{term.loss} reads {loss.reads}, and a static student has no layers and no attention"
        raise PotstillError(place, problem, "use losses of the pooled vector: embedding_cosine, similarity_mse, similarity_kl, info_nce")
    if term.layers is None:
        raise PotstillError(f"{place}.layers", f"is missing, and {term.loss} reads layers", "name a layer map, for example layers: uniform")
    if loss.needs_teacher and not teacher_layers:
        raise PotstillError(place, f"{term.loss} needs a teacher with layers, and there is none", "name one, or drop the term")
    pairs = layer_map(term.layers, student_layers, teacher_layers, f"{place}.layers")
    if loss.reads in INSIDE and any(0 in pair for pair in pairs):
        raise PotstillError(f"{place}.layers", f"layer 0, the embedding output, has no {loss.reads}", "count from layer 1")
    return TermSpec(term.loss, loss, weight, pairs, term.project, moving)
