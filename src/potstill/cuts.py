"""What a recipe's student leaves out of its source beside whole layers by rule: layers by importance, heads, ranks of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.errors import PotstillError, collect
from potstill.material import Material, kept
from potstill.sides import heads_of, layers_of, width_of

if TYPE_CHECKING:
    from potstill.data.batches import TokenizedTexts
    from potstill.models.encoder import EncoderModel

SAMPLE = 128  # training texts that importance is measured on


def kept_layers(
    student: recipes.Student, read: Material | None, folder: Path | None, total: int, place: str
) -> tuple[list[int], list[float] | None]:
    """preflight's Facts.layers, none where the source is not known; and their importance, where they are chosen by it.

    Args:
        read, folder: None where the data, or the source, is not known.
        total: layers of the source, 0 where unknown.
    """
    from potstill.models.transformer import IMPORTANCE, choose_layers

    if not isinstance(student, recipes.TransformerStudent):
        return [student.layers], None
    if student.built:
        return [int(student.layers)], None  # type: ignore[arg-type]  # a number, as the recipe's check saw
    importance = None
    if student.rule == IMPORTANCE and isinstance(student.layers, int):
        if read is None or folder is None:
            return [], None
        importance = measured_layers(read, folder, student.max_length)
    return choose_layers(student.layers, student.rule, total, f"{place}: student.layers", importance) if total else [], importance


def measured_layers(material: Material, folder: Path, max_length: int) -> list[float]:
    """Importance of each layer of a model, from layer 1 on; kept in the cache, so that the same texts choose the same layers.

    Args:
        folder: the model's.
        max_length: tokens a text is cut to.
    """
    from potstill.models.layer_importance import layer_importance
    from potstill.models.loading import load_encoder

    texts = sample(material.texts)

    def measured() -> list[float]:
        model = load_encoder(folder, kind="embed", max_length=max_length)
        return layer_importance(model, as_tokens(model, texts))

    return kept("layers.json", folder, texts, {"layers": "importance", "max_length": max_length}, measured)


def sample(texts: Sequence[Any]) -> list[Any]:
    """SAMPLE of the texts, evenly apart: the same for the same texts, and of every part of them."""
    count = min(SAMPLE, len(texts))
    return [texts[number * len(texts) // count] for number in range(count)]


def as_tokens(model: EncoderModel, texts: Sequence[Any]) -> TokenizedTexts:
    """The texts as the model reads them."""
    from potstill.data.batches import tokenize

    return tokenize(model.tokenizer, texts, model.max_length)


def make_cuts(wanted: recipes.TransformerStudent, student: EncoderModel, material: Material) -> None:
    """Leave out of a student, in place, the heads and ranks that the recipe does not keep."""
    if wanted.keep_heads is not None:
        from potstill.models.head_pruning import prune_heads

        prune_heads(student, wanted.keep_heads, as_tokens(student, sample(material.texts)))
    if wanted.embedding_rank is not None or wanted.ffn_rank is not None:
        from potstill.models.low_rank import factor

        factor(student, embedding=wanted.embedding_rank, ffn=wanted.ffn_rank)


def check_cuts(student: recipes.Student, source: dict[str, Any], vocabulary: int, place: str) -> None:
    """Raise PotstillErrors where the source cannot be cut as the recipe says, or would not become smaller.

    Args:
        source: its configuration, empty where it is not known.
        vocabulary: pieces of the student.
    """
    from potstill.models.compact import CompactConfig, require_bert
    from potstill.models.low_rank import require_whole

    if not isinstance(student, recipes.TransformerStudent) or not source:
        return
    kind = str(source.get("model_type"))
    if student.built and kind == CompactConfig.model_type:
        raise PotstillError(f"{place}: student.model", f"a {kind} is no pattern for a student built small", "name a whole BERT")
    width, ffn, heads = width_of(source), int(source.get("intermediate_size") or 0), heads_of(source)
    with collect() as attempt:
        if student.keep_heads is not None:
            attempt(require_bert, kind, f"{place}: student.keep_heads")
            if 0 < heads < student.keep_heads:
                problem = f"{student.keep_heads} heads asked of layers that have {heads}"
                attempt(_refuse, f"{place}: student.keep_heads", problem, f"ask for {heads} at most")
        for key, size, rank, shape in (
            ("embedding_rank", "embedding_size", student.embedding_rank, (vocabulary, width)),
            ("ffn_rank", "ffn_rank", student.ffn_rank, (width, ffn)),
        ):
            if rank is None:
                continue
            attempt(require_whole, source, size, f"{place}: student.{key}")
            largest = shape[0] * shape[1] // max(1, sum(shape))
            if rank > largest > 0:
                problem = f"at rank {rank} the two factors of a {shape[0]} × {shape[1]} matrix are larger than itself"
                attempt(_refuse, f"{place}: student.{key}", problem, f"take {largest} at most")


def cut_rows(
    student: recipes.Student, source: dict[str, Any], layers: Sequence[int], vocabulary: int, importance: Sequence[float] | None
) -> list[tuple[str, str]]:
    """For the table of `potstill check`: what layers were chosen by, and what the cuts within layers save."""
    from potstill.models.compact import compact_config, counted

    rows = []
    if importance is not None:
        shown = "  ".join(f"{number} {value:.3f}" for number, value in enumerate(importance, start=1))
        rows.append(("importance", f"{shown}   (layer, 1 − cosine of what goes in and out)"))
    if not isinstance(student, recipes.TransformerStudent) or not student.cut:
        return rows
    told = {
        "num_attention_heads": (student.keep_heads, f"{student.keep_heads} of {heads_of(source)} heads a layer"),
        "embedding_size": (student.embedding_rank, f"token table of rank {student.embedding_rank}"),
        "ffn_rank": (student.ffn_rank, f"feed-forward matrices of rank {student.ffn_rank}"),
    }
    sizes = {size: value for size, (value, _) in told.items() if value is not None}
    own = source | {"num_hidden_layers": len(layers) or layers_of(source), "vocab_size": vocabulary}
    before, after = counted(compact_config(own)), counted(compact_config(own, **sizes))
    what = ", ".join(words for size, (_, words) in told.items() if size in sizes)
    parts = f"(embedding {before[0]:,} → {after[0]:,}, rest {before[1]:,} → {after[1]:,})"
    rows.append(("cut to", f"{what}: {sum(before):,} parameters → {sum(after):,} {parts}"))
    return rows


def _refuse(place: str, problem: str, remedy: str) -> None:
    raise PotstillError(place, problem, remedy)
