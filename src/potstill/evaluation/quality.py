"""Scores of one model over many tasks, every distinct text encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from potstill.errors import PotstillError
from potstill.runtime.folder import COSINE
from potstill.tasks.base import Embedder, Encode, Predictor, Task
from potstill.tasks.retrieval import Retrieval


def score(tasks: Sequence[Task], encode: Encode, predict: Predictor | None = None, similarity: str = COSINE) -> dict[str, dict[str, Any]]:
    """Name of each task → its measures.

    The STS years share sentences with each other and within themselves; the distinct ones are three
    quarters of all. Encoding them in one call also lets the encoder batch by length over all of them.

    Args:
        encode: n texts → (n, d) vectors in the same order; called once, if a task needs vectors. A task that needs an
            encoder calls it besides.
        predict: the model's head, None where it has none.
        similarity: how the model's vectors are to be compared, for tasks that need an encoder.

    Raises:
        PotstillError: a task needs a head and there is none, or refuses what the model gives.
    """
    for task in tasks:
        if task.needs == "logits" and predict is None:
            raise PotstillError(task.name, "the model has no head that gives labels", "fine-tune it on the task, or name a model that was")
    looked_up = encoded([text for task in tasks if task.needs == "embedding" for text in task.texts()], encode)
    given = {"logits": predict, "embedding": looked_up, "encoder": Embedder(encode, similarity)}
    return {task.name: task.evaluate(given[task.needs]) for task in tasks}


def score_asymmetric(tasks: Sequence[Retrieval], encode_queries: Encode, encode_documents: Encode) -> dict[str, dict[str, Any]]:
    """Name of each retrieval task → its measures, with queries encoded by one model and documents by another of the same space.

    A PotstillError comes through where a vector is not finite.

    Args:
        tasks: which tasks.
        encode_queries: n texts → (n, d) vectors in the same order; called once.
        encode_documents: n texts → (n, d) vectors in the same order; called once.
    """
    queries = encoded([text for task in tasks for text in task.queries], encode_queries)
    documents = encoded([text for task in tasks for text in task.documents], encode_documents)
    return {task.name: task.evaluate(queries, documents) for task in tasks}


def encoded(texts: Sequence[str], encode: Encode) -> Encode:
    """What looks up the vectors of any of `texts`, each distinct one encoded once, all in one call.

    Args:
        texts: that will be asked for, any of them more than once.
        encode: n texts → (n, d) vectors in the same order.
    """
    number = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = encode(list(number)) if number else np.empty((0, 0), dtype=np.float32)  # (distinct, d)
    return lambda texts: vectors[[number[text] for text in texts]]
