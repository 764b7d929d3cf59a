"""What a checked recipe will do, in rows to print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from potstill import recipe as recipes

if TYPE_CHECKING:
    from potstill.training.objective import TermSpec


def student_row(student: recipes.Student, layers: list[int], total: int) -> str:
    """Where the student comes from, and its layers."""
    if isinstance(student, recipes.BiLSTMStudent):
        return f"BiLSTM with the pieces of {student.model or 'the teacher'}: {student.layers} layer{'s' * (student.layers > 1)}"
    if isinstance(student, recipes.StaticStudent):
        return f"static, a vector for each piece of {student.model or 'the teacher'}"
    kept = f"{layers[0]} layers, built small" if student.built else f"layers {', '.join(map(str, layers))} of {total}"
    return f"{student.model or 'cut from the teacher'}: {kept}"


def texts_row(recipe: recipes.Recipe, train: int, held_out: int) -> str:
    """How many texts there are, and how many more will be made of them."""
    augment = recipe.data.augment
    more = f" and up to {augment.copies} more made of each" if augment is not None and recipe.teacher is not None else ""
    return f"{train:,} to train on{more}, {held_out:,} held out"


def training_row(recipe: recipes.Recipe) -> str:
    """How long and how fast, which two runs must share to be compared; the length where the stages do not name their own."""
    training, first = recipe.training, recipe.stages[0]
    passes = "" if first.epochs or first.steps else f"{training.epochs:g} epoch{'s' * (training.epochs != 1)} in "
    batches = f"batches of {training.batch_size}" + (f" × {training.accumulate}" if training.accumulate > 1 else "")
    return f"{passes}{batches}, learning rate {training.learning_rate:g}, seed {training.seed}"


def stage_rows(stage: recipes.Stage, terms: Sequence[TermSpec]) -> list[tuple[str, str]]:
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
    table = [(f"stage {stage.name}", f"{length}: " + " + ".join(rows) + rest)]
    for term in terms:
        if term.pairs:
            table.append(
                (f"  {term.name}", "  ".join(f"{ours} ← {theirs}" for ours, theirs in term.pairs) + "   (student ← teacher layer)")
            )
    return table


def int8_rows(recipe: recipes.Recipe) -> list[tuple[str, str]]:
    """What becomes of the int8 file where the gate refuses it."""
    if not recipe.export.onnx or recipe.export.limits is None:
        return []
    tune = recipe.export.limits.tuning
    if tune is None or not isinstance(recipe.student, recipes.TransformerStudent):
        return [("int8", "behind the gate")]
    return [("int8", f"behind the gate; where it refuses, {tune.steps:,} steps under the rounding at {tune.learning_rate:g}")]
