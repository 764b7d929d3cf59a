"""What a checked recipe will do, in rows to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.check.cache import CacheEstimate
from potstill.check.cuts import cut_rows
from potstill.check.plan import RunPlan
from potstill.check.shapes import Sides, left_out_row, vector_width
from potstill.check.vocabulary import saved_by
from potstill.recipe.recipe import EMBED, Recipe, Stage
from potstill.recipe.student import BiLSTMStudent, StaticStudent, Student, TransformerStudent
from potstill.runtime.architecture import layers_of, width_of

if TYPE_CHECKING:
    from potstill.objective.sizes import TermSpec

Rows = list[tuple[str, str]]  # title and text of each
GATED = "exported only if the quality gate passes"


@dataclass(frozen=True)
class Outline:
    """What a check found out beside the plan, for people.

    Attributes:
        cache: None where no cache of the teacher is made.
        teaches: whether a term reads the teacher.
        vocabulary: pieces of the student.
        importance: of the source's layers, where they are chosen by it.
    """

    sides: Sides
    cache: CacheEstimate | None
    teaches: bool
    vocabulary: int
    importance: list[float] | None


def outline_rows(recipe: Recipe, plan: RunPlan, found: Outline) -> Rows:
    """All that `potstill check` says of a recipe, as (title, text)."""
    rows = _data_rows(recipe, plan) + _teacher_rows(recipe, found) + _student_rows(recipe, plan, found)
    rows += [
        ("training", training_row(recipe)),
        ("best checkpoint by", recipe.select),
        ("evaluate", ", ".join(recipe.evaluate) or "nothing"),
    ]
    for stage in plan.stages:
        rows += stage_rows(stage.stage, stage.terms)
    return rows + int8_rows(recipe)


def _data_rows(recipe: Recipe, plan: RunPlan) -> Rows:
    corpus = plan.corpus
    labels = f": {corpus.kind}, {', '.join(corpus.names) or 'one score'}" if recipe.labelled else ""
    return [("task", recipe.task + labels), ("texts", texts_row(recipe, len(corpus.texts), len(corpus.held_out)))]


def _teacher_rows(recipe: Recipe, found: Outline) -> Rows:
    if recipe.teacher is None:
        return []
    teacher = found.sides.teacher
    without = "none: the teacher runs in every step" if found.teaches else "none: no term reads the teacher"
    return [
        ("teacher", f"{recipe.teacher.model}: {layers_of(teacher)} layers, width {width_of(teacher)}"),
        *_folder_rows(recipe, "teacher's folder", found.sides.teacher_folder),
        ("teacher cache", found.cache.line() if found.cache else without),
    ]


def _student_rows(recipe: Recipe, plan: RunPlan, found: Outline) -> Rows:
    student, sides = recipe.student, found.sides
    width, source = width_of(sides.source), sides.source
    rows = [("student", f"{student_row(student, plan.layers, layers_of(source))}, width {student.hidden or width}")]
    if recipe.teacher is None or student.model is not None:  # else it is the teacher's
        rows += _folder_rows(recipe, "source's folder", sides.source_folder)
    if student.align is not None and plan.teacher is not None:
        rows.append(("vectors", _aligned_row(sides, plan.teacher.model.dimension, student.hidden or width)))
    if left_out := left_out_row(recipe, sides.student_pooled, sides.source_pooled):
        rows.append(("left out", left_out))
    if plan.pieces:
        rows.append(("vocabulary", saved_by(plan.pieces, int(source.get("vocab_size") or 0), student.table_width or width)))
    return rows + cut_rows(student, source, plan.layers, found.vocabulary, found.importance)


def _aligned_row(sides: Sides, dimension: int, width: int) -> str:
    """How the student's vectors come into the teacher's space, of `dimension` numbers, out of hidden states of `width`."""
    from potstill.models.sentence_read import read
    from potstill.student.aligned import ends_at

    said = f"{dimension} wide, the teacher's space: "
    kept = sides.source_folder if sides.student_pooled[1] else None
    if kept is not None and ends_at(read(kept).dense, dimension):
        return f"{said}the source's own dense layer stays in the student, and is trained on"
    return f"{said}a dense layer of {vector_width(sides.student_pooled, width)} × {dimension} is trained with the student and stays in it"


def _folder_rows(recipe: Recipe, title: str, folder: Path | None) -> Rows:
    """What a sentence-transformers folder says beside its modules, and which of its prompts are not used; none where it says nothing."""
    from potstill.models.sentence_read import read

    notes = read(folder).notes() if folder is not None and recipe.task == EMBED else []
    return [(title, "; ".join(notes))] if notes else []


def student_row(student: Student, layers: list[int], total: int) -> str:
    """Where the student comes from, and its layers."""
    if isinstance(student, BiLSTMStudent):
        return f"BiLSTM with the pieces of {student.model or 'the teacher'}: {student.layers} layer{'s' * (student.layers > 1)}"
    if isinstance(student, StaticStudent):
        return f"static, a vector for each piece of {student.model or 'the teacher'}"
    kept = f"{layers[0]} layers, built small" if student.built else f"layers {', '.join(map(str, layers))} of {total}"
    return f"{student.model or 'cut from the teacher'}: {kept}"


def texts_row(recipe: Recipe, train: int, held_out: int) -> str:
    """How many texts there are, and how many more will be made of them."""
    augment = recipe.data.augment
    more = f" and up to {augment.copies} more made of each" if augment is not None and recipe.teacher is not None else ""
    return f"{train:,} to train on{more}, {held_out:,} held out"


def training_row(recipe: Recipe) -> str:
    """How long and how fast, which two runs must share to be compared; the length where the stages do not name their own."""
    training, first = recipe.training, recipe.stages[0]
    passes = "" if first.epochs or first.steps else f"{training.epochs:g} epoch{'s' * (training.epochs != 1)} in "
    batches = f"batches of {training.batch_size}" + (f" × {training.accumulate}" if training.accumulate > 1 else "")
    if training.neighbours is not None:
        share = "" if training.neighbours.share == 1 else f" for {training.neighbours.share:.0%} of the texts"
        batches += f" in groups of up to {training.neighbours.group} neighbours{share}"
    return f"{passes}{batches}, learning rate {training.learning_rate:g}, seed {training.seed}"


def stage_rows(stage: Stage, terms: Sequence[TermSpec]) -> list[tuple[str, str]]:
    """What a stage does, and below it the layer map of each term that has one."""
    length = (
        f"{stage.epochs:g} epochs"
        if stage.epochs
        else f"{stage.steps:,} steps"
        if stage.steps
        else f"{1 if stage.share is None else stage.share:.0%}"
    )
    rows = [f"{term.weight} × {term.name}" + ("" if term.project == "none" else f" ({term.project} projection)") for term in terms]
    rest = ", with gradient perturbation" if stage.perturbation else ""
    if stage.dual is not None:
        held = "" if stage.dual.project == "none" else f", weights projected {stage.dual.project} × {stage.dual.weight:g}"
        rest += f", a teacher that guesses too, {stage.dual.probability:.0%} of its words in the student's pieces{held}"
    rest += f", training {stage.train} alone" if stage.train != "all" else ""
    table: Rows = [(f"stage {stage.name}", f"{length}: " + " + ".join(rows) + rest)]
    for term in terms:
        if term.pairs:
            table.append(
                (f"  {term.name}", "  ".join(f"{ours} ← {theirs}" for ours, theirs in term.pairs) + "   (student ← teacher layer)")
            )
    return table


def int8_rows(recipe: Recipe) -> list[tuple[str, str]]:
    """What becomes of the int8 file where the gate refuses it."""
    if not recipe.export.onnx or recipe.export.limits is None:
        return []
    tune = recipe.export.limits.tuning
    if tune is None or not isinstance(recipe.student, TransformerStudent):
        return [("int8", GATED)]
    return [("int8", f"{GATED}; where it refuses, {tune.steps:,} steps of quantization-aware fine-tuning at {tune.learning_rate:g}")]
