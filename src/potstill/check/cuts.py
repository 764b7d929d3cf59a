"""Whether a student can be cut within its layers as a recipe says, and what that saves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from potstill.errors import PotstillError, collect, refuse
from potstill.recipe.student import Student, TransformerStudent
from potstill.runtime.architecture import heads_of, layers_of, width_of


def check_cuts(student: Student, source: dict[str, Any], vocabulary: int, place: str) -> None:
    """Check that the source can be cut as the recipe says, and becomes smaller by it.

    Args:
        source: its configuration, empty where it is not known.
        vocabulary: pieces of the student.

    Raises:
        PotstillErrors: everything wrong, at once.
        PotstillError: one thing is wrong.
    """
    from potstill.models.compact import CompactConfig, require_bert
    from potstill.student.low_rank import require_whole

    if not isinstance(student, TransformerStudent) or not source:
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
                attempt(refuse, f"{place}: student.keep_heads", problem, f"ask for {heads} at most")
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
                attempt(refuse, f"{place}: student.{key}", problem, f"take {largest} at most")


def cut_rows(
    student: Student, source: dict[str, Any], layers: Sequence[int], vocabulary: int, importance: Sequence[float] | None
) -> list[tuple[str, str]]:
    """For the table of `potstill check`: what layers were chosen by, and what the cuts within layers save."""
    from potstill.models.compact import compact_config, counted

    rows = []
    if importance is not None:
        shown = "  ".join(f"{number} {value:.3f}" for number, value in enumerate(importance, start=1))
        rows.append(("importance", f"{shown}   (layer, 1 − cosine of what goes in and out)"))
    if not isinstance(student, TransformerStudent) or not student.cut:
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
