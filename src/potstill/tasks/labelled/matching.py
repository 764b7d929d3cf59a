"""A model's logits in the order of a task's labels, or an error that says why that is impossible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.runtime.folder import REGRESSION, TAGGING
from potstill.tasks.base import Predictor

SAY_LABELS = "give data.labels, the names in the order of the numbers"


def numbers(count: int) -> list[str]:
    """The names of labels that are no more than numbers: "0", "1", ..."""
    return [str(number) for number in range(count)]


def are_numbers(labels: Sequence[str]) -> bool:
    """Whether labels are the numbers "0" to "n-1", in any order."""
    return sorted(labels) == sorted(numbers(len(labels)))


def named(others: Sequence[str], numbered: Sequence[str]) -> list[str]:
    """A model's labels, and where they are no more than numbers the names that these numbers stand for.

    Args:
        others: of the model, in the order of its logits. LABEL_0, LABEL_1, ..., as transformers calls the labels of a model
            that was told no names, and 0, 1, ... are numbers.
        numbered: names in the order of the numbers; [] where nobody says. Then, and where their number is
            another one, `others` stay as they are.
    """
    if len(others) != len(numbered):
        return list(others)
    if _no_names(others):
        return list(numbered)
    return [numbered[int(name)] for name in others] if are_numbers(others) else list(others)


def label_order(labels: Sequence[str], others: Sequence[str], place: str, numbered: Sequence[str] = ()) -> list[int]:
    """The position of each of `labels` among a model's labels: `logits[:, order]` is in the order of `labels`.

    Labels are matched by name. Upper and lower case are the same where the names stay distinct
    without case. The labels of a model without names are matched by their numbers, and only where it is known
    what these stand for: in `numbered`, or where the data's own labels are the numbers 0, 1, ...

    Args:
        labels: of the data; [] for a regression, whose one logit needs no name. Then [] is returned.
        others: of the model.
        place: for the error.
        numbered: as in `named`.

    Raises:
        PotstillError: the model has another number of labels, other names, or no names.
    """
    if not labels:
        return []
    own_numbers = numbers(len(labels)) if are_numbers(labels) else []
    mine, theirs = list(labels), named(others, numbered or own_numbers)
    if len(mine) == len(theirs) and _no_names(theirs) and set(mine) != set(theirs):
        problem = f"the model's labels have no names ({_listed(theirs)}), and the data's are {_listed(mine)}"
        raise PotstillError(place, problem, f"{SAY_LABELS}, or write them into the model's config.json as id2label")
    if set(mine) != set(theirs):
        folded = [label.casefold() for label in mine], [label.casefold() for label in theirs]
        if len(set(folded[0])) == len(mine) and len(set(folded[1])) == len(theirs):
            mine, theirs = folded
    if sorted(mine) != sorted(theirs):
        only = [f"only the {whose} has {_listed(names)}" for whose, names in _differences(mine, theirs) if names]
        counts = f"the model has {len(theirs)} labels and the data {len(mine)}"
        way_out = "name a model that was trained on these labels"
        if own_numbers:
            way_out += f", or {SAY_LABELS}"
        raise PotstillError(place, f"label sets differ: {counts}; {', '.join(only)}", way_out)
    return [theirs.index(label) for label in mine]


def same_labels(labels: Sequence[str], others: Sequence[str], numbered: Sequence[str] = ()) -> bool:
    """Whether a model's logits can be put into the order of `labels`; the arguments are those of `label_order`."""
    try:
        label_order(labels, others, "model", numbered)
    except PotstillError:
        return False
    return len(labels) == len(others)


def row_logits(
    predict: Predictor, kind: str, labels: Sequence[str], texts: Sequence[Any], place: str, numbered: Sequence[str] = ()
) -> NDArray[np.float64]:
    """The logits of n texts in the order of `labels`, (n, C); (n, 1) of a regression.

    Args:
        predict: the model.
        kind: of runtime.folder.HEADS, without TAGGING.
        labels: of the data.
        texts: n texts or pairs.
        place: for errors.
        numbered: as in `named`.

    Raises:
        PotstillError: the model has a head of another kind or other labels; its logits have another
            shape, or hold NaN or infinity.
    """
    order = _order(predict, kind, labels, place, numbered)
    logits = np.asarray(predict.logits(texts), dtype=np.float64)
    if kind == REGRESSION and logits.ndim == 1:
        logits = logits[:, None]  # (n, 1)
    if logits.shape != (len(texts), len(order)):
        raise PotstillError(place, f"the model gave logits {logits.shape} for {len(texts)} texts", f"expected {(len(texts), len(order))}")
    _require_finite([bool(np.isfinite(row).all()) for row in logits], place, "texts")
    return logits[:, order]


def word_logits(
    predict: Predictor, labels: Sequence[str], texts: Sequence[Sequence[str]], place: str, numbered: Sequence[str] = ()
) -> list[NDArray[np.float64]]:
    """The logits of each sentence in the order of `labels`: n arrays (words, tags).

    An array has fewer rows than the sentence has words where the model's input was cut off.

    Args:
        predict: the model.
        labels: of the data.
        texts: n lists of words.
        place: for errors.
        numbered: as in `named`.

    Raises:
        PotstillError: as `row_logits`.
    """
    order = _order(predict, TAGGING, labels, place, numbered)
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


def _order(predict: Predictor, kind: str, labels: Sequence[str], place: str, numbered: Sequence[str]) -> list[int]:
    if predict.head != kind:
        raise PotstillError(
            place, f"needs a head for {kind}, and the model's is for {predict.head}", f"name a model that was trained for {kind}"
        )
    return [0] if kind == REGRESSION else label_order(labels, predict.labels, place, numbered)


def _no_names(labels: Sequence[str]) -> bool:
    return list(labels) == [f"LABEL_{number}" for number in range(len(labels))]


def _require_finite(finite: Sequence[bool], place: str, what: str) -> None:
    if not all(finite):
        problem = f"the logits of {finite.count(False)} of {len(finite)} {what} hold NaN or infinity"
        raise PotstillError(place, problem, "the model is broken: train again with a lower learning rate, or in fp32")


def _differences(mine: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [("model", sorted(set(theirs) - set(mine))), ("data", sorted(set(mine) - set(theirs)))]


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(repr(name) for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
