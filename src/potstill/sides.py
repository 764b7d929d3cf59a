"""What teacher and student will be, from a recipe and the folders' configurations, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.files import read_json
from potstill.material import Material

if TYPE_CHECKING:
    from potstill.training.objective import Sizes

Pooled = tuple[str, int]  # a pooling's name, and the width of a dense layer behind it, 0 for none


def config_of(folder: Path | None) -> dict[str, Any]:
    """A model's config.json, read without loading anything; empty when the model was not found."""
    if folder is None:
        return {}
    content = read_json(folder / "config.json")
    return content if isinstance(content, dict) else {}


def layers_of(config: dict[str, Any]) -> int:
    return int(config.get("num_hidden_layers") or config.get("n_layers") or 0)


def width_of(config: dict[str, Any]) -> int:
    return int(config.get("hidden_size") or config.get("dim") or 0)


def heads_of(config: dict[str, Any]) -> int:
    return int(config.get("num_attention_heads") or config.get("n_heads") or 0)


def inside_of(config: dict[str, Any], heads: int | None = None) -> int:
    """Width of queries, keys and values, of so many `heads` or all; 0 where the heads are not known."""
    own = heads_of(config)
    size = int(config.get("head_size") or (width_of(config) // own if own else 0))
    return (heads or own) * size


def dense_of(config: dict[str, Any]) -> int:
    """Width of a BiLSTM's dense layer, which its output layer reads; 0 for others, whose output layers read the model's width."""
    return int(config.get("dense_size") or 0)


def both_sizes(
    recipe: recipes.Recipe, source: dict[str, Any], teacher: dict[str, Any], read: Material | None, pooled: Sequence[Pooled]
) -> tuple[Sizes, Sizes | None, tuple[int, int]]:
    """Sizes of both sides as their configurations have them, and their heads; 0 where unknown."""
    from potstill.training.objective import Sizes

    def logits(config: dict[str, Any]) -> int:
        if recipe.masks:
            return int(config.get("vocab_size") or 0)
        # What the teacher's head tells apart is compared by name, apart from this.
        return max(1, len(read.names)) if read and recipe.labelled else 0

    width = recipe.student.hidden or width_of(source)

    student = recipe.student
    heads = student.heads or student.keep_heads if isinstance(student, recipes.TransformerStudent) else None
    dense = student.dense if isinstance(student, recipes.BiLSTMStudent) else dense_of(source)
    ours = Sizes(vector_width(pooled[1], width), width, logits(source), dense, 0 if student.built else inside_of(source, heads))
    theirs = None
    if recipe.teacher:
        theirs = Sizes(
            vector_width(pooled[0], width_of(teacher)), width_of(teacher), logits(teacher), dense_of(teacher), inside_of(teacher)
        )
    return ours, theirs, (heads or heads_of(source), heads_of(teacher))


def pooled_by(recipe: recipes.Recipe, teacher: Path | None, source: Path | None) -> tuple[Pooled, Pooled, Pooled]:
    """How teacher, student and the student's source are pooled, by the recipe or by their folders."""
    (theirs, behind), (ours, own) = _own_pooling(teacher), _own_pooling(source)
    given = recipe.teacher.pooling if recipe.teacher else None
    taught = given if recipe.student.model is None else None
    wanted = recipe.student.pooling or taught
    kept = wanted is None and not recipe.student.built  # else the source's dense layers are left out
    return (given or theirs, behind), (wanted or ours, own if kept else 0), (taught or ours, own)


def vector_width(pooled: Pooled, width: int) -> int:
    """Width of the vectors that come out of hidden states of `width`, 0 where that is not known."""
    from potstill.models.pooling import POOLINGS

    name, dense = pooled
    return dense or (POOLINGS[name].width(width) if name in POOLINGS else width)


def _own_pooling(folder: Path | None) -> Pooled:
    from torch import nn

    from potstill.models.sentence_format import read as layout_of

    layout = layout_of(folder) if folder is not None else None
    if layout is None:
        return "mean", 0
    return layout.pooling or "mean", [0, *(one.out_features for one in layout.dense if isinstance(one, nn.Linear))][-1]


def left_out_row(recipe: recipes.Recipe, student: Pooled, source: Pooled) -> str:
    """What `potstill check` says where the source has a dense layer behind its pooling and the student has none; else ""."""
    dense = source[1]
    if not dense or student[1] or recipe.task != recipes.EMBED or not isinstance(recipe.student, recipes.TransformerStudent):
        return ""
    why = "built anew" if recipe.student.built else f"pooled by {student[0]}"
    return f"the source's dense layer of {dense} dimensions, since the student is {why}"
