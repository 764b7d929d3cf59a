"""What each field of the teacher takes on disk, and which of them are kept there within a budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from potstill.models.output import FIELDS, LOGITS, Field

TOGETHER = 1 << 20  # lengths that are looked at at once: those of very many texts are mapped into memory


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

    Returns:
        Those of the fields that are worth their place on disk.
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
    """Bytes that a field takes on disk.

    Args:
        lengths: (n,) tokens of each text.
        field: what is kept.
        model: anything with `dimension`, `width`, `heads` and `labels`.
        tags: whether the logits have an axis of tokens.
        half: whether it is kept in float16 instead of float32.
    """
    widths = {"embedding": model.dimension, "heads": model.heads, "logits": max(1, len(model.labels))}
    width = widths.get(FIELDS[field.name].width, model.width)
    total = sum(int(lines(lengths[start : start + TOGETHER], field, tags).sum()) for start in range(0, len(lengths), TOGETHER))
    return total * width * (2 if half else 4)


def axis(field: Field, tags: bool) -> str:
    """What a field has one vector for: a "text", a "token", or a "pair" of tokens.

    Args:
        field: any.
        tags: whether the logits have an axis of tokens.
    """
    return "token" if field == LOGITS and tags else FIELDS[field.name].axis


def lines(lengths: np.ndarray, field: Field, tags: bool) -> np.ndarray:
    """How many vectors of a field each text has.

    Args:
        lengths: (n,) tokens of each text.
        field: any.
        tags: whether the logits have an axis of tokens.

    Returns:
        (n,): 1, its tokens, or their square.
    """
    return {"text": np.ones_like(lengths), "token": lengths, "pair": lengths * lengths}[axis(field, tags)]
