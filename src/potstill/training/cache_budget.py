"""What each field of the teacher takes on disk, and which of them are kept there within a budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from potstill.models.output import LOGITS, Field

TOKENS = frozenset({"hidden_states", "queries", "keys", "values"})  # a vector a token
SQUARES = frozenset({"attention_scores"})  # a matrix a text


def kept_fields(sizes: Mapping[Field, int], budget: float, stages: Sequence[Collection[Field]], layers: int) -> frozenset[Field]:
    """The fields to keep on disk; the teacher computes the others in every step.

    From the smallest to the bulkiest while they fit; of equally large ones the highest layer first,
    since the live teacher is cut above the highest layer that it must give. A field that fits is
    left to the live teacher all the same where every stage that reads it has the teacher run that
    far or farther anyway: to keep it would take a pass over all texts and spare none.

    Args:
        sizes: bytes of every field that is read.
        budget: bytes that all kept fields may take together.
        stages: what each stage reads.
        layers: of the teacher; pooled vectors and logits stand at the last one.
    """

    def level(field: Field) -> int:
        return layers if field.layer is None else field.layer

    fitting: set[Field] = set()
    room = budget
    for field in sorted(sizes, key=lambda field: (sizes[field], -level(field), field)):
        room -= sizes[field]
        if room < 0:
            break
        fitting.add(field)
    spared: set[Field] = set()
    for reads in stages:
        reached = max((level(field) for field in reads if field not in fitting), default=-1)
        spared |= {field for field in fitting.intersection(reads) if level(field) > reached}
    return frozenset(spared)


def cache_bytes(lengths: np.ndarray, field: Field, model: Any, tags: bool = False, half: bool = False) -> int:
    """Bytes that a field of texts of these lengths takes on disk.

    Args:
        model: anything with `dimension`, `width`, `heads` and `labels`.
        tags: whether the logits have an axis of tokens.
    """
    width = model.width
    if field.name in SQUARES:
        width = model.heads
    elif field.name == "embedding":
        width = model.dimension
    elif field == LOGITS:
        width = max(1, len(model.labels))
    return int(lines(lengths, field, tags).sum()) * width * (2 if half else 4)


def axis(field: Field, tags: bool) -> str:
    """What there is a line of numbers for: a text, a token, or a pair of tokens."""
    if field.name in SQUARES:
        return "square"
    return "token" if field.name in TOKENS or (field == LOGITS and tags) else "text"


def lines(lengths: np.ndarray, field: Field, tags: bool) -> np.ndarray:
    """(n,) lines of numbers of each text."""
    return {"text": np.ones_like(lengths), "token": lengths, "square": lengths * lengths}[axis(field, tags)]
