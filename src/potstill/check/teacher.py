"""Whether a teacher has what a recipe's terms read of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.check.shapes import config_of
from potstill.corpus.read import Corpus
from potstill.errors import PotstillError, warn
from potstill.recipe.recipe import EMBED, MLM, Recipe
from potstill.runtime.folder import CLASSIFICATION, TAGGING

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel

SHOWN = 20  # labels that are told with their numbers
SCORED = 64  # dev rows that a teacher answers before any work


def check_head(recipe: Recipe, folder: Path, corpus: Corpus, asked: Collection[str], place: str = "teacher.model") -> None:
    """Check that a teacher's head is for what the data is about, where a term or dual training reads its logits or what makes them.

    Labels in another order than the data's are no mistake: they are matched by name.

    Args:
        folder: the teacher's.
        asked: names of the fields that the terms read of it.
        place: where the recipe names it, for the error.

    Raises:
        PotstillError: another head; or, where its logits are read, other labels, or labels without names.
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
        raise PotstillError(place, f"{has}, and a term reads logits of {corpus.kind}", way_out)
    if LOGITS.name in asked:
        label_order(corpus.names, labels, place, corpus.numbered)


def label_rows(corpus: Corpus, folder: Path | None) -> list[tuple[str, str]]:
    """The labels of the data and of the teacher, with their numbers, in rows (title, text); none of a task without labels.

    A PotstillError from saved_head comes through: the teacher's config.json cannot be read.

    Args:
        corpus: the data.
        folder: the teacher's; None where there is none.
    """
    from potstill.models.heads import saved_head
    from potstill.tasks.labelled import label_order, named, same_labels

    if not corpus.names:
        return []
    rows = [("labels", _numbered(corpus.names))]
    kind, labels = saved_head(folder) if folder is not None else ("", [])
    if kind == corpus.kind:
        called = named(labels, corpus.numbered)
        if not same_labels(corpus.names, labels, corpus.numbered):
            how = "others than the data's"
        elif label_order(corpus.names, labels, "teacher.model", corpus.numbered) == list(range(len(labels))):
            how = "in the data's order"
        else:
            how = "matched by name"
        meant = "" if called == labels else f", which are {_numbered(called)}"
        rows.append(("teacher's labels", f"{_numbered(labels)}{meant}: {how}"))
    return rows


def warn_of_chance(corpus: Corpus, teacher: EncoderModel) -> None:
    """Warn where a teacher labels dev rows no better than the most frequent label: its labels or its texts may be others.

    Args:
        corpus: the data; SCORED of its held-out rows are read. Of words to be tagged each counts, of several labels each.
        teacher: another head than the data's, and one for other labels, is not scored.
    """
    from potstill.tasks.base import Predictor
    from potstill.tasks.labelled import same_labels
    from potstill.tasks.labelled.matching import row_logits, word_logits

    kind, names = corpus.kind, corpus.names
    if not names or teacher.head != kind or not same_labels(names, teacher.labels, corpus.numbered):
        return
    count = min(SCORED, len(corpus.held_out))
    rows = [number * len(corpus.held_out) // count for number in range(count)]
    texts, gold = [corpus.held_out[row] for row in rows], [np.asarray(corpus.gold[row]) for row in rows]
    predict = Predictor(teacher.labels, kind, teacher.predict)
    if kind == TAGGING:
        found = word_logits(predict, names, texts, "teacher.model", corpus.numbered)
        answers = [logits.argmax(axis=1) for logits in found]
        gold = [own[: len(answer)] for own, answer in zip(gold, answers)]  # words beyond its length are not seen
    else:
        logits = row_logits(predict, kind, names, texts, "teacher.model", corpus.numbered)
        answers = list(logits.argmax(axis=1) if kind == CLASSIFICATION else (logits >= 0).astype(np.int64))
    said, given = np.concatenate([np.ravel(one) for one in answers]), np.concatenate([np.ravel(one) for one in gold]).astype(np.int64)
    hits, often = int((said == given).sum()), int(np.bincount(given).max(initial=0))
    if hits <= often < len(given):
        problem = f"answers {hits} of {len(given)} labels of {count} dev rows right, and the most frequent answer alone would {often}"
        warn("teacher.model", problem, "check that it was trained on such texts, and what its labels mean (data.labels)")


def _numbered(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(f"{number} {label}" for number, label in enumerate(labels[:SHOWN])) + more


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
        kind = kind[0] if isinstance(kind, tuple) else kind  # Funnel has one with a decoder and one without
        if isinstance(kind, type) and not shows_attention(kind):
            problem = f"a {config['model_type']} ({name}) computes attention by itself: nothing inside can be read"
            raise PotstillError(place, problem, "use hidden_states or logits")
