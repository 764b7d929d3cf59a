"""What a model's vectors are worth with fewer dimensions, and with fewer bits a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.evaluation.quality import encoded
from potstill.evaluation.subject import Subject
from potstill.runtime.vectors import PRECISIONS, as_floats, cut, quantize
from potstill.tasks.base import Encode, Task

KEPT = [name for name in PRECISIONS if name != "ubinary"]  # which holds the same bits as binary


def remembering(subject: Subject) -> Subject:
    """The model, whose `encode` answers at once when it is asked for the same texts as last time."""
    last: list[Any] = [None, None]

    def encode(texts: Sequence[str], title: str = "") -> NDArray[np.float32]:
        if last[0] != list(texts):
            last[:] = [list(texts), subject.encode(texts, title)]
        found: NDArray[np.float32] = last[1]
        return found

    return replace(subject, encode=encode)


def cheaper_vectors(subject: Subject, tasks: Sequence[Task], dimensions: Sequence[int]) -> list[dict[str, Any]]:
    """The scores of a model's vectors as they are, cut, and rounded.

    Args:
        subject: it encodes each text once where it is `remembering`.
        tasks: those that need vectors are scored.
        dimensions: to be cut to, beside all of them.

    Returns:
        A row for each dimension and precision: {"dimensions", "precision", "bytes" of a vector, "scores": task → its primary score,
        None where the vectors allow none: the signs of near vectors may all be alike}.
        No row where no task needs vectors. Where eight signs do not fill a byte there is no row of signs.
    """
    of_vectors = [task for task in tasks if task.needs == "embedding"]
    rows: list[dict[str, Any]] = []
    if not of_vectors:
        return rows
    texts = [text for task in of_vectors for text in task.texts()]
    whole = encoded(texts, subject.encode)
    for count in dict.fromkeys([subject.dimension, *sorted(dimensions, reverse=True)]):
        for precision in KEPT:
            bits = count * PRECISIONS[precision]
            if bits % 8:
                continue

            def rounded(distinct: Sequence[str], count: int = count, precision: str = precision) -> NDArray[np.float32]:
                return as_floats(quantize(cut(whole(distinct), count, subject.unit), precision), count)

            encode = encoded(texts, rounded)
            scores = {task.name: _primary(task, encode) for task in of_vectors}
            rows.append({"dimensions": count, "precision": precision, "bytes": bits // 8, "scores": scores})
    return rows


def _primary(task: Task, encode: Encode) -> float | None:
    try:
        found: float = task.evaluate(encode)[task.primary]
    except PotstillError:  # the vectors as they are were scored before: what fails here is the rounding's doing
        return None
    return found
