"""Texts and rows that are given as objects: lists, generators and data sets, as what a file holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from potstill.errors import PotstillError, did_you_mean, shown

TEXT, LABEL, PAIR = "text", "label", "text_pair"


def texts_given(texts: Any, place: str = "texts") -> list[str]:
    """The texts of a list, a generator, or a data set of Hugging Face's with a column `text` or one column of strings alone.

    Args:
        texts: what was given.
        place: what it is called in errors.

    Raises:
        PotstillError: it is none of these, or something in it is no text.
    """
    found = []
    for number, row in enumerate(_items(texts, place)):
        value = row
        if isinstance(row, Mapping):
            value = row.get(TEXT) if TEXT in row or len(row) != 1 else next(iter(row.values()))
            if TEXT not in row and len(row) != 1:
                raise PotstillError(f"{place}[{number}]", f"has no field {TEXT!r} (there: {', '.join(map(str, row))})", "give texts alone")
        if not isinstance(value, str):
            raise PotstillError(f"{place}[{number}]", f"is {shown(value)}, not a text", "give texts alone")
        found.append(str(value))
    return found


def rows_given(rows: Any, place: str = "rows") -> list[dict[str, Any]]:
    """The rows of a list or generator of mappings, or of a data set of Hugging Face's, whose class labels become their names.

    Args:
        rows: what was given.
        place: what it is called in errors.

    Raises:
        PotstillError: it is none of these, or something in it is no mapping.
    """
    named = _namers(rows)
    found = []
    for number, row in enumerate(_items(rows, place)):
        if not isinstance(row, Mapping):
            raise PotstillError(
                f"{place}[{number}]", f"is {shown(row)}, not a mapping of fields", "give rows such as {'text': …, 'label': …}"
            )
        found.append({str(key): _plain(named[key](value) if key in named else value) for key, value in row.items()})
    return found


def labelled_rows(texts: Any, labels: Any, place: str = "texts") -> list[dict[str, Any]]:
    """Rows of a text (or a pair, or words) and a label.

    Args:
        texts: texts, pairs of texts or lists of words; rows that have a `label` already, where `labels` is None.
        labels: one for each text; the name of the rows' field that holds it; None for `label`.
        place: what the texts are called in errors.

    Raises:
        PotstillError: there are not as many labels as texts, or rows without a label.
    """
    if labels is None or isinstance(labels, str):
        rows, key = rows_given(texts, place), labels or LABEL
        for number, row in enumerate(rows):
            if key not in row and "tags" not in row:
                raise PotstillError(f"{place}[{number}]", f"has no field {key!r}", did_you_mean(key, row))
        return [row if key == LABEL else {**{name: row[name] for name in row if name != key}, LABEL: row[key]} for row in rows]
    found, given = list(_items(texts, place)), [_plain(label) for label in _items(labels, "labels")]
    if len(found) != len(given):
        raise PotstillError("labels", f"are {len(given):,}, and {place} are {len(found):,}", "give one label for each text")
    return [
        {**_text_fields(text, f"{place}[{number}]"), **_label_field(text, label)} for number, (text, label) in enumerate(zip(found, given))
    ]


def _text_fields(text: Any, place: str) -> dict[str, Any]:
    if isinstance(text, str):
        return {TEXT: str(text)}
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(side, str) for side in text):
        return {TEXT: str(text[0]), PAIR: str(text[1])}
    if isinstance(text, list) and all(isinstance(word, str) for word in text):
        return {"tokens": [str(word) for word in text]}
    raise PotstillError(place, f"is {shown(text)}", "give a text, a pair (text, text), or a list of words")


def _label_field(text: Any, label: Any) -> dict[str, Any]:
    return {"tags": label} if isinstance(text, list) else {LABEL: label}


def _items(given: Any, place: str) -> Iterator[Any]:
    """Iterate over what was given.

    Raises:
        PotstillError: it is one text, a mapping or a data frame, whose items are no rows, or cannot be iterated over.
    """
    if isinstance(given, (str, bytes)):
        raise PotstillError(place, f"is one text, {shown(given)}", "give a list of texts")
    if isinstance(given, Mapping):
        problem = f"is a mapping with {', '.join(map(str, list(given)[:5]))}"
        raise PotstillError(place, problem, "give one split of a data set (data['train']), or a list")
    if hasattr(given, "columns") and hasattr(given, "to_dict"):  # a data frame: iterating over it gives its columns' names
        raise PotstillError(place, f"is a {type(given).__name__}", "give a column (frame['text']), or frame.to_dict('records')")
    if not isinstance(given, Iterable):
        raise PotstillError(place, f"is {shown(given)}, not a list, a generator or a data set", "give a list")
    return iter(given)


def class_names(rows: Any, column: str | None = None) -> list[str]:
    """The names of the labels of a data set of Hugging Face's, in the order of their numbers; [] where it says none.

    Args:
        rows: what was given.
        column: of the labels; None for `label`.
    """
    features = getattr(rows, "features", None)
    feature = features.get(column or LABEL) if isinstance(features, Mapping) else None
    return list(feature.names) if feature is not None and hasattr(feature, "int2str") else []


def _namers(rows: Any) -> dict[str, Any]:
    """Column of class labels of a data set → the function from its number to its name."""
    features = getattr(rows, "features", None)
    if not isinstance(features, Mapping):
        return {}
    found: dict[str, Any] = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)  # of a sequence of them
        if hasattr(feature, "int2str"):
            found[name] = lambda number, of=feature: of.int2str(number) if number is not None and number >= 0 else None
        elif hasattr(inner, "int2str"):
            found[name] = lambda numbers, of=inner: [of.int2str(number) for number in numbers]
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it: numpy's numbers and arrays have `tolist`."""
    return value.tolist() if hasattr(value, "tolist") else value
