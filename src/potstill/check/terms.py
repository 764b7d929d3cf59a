"""Whether a stage's terms fit what is known of both sides before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.check.teacher import check_attention
from potstill.errors import PotstillError, collect, refuse
from potstill.recipe.recipe import EMBED, Recipe, Stage
from potstill.runtime.folder import CLASSIFICATION, MULTILABEL, REGRESSION

if TYPE_CHECKING:
    from potstill.objective.sizes import Sizes, TermSpec


@dataclass(frozen=True)
class Known:
    """What configurations and data say of both sides; a number is 0 where it is not known.

    Attributes:
        depth, teacher_depth: layers of student and teacher.
        student, teacher: sizes of both sides; None where the recipe has no teacher.
        heads: attention heads of both.
        rows: texts of the training set.
        kind: of the data's labels, or embed or mlm; "" where the data is not known.
    """

    depth: int
    teacher_depth: int
    student: Sizes
    teacher: Sizes | None
    heads: tuple[int, int]
    rows: int
    kind: str = ""


def check_poolings(recipe: Recipe, names: Sequence[str], depths: tuple[int, int], place: str) -> None:
    """Check that teacher and student can be pooled by these names.

    Args:
        names, depths: of the teacher, then of the student; depth 0 where a side is not known.

    Raises:
        PotstillErrors: everything wrong, at once.
    """
    from potstill.models.pooling import CLS_POOLER, check_pooling

    with collect() as attempt:
        for name, depth, side in zip(names, depths, ("teacher", "student")):
            attempt(check_pooling, name, depth or None, f"{place}: {side}.pooling")
        if recipe.masks and names[1] == CLS_POOLER:
            attempt(refuse, f"{place}: student.pooling", "a network that guesses masked words has no pooler", "take cls")


def check_terms(recipe: Recipe, stage: Stage, known: Known, place: str) -> list[TermSpec]:
    """A stage's terms, made and checked.

    Raises:
        PotstillErrors: everything wrong with them, at once.
    """
    from potstill.objective.sizes import check_term
    from potstill.objective.terms import stage_terms

    terms = stage_terms(stage, known.depth, known.teacher_depth, place)
    with collect() as attempt:
        numbers = [number for number, term in enumerate(stage.terms) if term.active]  # a row of weight 0 makes no term
        for number, term in zip(numbers, terms, strict=True):
            where = f"{place}: stages.{stage.name}.terms.{number}"
            if not (term.loss.needs_teacher and recipe.teacher is None) and known.student.width:
                if known.teacher is None or known.teacher.width:
                    attempt(check_term, term, known.student, known.teacher or known.student, known.rows, where)
            attempt(_check_task, recipe, term, where)
            attempt(_check_labels, term, known, where)
            attempt(_check_batch, recipe, stage, term, known, place, where)
            attempt(_check_inside, recipe, term, known.heads, where)
    return terms


def _check_task(recipe: Recipe, term: TermSpec, where: str) -> None:
    """Raise PotstillErrors where a term does not go with the recipe's task, or wants a teacher that is not there."""
    name, reads = term.name, term.loss.reads
    with collect() as attempt:
        if term.loss.needs_teacher and recipe.teacher is None:
            attempt(refuse, where, f"{name} needs a teacher, and the recipe has none", "name one, or drop the term")
        if reads == "embedding" and recipe.task != EMBED:
            problem = f"{name} reads pooled vectors, and the task {recipe.task} has a head instead"
            attempt(refuse, where, problem, "use cls or mean states")
        if reads == "logits" and recipe.task == EMBED and name != "mlm":
            attempt(refuse, where, f"{name} reads logits, and the task embed has none", "name a labelled task, or mlm")
        if name == "mlm" and recipe.labelled:
            attempt(refuse, where, f"mlm predicts masked words, and the task is {recipe.task}", "use hard_label, or set task: mlm")
        thrown_away = term.project in ("linear", "shared") or (term.project == "mlp" and term.loss.needs_teacher)
        if recipe.student.align and recipe.teacher is not None and reads == "embedding" and thrown_away:
            problem = f"project: {term.project} is thrown away, and student.align puts the student's own vectors into the teacher's space"
            attempt(refuse, where, problem, "drop project, or student.align")
        if term.project == "mlp" and reads == "embedding" and recipe.student.normalize:
            attempt(refuse, where, "project: mlp reads vectors before they are normalised", "set student.normalize to false")


