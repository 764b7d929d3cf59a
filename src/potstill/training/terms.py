"""From a stage's rows in the recipe to the rows of its objective."""

from __future__ import annotations

from collections.abc import Mapping

from potstill.errors import PotstillError, collect
from potstill.losses.base import Loss, make_loss
from potstill.models.output import INSIDE, LAYERED
from potstill.recipe import Stage, Term
from potstill.training.layer_map import layer_map
from potstill.training.objective import TermSpec
from potstill.training.schedule import Schedule, parse

NOTHING = parse(0.0, "")


def stage_terms(stage: Stage, student_layers: int, teacher_layers: int, place: str = "recipe") -> list[TermSpec]:
    """The rows of a stage's objective: losses made, layers mapped, schedules read.

    A row of weight 0 is left out, so that nothing is computed for it.

    Raises:
        PotstillErrors: everything wrong with them, at once.
    """
    with collect() as attempt:
        made = [
            attempt(_term, term, student_layers, teacher_layers, f"{place}: stages.{stage.name}.terms.{number}")
            for number, term in enumerate(stage.terms)
        ]
    return [term for term in made if term is not None and term.weight != NOTHING]


def check_losses(stage: Stage, place: str = "recipe") -> None:
    """What can be said of a stage's terms while nothing is known of the models.

    Raises:
        PotstillErrors: unknown losses and options.
    """
    with collect() as attempt:
        for number, term in enumerate(stage.terms):
            attempt(_loss, term, f"{place}: stages.{stage.name}.terms.{number}")


def _loss(term: Term, place: str) -> tuple[Loss, dict[str, Schedule]]:
    """A term's loss, and those of its options that change with progress."""
    options = dict(term.model_extra or {})
    moving = {key: parse(value, f"{place}.{key}") for key, value in options.items() if isinstance(value, Mapping)}
    # What the constructor refuses may come only on the way: a temperature of 0 at the end.
    make_loss(term.loss, options | {key: schedule.lowest for key, schedule in moving.items()}, place)
    return make_loss(term.loss, options | {key: schedule(0.0) for key, schedule in moving.items()}, place), moving


def _term(term: Term, student_layers: int, teacher_layers: int, place: str) -> TermSpec:
    loss, moving = _loss(term, place)
    weight = parse(term.weight, f"{place}.weight")
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
