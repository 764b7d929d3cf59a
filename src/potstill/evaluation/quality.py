"""Scores of one encoder over many tasks, every distinct text encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.tasks.base import Encode, Task


def score(tasks: Sequence[Task], encode: Encode) -> dict[str, dict[str, Any]]:
    """Name of each task → its measures.

    The STS years share sentences with each other and within themselves; the distinct ones are three
    quarters of all. Encoding them in one call also lets the encoder batch by length over all of them.

    Args:
        encode: n texts → (n, d) vectors in the same order; called once.

    Raises:
        PotstillError: a task refuses the vectors.
    """
    number = {text: row for row, text in enumerate(dict.fromkeys(text for task in tasks for text in task.texts()))}
    vectors = encode(list(number))  # (distinct, d)
    return {task.name: task.evaluate(_looked_up(vectors, number)) for task in tasks}


def _looked_up(vectors: NDArray[np.floating], number: dict[str, int]) -> Callable[[Sequence[str]], NDArray[np.floating]]:
    return lambda texts: vectors[[number[text] for text in texts]]
