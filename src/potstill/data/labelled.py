"""Labelled examples in memory: texts, and their labels as numbers; every label is checked as it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, did_you_mean, shown
from potstill.registry import OUTSIDE
from potstill.runtime.folder import CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING
from potstill.runtime.tokens import Text

Labels = NDArray[Any] | list[NDArray[np.int64]]

LARGEST = 1e18  # of a score: its square, the squared error, is finite in fp32, and so is the sum of a batch of them
WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?", re.ASCII)  # a whole number, also as a fraction
LONGEST = 1000  # characters of a label's name: what is longer is a text in the wrong column


class Row(NamedTuple):
    """One example as its file has it.

    Attributes:
        place: file:line, for errors.
        text: a text, a pair, or a list of words.
        label: what stood in the file, not checked yet; None where no labels are read.
        group: the value of the column by which rows are kept together; None where no column is named for it.
    """

    place: str
    text: Text
    label: Any
    group: str | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns, or fields, of a file with labels are called.

    Attributes:
        text: of the text, or of the list of words.
        label: of the label, or of the list of tags.
        text_pair: of a pair's second text; None: `text_pair` where the file has it and `text` has its usual name.
        group: of what keeps rows together; None: nothing does.
    """

    text: str = "text"
    label: str = "label"
    text_pair: str | None = None
    group: str | None = None

    @property
    def pair(self) -> str | None:
        """The column of a pair's second text, which need not be there unless `text_pair` names it; None where there is none."""
        return "text_pair" if self.text_pair is None and self.text == Columns.text else self.text_pair

    def required(self, labelled: bool) -> list[str]:
        """The columns that a file must have, to be read with its labels or without."""
        return [name for name in (self.text, self.label if labelled else None, self.text_pair, self.group) if name is not None]

    def group_of(self, row: Mapping[str, Any], place: str) -> str | None:
        """What keeps a row together with others; None where no column is named for it.

        Raises:
            PotstillError: the row's value is missing.
        """
        if self.group is None:
            return None
        value = row[self.group]
        if value is None or not str(value).strip():
            raise PotstillError(place, f"{self.group!r} is {shown(value)}, and rows are kept together by it", "every row needs one")
        return str(value).strip()


def names_of(kind: str) -> Columns:
    """What the columns of a file are called where nothing else is said.

    Args:
        kind: of runtime.folder.HEADS.
    """
    return Columns("tokens", "tags") if kind == TAGGING else Columns()


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


def examples_of(
    rows: Iterable[Row], kind: str, names: Sequence[str] | None, source: object, numbered: Sequence[str] = ()
) -> tuple[Examples, list[str]]:
    """Turn the labels of rows into numbers.

    Args:
        rows: as a reader yields them.
        kind: of runtime.folder.HEADS.
        names: the label set, in the order of the numbers. None: it is collected from these rows, whose
            labels must then differ.
        source: the file, for errors about the whole of it.
        numbered: names in the order of the labels' numbers, which are then the label set. Rows may have the numbers in
            place of the names, and one-hot lists in place of lists of names: a 0 or a 1 for each of the names.

    Returns:
        The examples, and the label set ([] for a regression). A collected set is sorted by value where
        all names are whole numbers, else alphabetically; of tags, OUTSIDE comes first.

    Raises:
        PotstillError: there are no rows; the set is collected, and all rows are labelled alike; at its
            row: a label is missing, too long, outside the set, twice in one list of labels, or the number of
            an earlier one in another spelling ("1.0" beside "1"); a score is not a finite number, or larger than LARGEST;
            one row has a text where another has a pair.
    """
    rows = list(rows)
    if not rows:
        raise PotstillError(source, "holds no examples", "name a file with at least one row")
    _require_one_form(rows)
    texts = [row.text for row in rows]
    if kind == REGRESSION:
        scores = np.array([_score(row) for row in rows], dtype=np.float32)
        if names is None and np.ptp(scores) == 0:
            raise PotstillError(source, f"all {len(rows)} scores are {scores[0]:g}", "scores that differ are needed to learn from")
        return Examples(texts, scores), []
    if kind == MULTILABEL and numbered:
        rows = _out_of_one_hot(rows, numbered)
    parts = [_names_in(row, kind, numbered) for row in rows]  # names of the labels of each row
    if kind != TAGGING:
        _require_one_spelling(rows, parts)
    known = _label_set(parts, kind, source) if names is None else list(names)
    if numbered:
        known, parts = list(numbered), _called(parts, numbered)
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


def _require_one_form(rows: Sequence[Row]) -> None:
    for row in rows:
        if isinstance(row.text, tuple) != isinstance(rows[0].text, tuple):
            raise PotstillError(row.place, "some rows have one text and some a pair", "give text_pair in every row or in none")