def check_dimensions(recipe: Recipe, width: int, stages: Sequence[Sequence[TermSpec] | None], place: str) -> None:
    """Check that the first dimensions of the student's vectors can be taught to serve alone, where the recipe asks for it.

    Args:
        recipe: whose student may have `dimensions`.
        width: of the student's vectors; 0 where it is not known.
        stages: their terms; None for one with something wrong in it.
        place: that errors name.

    Raises:
        PotstillError: the student gives no vectors, or shorter ones, or no term is computed on them.
    """
    from potstill.objective.sizes import on_prefixes

    asked = recipe.student.dimensions
    if not asked:
        return
    if recipe.task != EMBED:
        raise PotstillError(place, f"{asked} are of vectors, and the task {recipe.task} gives none", "drop it, or set task: embed")
    if width and max(asked) > width:
        raise PotstillError(place, f"{max(asked)} is more than the {width} that the student's vectors have", "ask for fewer")
    if not any(terms is None or any(map(on_prefixes, terms)) for terms in stages):
        remedy = "add similarity_mse, similarity_kl or info_nce, or project: linear"
        raise PotstillError(place, "no term teaches the first dimensions of a vector to serve alone", remedy)


def _check_labels(term: TermSpec, known: Known, where: str) -> None:
    """Check that a term has a meaning for labels of the data's kind.

    Raises:
        PotstillErrors: it has none.
    """
    name, kind = term.name, known.kind
    several = getattr(term.loss, "multilabel", False)
    with collect() as attempt:
        if getattr(term.loss, "other_labels", False) and kind not in ("", CLASSIFICATION):
            problem = f"{name}.other_labels takes texts of another class as negatives, and {kind} has not one class a text"
            attempt(refuse, where, problem, "set its other_labels to false")
        if name == "soft_target" and kind == MULTILABEL and not several:
            attempt(refuse, where, f"{name}: the labels are of classes that do not exclude each other", "add multilabel: true")
        if name == "soft_target" and kind == REGRESSION and several:
            attempt(refuse, where, f"{name}.multilabel is for classes, and a regression has a score", "drop it")
        if name == "soft_logit" and kind == MULTILABEL:
            problem = f"{name}: the labels are of classes that do not exclude each other"
            attempt(refuse, where, problem, "use logit_mse: theirs are logits already")


def _check_batch(recipe: Recipe, stage: Stage, term: TermSpec, known: Known, place: str, where: str) -> None:
    """Raise PotstillErrors where a term finds nothing to compare in the batches that it will see, or is not perturbed with them."""
    name, loss, size = term.name, term.loss, recipe.training.batch_size
    with collect() as attempt:
        if loss.negatives == "batch" and size < 2:
            attempt(refuse, f"{place}: training.batch_size", f"{name} has nothing to tell apart in a batch of one", "take 2 or more")
        outside = known.rows - size
        if loss.pool and outside < loss.pool < known.rows:  # the loss itself refuses as many as there are texts
            problem = f"{name}.count: {loss.pool} negatives are more than the {max(0, outside)} training texts outside a batch"
            attempt(refuse, where, problem, "take fewer, or a smaller training.batch_size")
        if stage.perturbation and recipe.task == EMBED and (loss.reads_pairs or name == "mlm"):
            attempt(refuse, f"{place}: stages.{stage.name}.perturb", f"does not go with {name}", "drop one of them")


def _check_inside(recipe: Recipe, term: TermSpec, heads: tuple[int, int], where: str) -> None:
    """Raise PotstillErrors where a term reads from inside attention what the two sides do not both have."""
    from potstill.models.output import INSIDE

    if term.loss.reads not in INSIDE:
        return
    with collect() as attempt:
        if term.loss.reads == "attention_scores":
            if all(heads) and heads[0] != heads[1]:
                attempt(refuse, where, f"the student has {heads[0]} heads, the teacher {heads[1]}", "give both as many")
            if recipe.student.vocabulary is not None:
                problem = f"{term.name} compares pairs of tokens, and the student has a vocabulary of its own"
                attempt(refuse, where, problem, "use hidden_states")
        attempt(check_attention, recipe, where)
