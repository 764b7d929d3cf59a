"""What teacher and student will be, from a recipe and the folders' configurations, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.corpus.read import Corpus
from potstill.machine.files import read_json
from potstill.recipe.recipe import EMBED, Recipe
from potstill.recipe.student import BiLSTMStudent, TransformerStudent
from potstill.runtime.architecture import dense_of, heads_of, inside_of, width_of

if TYPE_CHECKING:
    from potstill.objective.sizes import Sizes

Pooled = tuple[str, int]  # a pooling's name, and the width of a dense layer behind it, 0 for none


def config_of(folder: Path | None) -> dict[str, Any]:
    """A model's config.json, read without loading anything; empty when the model was not found."""
    if folder is None:
        return {}
    content = read_json(folder / "config.json")
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class Sides:
    """Both sides' folders and what these say; a folder is None, and its configuration empty, where no model was found.

    Attributes:
        teacher, source: the configurations (config.json) of the teacher, and of the encoder that the student is made of.
        teacher_pooled, student_pooled, source_pooled: how each is pooled, by the recipe or by its folder.
    """

    teacher_folder: Path | None
    source_folder: Path | None
    teacher: dict[str, Any]
    source: dict[str, Any]
    teacher_pooled: Pooled = ("mean", 0)
    student_pooled: Pooled = ("mean", 0)
    source_pooled: Pooled = ("mean", 0)


def read_sides(recipe: Recipe, attempt: Callable[..., Any]) -> Sides:
    """Find both sides' folders and read their configurations; what is wrong is remembered by `attempt` (errors.collect)."""
    from potstill.models.source import model_folder

    teacher = attempt(model_folder, recipe.teacher.model) if recipe.teacher else None
    source = attempt(model_folder, recipe.student.model) if recipe.student.model else teacher
    own = attempt(config_of, teacher) or {}
    pooled = attempt(pooled_by, recipe, teacher, source) or (("mean", 0),) * 3
    return Sides(teacher, source, own, own if source == teacher else attempt(config_of, source) or {}, *pooled)


def both_sizes(recipe: Recipe, sides: Sides, corpus: Corpus | None) -> tuple[Sizes, Sizes | None, tuple[int, int]]:
    """Sizes of both sides as their configurations have them, and their heads; 0 where unknown."""
    from potstill.objective.sizes import Sizes

    student, source, teacher = recipe.student, sides.source, sides.teacher

    def logits(config: dict[str, Any]) -> int:
        if recipe.masks:
            return int(config.get("vocab_size") or 0)
        # What the teacher's head tells apart is compared by name, apart from this.
        return max(1, len(corpus.names)) if corpus and recipe.labelled else 0

    width = student.hidden or width_of(source)
    heads = student.heads or student.keep_heads if isinstance(student, TransformerStudent) else None
    dense = student.dense if isinstance(student, BiLSTMStudent) else dense_of(source)
    inside = 0 if student.built else inside_of(source, heads)
    theirs = None
    if recipe.teacher:
        wide = width_of(teacher)
        theirs = Sizes(vector_width(sides.teacher_pooled, wide), wide, logits(teacher), dense_of(teacher), inside_of(teacher))
    vectors = theirs.embedding if theirs and student.align else vector_width(sides.student_pooled, width)
    ours = Sizes(vectors, width, logits(source), dense, inside)
    return ours, theirs, (heads or heads_of(source), heads_of(teacher))


def pooled_by(recipe: Recipe, teacher: Path | None, source: Path | None) -> tuple[Pooled, Pooled, Pooled]:
    """How teacher, student and the student's source are pooled, by the recipe or by their folders."""
    (theirs, behind), (ours, own) = _own_pooling(teacher), _own_pooling(source)
    told = recipe.teacher.pooling if recipe.teacher else None
    taught = told if recipe.student.model is None else None
    wanted = recipe.student.pooling or taught
    kept = wanted is None and not recipe.student.built  # else the source's dense layers are left out
    return (told or theirs, behind), (wanted or ours, own if kept else 0), (taught or ours, own)


def vector_width(pooled: Pooled, width: int) -> int:
    """Width of the vectors that come out of hidden states of `width`, 0 where that is not known."""
    from potstill.models.pooling import POOLINGS

    name, dense = pooled
    return dense or (POOLINGS[name].width(width) if name in POOLINGS else width)


def _own_pooling(folder: Path | None) -> Pooled:
    from torch import nn

    from potstill.models.sentence_read import read as layout_of

    layout = layout_of(folder) if folder is not None else None
    if layout is None:
        return "mean", 0
    return layout.pooling or "mean", [0, *(one.out_features for one in layout.dense if isinstance(one, nn.Linear))][-1]


def left_out_row(recipe: Recipe, student: Pooled, source: Pooled) -> str:
    """What `potstill check` says where the source has a dense layer behind its pooling and the student has none; else ""."""
    dense = source[1]
    if not dense or student[1] or recipe.task != EMBED or not isinstance(recipe.student, TransformerStudent):
        return ""
    why = "built anew" if recipe.student.built else f"pooled by {student[0]}"
    return f"the source's dense layer of {dense} dimensions, since the student is {why}"
