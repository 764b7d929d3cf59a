"""Scores of one model over many tasks, every distinct text encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.tasks.base import Encode, Predictor, Task


def score(tasks: Sequence[Task], encode: Encode, predict: Predictor | None = None) -> dict[str, dict[str, Any]]:
    """Name of each task → its measures.

    The STS years share sentences with each other and within themselves; the distinct ones are three
    quarters of all. Encoding them in one call also lets the encoder batch by length over all of them.

    Args:
        encode: n texts → (n, d) vectors in the same order; called once, if a task needs vectors.
        predict: the model's head, None where it has none.

    Raises:
        PotstillError: a task needs a head and there is none, or refuses what the model gives.
    """
    for task in tasks:
        if task.needs == "logits" and predict is None:
            raise PotstillError(task.name, "the model has no head that gives labels", "fine-tune it on the task, or name a model that was")
    of_vectors = [task for task in tasks if task.needs == "embedding"]
    number = {text: row for row, text in enumerate(dict.fromkeys(text for task in of_vectors for text in task.texts()))}
    vectors = encode(list(number)) if of_vectors else np.empty((0, 0), dtype=np.float32)  # (distinct, d)
    looked_up = _looked_up(vectors, number)
    return {task.name: task.evaluate(predict if task.needs == "logits" else looked_up) for task in tasks}


def _looked_up(vectors: NDArray[np.floating], number: dict[str, int]) -> Callable[[Sequence[str]], NDArray[np.floating]]:
    return lambda texts: vectors[[number[text] for text in texts]]
