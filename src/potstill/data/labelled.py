"""Labelled examples in memory: texts, and their labels as numbers; every label is checked as it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, did_you_mean, shown
from potstill.registry import OUTSIDE
from potstill.runtime.folder import CLASSIFICATION, REGRESSION, TAGGING
from potstill.runtime.tokens import Text

Labels = NDArray[Any] | list[NDArray[np.int64]]


class Row(NamedTuple):
    """One example as its file has it.

    Attributes:
        place: file:line, for errors.
        text: a text, a pair, or a list of words.
        label: what stood in the file, not checked yet; None where no labels are read.
    """

    place: str
    text: Text
    label: Any


@dataclass(frozen=True)
class Examples:
    """Texts and their labels, row by row.

    Attributes:
        texts: n texts of one form: strings, pairs of strings, or lists of words.
        labels: by the kind of data. Classification: (n,) int64, the number of the label's name.
            Multilabel, of C labels: (n, C) float32, 0 or 1. Regression: (n,) float32. Tagging: n arrays
            (words,) int64, the number of each word's tag.
    """

    texts: Sequence[Text]
    labels: Labels

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Examples:
        """The examples with these row numbers, in the order of the numbers."""
        labels = self.labels[rows] if isinstance(self.labels, np.ndarray) else [self.labels[row] for row in rows]
        return Examples([self.texts[row] for row in rows], labels)


def examples_of(rows: Iterable[Row], kind: str, names: Sequence[str] | None, source: object) -> tuple[Examples, list[str]]:
    """Turn the labels of rows into numbers.

    Args:
        rows: as a reader yields them.
        kind: of runtime.folder.HEADS.
        names: the label set, in the order of the numbers. None: it is collected from these rows, whose
            labels must then differ.
        source: the file, for errors about the whole of it.

    Returns:
        The examples, and the label set ([] for a regression). A collected set is sorted by value where
        all names are whole numbers, else alphabetically; of tags, OUTSIDE comes first.

    Raises:
        PotstillError: there are no rows; the set is collected, and all rows are labelled alike; at its
            row: a label is missing or outside the set, a score is not a finite number, or one row has a
            text where another has a pair.
    """
    rows = list(rows)
    if not rows:
        raise PotstillError(source, "holds no examples", "name a file with at least one row")
    for row in rows:
        if isinstance(row.text, tuple) != isinstance(rows[0].text, tuple):
            raise PotstillError(row.place, "some rows have one text and some a pair", "give text_pair in every row or in none")
    texts = [row.text for row in rows]
    if kind == REGRESSION:
        scores = np.array([_score(row) for row in rows], dtype=np.float32)
        if names is None and np.ptp(scores) == 0:
            raise PotstillError(source, f"all {len(rows)} scores are {scores[0]:g}", "scores that differ are needed to learn from")
        return Examples(texts, scores), []
    parts = [_names_in(row, kind) for row in rows]  # names of the labels of each row
    known = list(names) if names is not None else _label_set(parts, kind, source)
    number = {name: position for position, name in enumerate(known)}
    for row, part in zip(rows, parts, strict=True):
        for name in part:
            if name not in number:
                raise PotstillError(row.place, f"label {shown(name)} is outside the set of labels", did_you_mean(name, known))
    if kind == CLASSIFICATION:
        return Examples(texts, np.array([number[name] for (name,) in parts], dtype=np.int64)), known
    if kind == TAGGING:
        return Examples(texts, [np.array([number[name] for name in part], dtype=np.int64) for part in parts]), known
    marks = np.zeros((len(rows), len(known)), dtype=np.float32)  # (n, C)
    for position, part in enumerate(parts):
        marks[position, [number[name] for name in part]] = 1
    return Examples(texts, marks), known


def _label_set(parts: Sequence[Sequence[str]], kind: str, source: object) -> list[str]:
    found = {name for part in parts for name in part}
    if kind == TAGGING:
        if not found - {OUTSIDE}:
            raise PotstillError(source, f"every tag is {OUTSIDE}: there is no entity", "tags that differ are needed to learn from")
        return sorted(found, key=lambda name: (name != OUTSIDE, name[2:], name))
    if len({frozenset(part) for part in parts}) == 1:
        same = shown(parts[0][0] if len(parts[0]) == 1 else list(parts[0]))
        raise PotstillError(source, f"all {len(parts)} rows have the same label, {same}", "at least two classes are needed to learn from")
    if all(name.isdecimal() for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def _names_in(row: Row, kind: str) -> list[str]:
    if kind == CLASSIFICATION:
        return [_name(row.label, row.place)]
    if kind == TAGGING:
        return list(row.label)  # checked word by word where it was read
    if not isinstance(row.label, list):
        raise PotstillError(row.place, f"the labels are {shown(row.label)}, not a list", 'write a list of names: ["a", "b"], or []')
    return [_name(label, row.place) for label in row.label]


def _name(label: Any, place: str) -> str:
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if label is None or (isinstance(label, str) and not label.strip()):
        raise PotstillError(place, "the label is missing", "every row needs one")
    if not isinstance(label, str):
        raise PotstillError(place, f"the label is {shown(label)}", "a label is a name or a whole number")
    return label.strip()


def _score(row: Row) -> float:
    if row.label is None or (isinstance(row.label, str) and not row.label.strip()):
        raise PotstillError(row.place, "the score is missing", "every row needs a number")
    try:
        score = math.nan if isinstance(row.label, bool) else float(row.label)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise PotstillError(row.place, f"the score {shown(row.label)} is not a number", "a score is a finite number")
    return score
