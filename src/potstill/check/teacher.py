"""Whether a teacher has what a recipe's terms read of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from potstill.check.shapes import config_of
from potstill.corpus.read import Corpus
from potstill.errors import PotstillError
from potstill.recipe.recipe import EMBED, MLM, Recipe


def check_head(recipe: Recipe, folder: Path, corpus: Corpus, asked: Collection[str]) -> None:
    """Check that a teacher's logits are about what the data is about, where a term or dual training reads them.

    Args:
        folder: the teacher's.
        asked: names of the fields that the terms read of it.

    Raises:
        PotstillError: another head, other labels, or another order of theirs.
    """
    from potstill.models.heads import saved_head
    from potstill.models.output import LOGITS, POOLED
    from potstill.tasks.labelled import label_order

    if not {LOGITS.name, POOLED.name} & set(asked) and not any(stage.dual for stage in recipe.stages):
        return
    kind, labels = saved_head(folder)
    if kind != corpus.kind:
        way_out = "adapt it with task: mlm first" if corpus.kind == MLM else "fine-tune it on this task"
        has = "has no head" if kind == EMBED else f"has a head for {kind}"
        raise PotstillError("teacher.model", f"{has}, and a term reads logits of {corpus.kind}", way_out)
    if label_order(corpus.names, labels, "teacher.model") != list(range(len(corpus.names))):
        raise PotstillError("teacher.model", f"orders its labels otherwise than the data: {', '.join(labels)}", "fine-tune it on this data")


def check_attention(recipe: Recipe, place: str) -> None:
    """Check that what happens inside attention can be read of teacher and student.

    Raises:
        PotstillError: a model that computes attention by itself.
    """
    import transformers

    from potstill.models.recording import shows_attention
    from potstill.models.source import model_folder

    for name in (recipe.teacher.model if recipe.teacher else None, recipe.student.model):
        if name is None:
            continue
        config = config_of(model_folder(name))
        known = config.get("model_type") in transformers.CONFIG_MAPPING
        kind: Any = transformers.MODEL_MAPPING.get(transformers.CONFIG_MAPPING[config["model_type"]], None) if known else None
        if isinstance(kind, type) and not shows_attention(kind):
            problem = f"a {config['model_type']} ({name}) computes attention by itself: nothing inside can be read"
            raise PotstillError(place, problem, "use hidden_states or logits")
