"""Cuts within a student: layers by importance, attention heads, and the ranks of its matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.corpus.read import Corpus
from potstill.machine.cache import cached_json
from potstill.recipe.student import Student, TransformerStudent
from potstill.registry import EMBED

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel
    from potstill.runtime.tokens import TokenizedTexts

SAMPLE = 128  # training texts that importance is measured on


def kept_layers(student: Student, read: Corpus | None, folder: Path | None, total: int, place: str) -> tuple[list[int], list[float] | None]:
    """Which layers of its source a student keeps.

    A PotstillError from `choose_layers` comes through: no layer or rule of the source is what the recipe asks for.

    Args:
        student: the recipe's.
        read: what it will be trained on; None where the data is not known.
        folder: of the source; None where that is not known.
        total: layers of the source, 0 where unknown.
        place: of the recipe, which errors name.

    Returns:
        Layer numbers from 1; for a student built from scratch the layer count alone; none where the source is not known.
        Beside them the importance of every layer of the source, where the rule asked for it.
    """
    from potstill.models.layer_rules import IMPORTANCE
    from potstill.student.transformer import choose_layers

    if not isinstance(student, TransformerStudent):
        return [student.layers], None
    if student.built:
        return [int(student.layers)], None  # type: ignore[arg-type]  # a number, as the recipe's check saw
    importance = None
    if student.rule == IMPORTANCE and isinstance(student.layers, int):
        if read is None or folder is None:
            return [], None
        importance = measured_layers(read, folder, student.max_length)
    return choose_layers(student.layers, student.rule, total, f"{place}: student.layers", importance) if total else [], importance


def measured_layers(corpus: Corpus, folder: Path, max_length: int) -> list[float]:
    """Importance of each layer of a model, from layer 1 on, as student/layer_importance.py has it.

    It is kept in the cache, so that the same texts choose the same layers.

    Args:
        corpus: SAMPLE of its texts are read.
        folder: the model's.
        max_length: tokens a text is cut to.
    """
    from potstill.models.loading import load_encoder
    from potstill.student.layer_importance import layer_importance

    texts = sample(corpus.texts)

    def measured() -> list[float]:
        model = load_encoder(folder, head=EMBED, max_length=max_length)
        return layer_importance(model, as_tokens(model, texts))

    return cached_json("layers.json", folder, texts, {"layers": "importance", "max_length": max_length}, measured)


def sample(texts: Sequence[Any]) -> list[Any]:
    """SAMPLE of the texts, evenly apart: the same for the same texts, and of every part of them."""
    count = min(SAMPLE, len(texts))
    return [texts[number * len(texts) // count] for number in range(count)]


def as_tokens(model: EncoderModel, texts: Sequence[Any]) -> TokenizedTexts:
    """The texts in the model's pieces, cut to its length."""
    return model.tokenize(texts)


def make_cuts(wanted: TransformerStudent, student: EncoderModel, corpus: Corpus) -> None:
    """Leave out of a student the heads and ranks that the recipe does not keep.

    A PotstillError from `prune_heads` or `factor` comes through: the student cannot be cut so.

    Args:
        wanted: the recipe's student.
        student: it is changed in place.
        corpus: SAMPLE of its texts tell which heads add least.
    """
    if wanted.keep_heads is not None:
        from potstill.student.head_pruning import prune_heads

        prune_heads(student, wanted.keep_heads, as_tokens(student, sample(corpus.texts)))
    if wanted.embedding_rank is not None or wanted.ffn_rank is not None:
        from potstill.student.low_rank import factor

        factor(student, embedding=wanted.embedding_rank, ffn=wanted.ffn_rank)
