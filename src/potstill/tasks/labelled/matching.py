"""A model's logits in the order of a task's labels, or an error that says why that is impossible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.runtime.folder import REGRESSION, TAGGING
from potstill.tasks.base import Predictor


def label_order(labels: Sequence[str], others: Sequence[str], place: str) -> list[int]:
    """The position of each of `labels` among a model's labels: `logits[:, order]` is in the order of `labels`.

    Labels are matched by name. Upper and lower case are the same where the names stay distinct
    without case. The labels of a model without names (LABEL_0, LABEL_1, ...) are matched by position.

    Args:
        labels: of the data; [] for a regression, whose one logit needs no name. Then [] is returned.
        others: of the model.
        place: for the error.

    Raises:
        PotstillError: the model has another number of labels, or other names.
    """
    if not labels or list(others) == [f"LABEL_{number}" for number in range(len(labels))] or list(others) == list(labels):
        return list(range(len(labels)))
    mine, theirs = list(labels), list(others)
    if set(mine) != set(theirs):
        folded = [label.casefold() for label in mine], [label.casefold() for label in theirs]
        if len(set(folded[0])) == len(mine) and len(set(folded[1])) == len(theirs):
            mine, theirs = folded
    if sorted(mine) != sorted(theirs):
        only = [f"only the {whose} has {_listed(names)}" for whose, names in _differences(mine, theirs) if names]
        counts = f"the model has {len(theirs)} labels and the data {len(mine)}"
        raise PotstillError(place, f"label sets differ: {counts}; {', '.join(only)}", "name a model that was trained on these labels")
    return [theirs.index(label) for label in mine]


def row_logits(predict: Predictor, kind: str, labels: Sequence[str], texts: Sequence[Any], place: str) -> NDArray[np.float64]:
    """The logits of n texts in the order of `labels`, (n, C); (n, 1) of a regression.

    Args:
        predict: the model.
        kind: of runtime.folder.HEADS, without TAGGING.
        labels: of the data.
        texts: n texts or pairs.
        place: for errors.

    Raises:
        PotstillError: the model has a head of another kind or other labels; its logits have another
            shape, or hold NaN or infinity.
    """
    order = _order(predict, kind, labels, place)
    logits = np.asarray(predict.logits(texts), dtype=np.float64)
    if kind == REGRESSION and logits.ndim == 1:
        logits = logits[:, None]  # (n, 1)
    if logits.shape != (len(texts), len(order)):
        raise PotstillError(place, f"the model gave logits {logits.shape} for {len(texts)} texts", f"expected {(len(texts), len(order))}")
    _require_finite([bool(np.isfinite(row).all()) for row in logits], place, "texts")
    return logits[:, order]


def word_logits(predict: Predictor, labels: Sequence[str], texts: Sequence[Sequence[str]], place: str) -> list[NDArray[np.float64]]:
    """The logits of each sentence in the order of `labels`: n arrays (words, tags).

    An array has fewer rows than the sentence has words where the model's input was cut off.

    Args:
        predict: the model.
        labels: of the data.
        texts: n lists of words.
        place: for errors.

    Raises:
        PotstillError: as `row_logits`.
    """
    order = _order(predict, TAGGING, labels, place)
    arrays = [np.asarray(array, dtype=np.float64) for array in predict.logits(texts)]
    if len(arrays) != len(texts):
        raise PotstillError(place, f"the model gave {len(arrays)} sentences of logits for {len(texts)}", "every sentence needs one array")
    for words, array in zip(texts, arrays, strict=True):
        if array.ndim != 2 or array.shape[1] != len(order) or len(array) > len(words):
            raise PotstillError(
                place, f"the model gave logits {array.shape} for {len(words)} words", f"expected {(len(words), len(order))}"
            )
    _require_finite([bool(np.isfinite(array).all()) for array in arrays], place, "sentences")
    return [array[:, order] for array in arrays]


def _order(predict: Predictor, kind: str, labels: Sequence[str], place: str) -> list[int]:
    if predict.head != kind:
        raise PotstillError(
            place, f"needs a head for {kind}, and the model's is for {predict.head}", f"name a model that was trained for {kind}"
        )
    return [0] if kind == REGRESSION else label_order(labels, predict.labels, place)


def _require_finite(finite: Sequence[bool], place: str, what: str) -> None:
    if not all(finite):
        problem = f"the logits of {finite.count(False)} of {len(finite)} {what} hold NaN or infinity"
        raise PotstillError(place, problem, "the model is broken: train again with a lower learning rate, or in fp32")


def _differences(mine: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [("model", sorted(set(theirs) - set(mine))), ("data", sorted(set(mine) - set(theirs)))]


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(repr(name) for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
