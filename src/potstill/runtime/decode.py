"""From logits to labels, tags and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.runtime.folder import CLASSIFICATION, MULTILABEL, REGRESSION

THRESHOLD = 0.5  # probability from which a label of several counts as given


def answers(
    kind: str, labels: Sequence[str], logits: NDArray[np.floating] | Sequence[NDArray[np.floating]], texts: Sequence[Any]
) -> list[dict[str, Any]]:
    """The answers that logits stand for: one mapping for each text, in order, ready for JSON.

    Args:
        kind: the head: "classification", "multilabel", "regression" or "tagging".
        labels: names in the order of the logits.
        logits: (n, classes); for tagging n arrays (words, tags), at most as many words as the text has.
        texts: for tagging each the list of its words; else only their number counts.

    Returns:
        classification: {"label", "score"}, the score is the label's probability.
        multilabel: {"labels", "scores"}, the labels of probability 0.5 or more, in the order of `labels`.
        regression: {"score"}.
        tagging: {"tokens", "tags"}, the words and a tag for each, None for a word beyond the model's length.

    Raises:
        PotstillError: the logits hold NaN or infinity, which an answer would hide.
    """
    require_finite(logits, "predictions", "logits")
    if kind == REGRESSION:
        return [{"score": _number(value)} for value in np.asarray(logits).reshape(len(texts))]
    if kind == CLASSIFICATION:
        chances = _softmax(np.asarray(logits))
        return [{"label": labels[int(row.argmax())], "score": _number(row.max())} for row in chances]
    if kind == MULTILABEL:
        chances = 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))
        return [_given(labels, row) for row in chances]
    return [_tags(labels, rows, list(words)) for rows, words in zip(logits, texts, strict=True)]


def require_finite(rows: NDArray[np.floating] | Sequence[NDArray[np.floating]], place: object, what: str) -> None:
    """Check that a model gave numbers.

    Args:
        rows: what it gave for each text, in order.
        place: what the error names.
        what: the rows are: "vectors" or "logits".

    Raises:
        PotstillError: some row holds NaN or infinity.
    """
    broken = [number for number, row in enumerate(rows, start=1) if not np.isfinite(row).all()]
    if broken:
        raise PotstillError(
            place,
            f"the {what} of {len(broken)} of {len(rows)} texts hold NaN or infinity, first of text {broken[0]}",
            "the model is broken: train it again, in fp32",
        )


def _given(labels: Sequence[str], chances: NDArray[np.float64]) -> dict[str, Any]:
    given = np.flatnonzero(chances >= THRESHOLD)
    return {"labels": [labels[int(number)] for number in given], "scores": [_number(chances[number]) for number in given]}


def _tags(labels: Sequence[str], rows: NDArray[np.floating], words: list[str]) -> dict[str, Any]:
    tags: list[str | None] = [labels[int(number)] for number in rows.argmax(1)]
    return {"tokens": words, "tags": tags + [None] * (len(words) - len(tags))}


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, classes) logits → probabilities. A row's greatest logit is subtracted first: exp would overflow."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _number(value: np.floating) -> float:
    return round(float(value), 6)
