"""From logits to labels, tags and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.runtime.entities import entities, has_entities
from potstill.runtime.folder import CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING

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
        return [_given(labels, row) for row in _sigmoid(np.asarray(logits))]
    return [_tags(labels, rows, list(words)) for rows, words in zip(logits, texts, strict=True)]


def described(
    kind: str,
    labels: Sequence[str],
    logits: NDArray[np.floating] | Sequence[NDArray[np.floating]],
    texts: Sequence[Any],
    sources: Sequence[tuple[str, Sequence[tuple[int, int]]]] = (),
) -> list[dict[str, Any]]:
    """The answers with the texts that they are of, and with how sure each is.

    Args:
        kind, labels, logits, texts: as of `answers`.
        sources: for tagging the text that each list of words is of, and each word's place in it: the number of its first
            character and of the one behind its last.

    Returns:
        The mappings of `answers` behind "text" and, of a pair, "text_pair". With them:
        classification and multilabel: "probabilities", name → probability, of every label.
        tagging: "scores", the probability of each word's tag, and, where the tags are O, B-x and I-x, "entities": each has
        "label", "start" and "end" in the text's characters, "text" and "score", the mean over its words.

    Raises:
        PotstillError: as of `answers`.
    """
    found = answers(kind, labels, logits, texts)
    if kind == TAGGING:
        tagged = zip(found, logits, sources, strict=True)
        return [{"text": text, **answer, **_sure(labels, rows, answer["tags"], text, places)} for answer, rows, (text, places) in tagged]
    told = [{"text": text} if isinstance(text, str) else dict(zip(("text", "text_pair"), text)) for text in texts]
    if kind == REGRESSION:
        return [{**text, **answer} for text, answer in zip(told, found, strict=True)]
    chances = _softmax(np.asarray(logits)) if kind == CLASSIFICATION else _sigmoid(np.asarray(logits))
    return [
        {**text, **answer, "probabilities": {label: _number(chance) for label, chance in zip(labels, row, strict=True)}}
        for text, answer, row in zip(told, found, chances, strict=True)
    ]


def _sure(
    labels: Sequence[str], rows: NDArray[np.floating], tags: Sequence[str | None], text: str, places: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The probability of each word's tag, None where it has none, and the entities."""
    chances = _softmax(rows).max(1) if len(rows) else np.zeros(0)
    scores = [*map(_number, chances), *[None] * (len(tags) - len(rows))]
    if not has_entities(labels):
        return {"scores": scores}
    spans = [
        (entity.kind, places[entity.start][0], places[entity.end - 1][1], _number(chances[entity.start : entity.end].mean()))
        for entity in entities([tag for tag in tags if tag is not None])
    ]
    named = [{"label": kind, "start": start, "end": end, "text": text[start:end], "score": score} for kind, start, end, score in spans]
    return {"scores": scores, "entities": named}


def require_finite(rows: NDArray[np.floating] | Sequence[NDArray[np.floating]], place: object, what: str, before: int = 0) -> None:
    """Check that a model gave numbers.

    Args:
        rows: what it gave for each text, in order.
        place: what the error names.
        what: the rows are: "vectors" or "logits".
        before: how many texts came before these.

    Raises:
        PotstillError: some row holds NaN or infinity.
    """
    broken = [number for number, row in enumerate(rows, start=before + 1) if not np.isfinite(row).all()]
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


def _sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))


def _number(value: np.floating) -> float:
    return round(float(value), 6)