def _label_set(parts: Sequence[Sequence[str]], kind: str, source: object) -> list[str]:
    found = {name for part in parts for name in part}
    if kind == TAGGING:
        if not found - {OUTSIDE}:
            raise PotstillError(source, f"every tag is {OUTSIDE}: there is no entity", "tags that differ are needed to learn from")
        return sorted(found, key=lambda name: (name != OUTSIDE, name[2:], name))
    if len({frozenset(part) for part in parts}) == 1:
        same = shown(parts[0][0] if len(parts[0]) == 1 else list(parts[0]))
        raise PotstillError(source, f"all {len(parts)} rows have the same label, {same}", "at least two classes are needed to learn from")
    if all(name.isascii() and name.isdecimal() for name in found):
        return sorted(found, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name))  # by value: int() has a limit
    return sorted(found)


def _called(parts: list[list[str]], numbered: Sequence[str]) -> list[list[str]]:
    """The labels of each row by name, where all rows have numbers, but for numbers that no name has; else as they are."""
    number = {str(position): name for position, name in enumerate(numbered)}
    found = {name for part in parts for name in part}
    if found <= set(numbered) or not all(name.isascii() and name.isdecimal() for name in found):
        return parts
    return [[number.get(name, name) for name in part] for part in parts]


def _out_of_one_hot(rows: Sequence[Row], numbered: Sequence[str]) -> Sequence[Row]:
    """The rows with lists of names, where all of them have one-hot lists; else as they are."""
    marks = [_marks(row.label) for row in rows]
    if any(each is None or len(each) != len(numbered) for each in marks):
        return rows
    return [
        row._replace(label=[name for name, mark in zip(numbered, each or (), strict=True) if mark])
        for row, each in zip(rows, marks, strict=True)
    ]


def _marks(label: Any) -> list[bool] | None:
    """A list of 0 and 1, however they are written; None of anything else."""
    if not isinstance(label, list) or not all(isinstance(each, (bool, int, float, str)) for each in label):
        return None
    written = [{"0": 0, "1": 1, "0.0": 0, "1.0": 1}.get(each.strip()) if isinstance(each, str) else each for each in label]
    return [bool(each) for each in written] if all(each in (0, 1) for each in written) else None


def _require_one_spelling(rows: Sequence[Row], parts: Sequence[Sequence[str]]) -> None:
    """Check that no two labels are one number: a table of fractions and whole numbers has one class as 1 and as 1.0.

    Raises:
        PotstillError: at the row of the second spelling.
    """
    spelling: dict[str, str] = {}
    for row, part in zip(rows, parts, strict=True):
        for name in part:
            whole = WHOLE.fullmatch(name)
            if whole and spelling.setdefault(whole[1], name) != name:
                problem = f"label {shown(name)} is {shown(spelling[whole[1]])} in an earlier row"
                raise PotstillError(row.place, problem, "write a label in one way")


def _names_in(row: Row, kind: str, numbered: Sequence[str]) -> list[str]:
    if kind == CLASSIFICATION:
        return [_name(row.label, row.place)]
    if kind == TAGGING:
        return list(row.label)  # checked word by word where it was read
    if not isinstance(row.label, list):
        raise PotstillError(row.place, f"the labels are {shown(row.label)}, not a list", 'write a list of names: ["a", "b"], or []')
    marks = _marks(row.label)
    if marks and not all(isinstance(label, (str, int)) and not isinstance(label, bool) for label in row.label):
        raise PotstillError(row.place, f"the labels are {shown(row.label)}", _one_hot(numbered))
    names = [_name(label, row.place) for label in row.label]
    if len(set(names)) < len(names):
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        way_out = "write every label once" + (f"; {_one_hot(numbered)}" if marks else "")
        raise PotstillError(row.place, f"names label {shown(twice)} twice: {shown(row.label)}", way_out)
    return names


def _one_hot(numbered: Sequence[str]) -> str:
    if numbered:
        return f"a one-hot list has as many 0 and 1 as data.labels has names, {len(numbered)}, in every row"
    return "of one-hot lists of 0 and 1 give data.labels, the names of their columns"


def _name(label: Any, place: str) -> str:
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if label is None or (isinstance(label, str) and not label.strip()):
        raise PotstillError(place, "the label is missing", "every row needs one")
    if not isinstance(label, str):
        raise PotstillError(place, f"the label is {shown(label)}", "a label is a name or a whole number")
    if len(label.strip()) > LONGEST:
        raise PotstillError(place, f"the label has {len(label.strip()):,} characters: {shown(label)}", f"a name has at most {LONGEST:,}")
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
    if abs(score) > LARGEST:
        raise PotstillError(row.place, f"the score {shown(row.label)} is too large", f"a score lies between -{LARGEST:g} and {LARGEST:g}")
    return score
