"""A labelled data set out of whatever files a user has: `data.file` of a recipe, its columns, and how its rows are parted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from potstill.data.files.formats import DATASET, format_of
from potstill.data.files.hub import load_data
from potstill.data.files.labelled_files import read_rows, row_of
from potstill.data.files.lines import require_clean, require_file
from potstill.data.files.tagged import tagged_row
from potstill.data.labelled import Columns, Examples, Row, examples_of, names_of
from potstill.data.splits import SPLITS, LabelledData, part_rows
from potstill.errors import PotstillError, did_you_mean
from potstill.machine.files import kind_of_place
from potstill.recipe.recipe import Data, Split
from potstill.runtime.folder import CLASSIFICATION, REGRESSION, TAGGING

SHARE = 0.1  # of the rows, for each of dev and test, where the recipe says nothing
SPLIT_OF = {"validation": "dev", "valid": "dev", "val": "dev"}  # what data sets call a split → its name here
BATCH = 1000  # rows that are read of a data set at once


def own_files(kind: str, name: str, data: Data) -> LabelledData:
    """The data set that a recipe's `data.file` names, with the label set of all its rows, or of those to train on.

    Files that no split is said of are one table, whose rows are parted by a fixed seed, the same in every run. Rows whose
    texts differ in nothing but capitals, punctuation and spaces go into one part, and so do rows of one group.

    Args:
        kind: of runtime.folder.HEADS.
        name: of the data set.
        data: the recipe's; `file` is not None.

    Raises:
        PotstillError: a file is missing, or something in it is wrong, at its line; a column that is named is not there;
            rows cannot be parted as `data.split` says; a group has rows in several of the splits that are named.
    """
    numbered = data.labels or ()
    if numbered and kind == REGRESSION:
        raise PotstillError("data.labels", f"{', '.join(numbered)} for a regression, which has no labels", "drop it")
    columns = _columns(kind, data)
    rows: dict[str, list[Row]] = {part: list(chain.from_iterable(found)) for part, found in _sources(kind, data, columns).items()}
    source = ", ".join(_listed(data.file)) if not isinstance(data.file, dict) else name
    first = next(part for part in ("", "train", "test", "dev") if part in rows)
    examples, labels = examples_of(rows[first], kind, None, source, numbered)
    parts: dict[str, Examples] = {first: examples}
    for part in rows.keys() - {first}:
        parts[part] = examples_of(rows[part], kind, labels, source, numbered)[0]
    _require_groups_apart(rows, columns)
    shares = _shares(data.split, first, parts)
    if shares:
        drawn_from = parts.pop(first)
        groups = [row.group for row in rows[first]] if columns.group else None
        strata = _strata(kind, data.split or Split(), drawn_from)
        drawn = part_rows(drawn_from.texts, shares, source, groups=groups, strata=strata, labels=labels)
        parts |= {part: drawn_from.take(numbers) for part, numbers in drawn.items()}
    known = labels if numbered or labels == [str(number) for number in range(len(labels))] else []
    splits = {part: partial(_same, parts[part]) for part in SPLITS if part in parts}
    return LabelledData(f"{kind}/{name}", kind, labels, splits, list(known))


def first_labels(data: Data, count: int) -> list[Any]:
    """The labels of the first rows as they stand in the files, to tell what kind they are of.

    A PotstillError comes through where a file is missing, or one of these rows is malformed.

    Args:
        data: as in `own_files`, of a table of texts.
        count: of the rows.
    """
    sources = _sources(CLASSIFICATION, data, _columns(CLASSIFICATION, data))
    return [row.label for row in islice(chain.from_iterable(chain.from_iterable(sources.values())), count)]


def _same(examples: Examples) -> Examples:
    return examples


def _columns(kind: str, data: Data) -> Columns:
    usual = names_of(kind)
    if kind == TAGGING and data.text_pair is not None:
        raise PotstillError("data.text_pair", f"{data.text_pair!r} for tagged words, which are no pairs", "drop it")
    return Columns(data.text or usual.text, data.label or usual.label, data.text_pair, data.split.group if data.split else None)


def _listed(file: Any) -> list[str]:
    return [file] if isinstance(file, str) else list(file)


def _sources(kind: str, data: Data, columns: Columns) -> dict[str, list[Iterator[Row]]]:
    """The rows of each file, by the split that they are of; "" where nothing says of which."""
    folder, file = Path(data.dir), data.file
    if isinstance(file, dict):
        return {part: [_rows(folder / each, kind, columns) for each in _listed(files)] for part, files in file.items()}
    places = [folder / each for each in _listed(file)]
    if len(places) == 1 and kind_of_place(places[0]) == "a folder":
        found = load_data(places[0])
        if isinstance(found, dict):
            return _splits_of(found, places[0], kind, columns)
    return {"": [_rows(place, kind, columns) for place in places]}


def _splits_of(found: dict[str, Any], place: Path, kind: str, columns: Columns) -> dict[str, list[Iterator[Row]]]:
    parts = {SPLIT_OF.get(name, name): name for name in found}
    if others := [name for part, name in parts.items() if part not in SPLITS]:
        raise PotstillError(place, f"has a split {others[0]!r}", f"name its splits {', '.join(SPLITS)}, or save the one to be read alone")
    if list(parts) == ["train"]:  # what `datasets` calls a table without splits
        return {"": [_dataset_rows(found["train"], place, kind, columns)]}
    return {part: [_dataset_rows(found[name], f"{place}:{name}", kind, columns)] for part, name in parts.items()}


def _rows(place: Path, kind: str, columns: Columns) -> Iterator[Row]:
    """The rows of one file, or of a folder of one split.

    Raises:
        PotstillError: there is no such file, or the folder has several splits.
    """
    if kind_of_place(place) != "a folder" and format_of(place) != DATASET:
        return read_rows(require_file(place), kind, columns)
    found = load_data(require_file(place) if kind_of_place(place) != "a folder" else place)
    if isinstance(found, dict):
        if len(found) > 1:
            raise PotstillError(
                place, f"holds the splits {', '.join(found)}", "name it alone as data.file, or save the one to be read alone"
            )
        (found,) = found.values()
    return _dataset_rows(found, place, kind, columns)


def _dataset_rows(table: Any, place: object, kind: str, columns: Columns) -> Iterator[Row]:
    """The rows of one split of a data set; labels that it has names for by their names.

    Raises:
        PotstillError: a column is not there; whatever is wrong in a row, with its number.
    """
    for name in columns.required(labelled=True):
        if name not in table.features:
            raise PotstillError(place, f"has no column {name!r}", did_you_mean(name, table.features))
    label = table.features[columns.label]
    names = getattr(label, "names", None) or getattr(getattr(label, "feature", None), "names", None)
    wanted = list(dict.fromkeys(columns.required(labelled=True)))
    if columns.pair in table.features and columns.pair is not None and columns.pair not in wanted:
        wanted.append(columns.pair)
    number = 0
    for batch in table.select_columns(wanted).iter(batch_size=BATCH):
        for values in zip(*(batch[name] for name in wanted), strict=True):
            number += 1
            row, here = dict(zip(wanted, values)), f"{place}: row {number}"
            row[columns.label] = _called(row[columns.label], names)
            for value in row.values():
                if isinstance(value, str):
                    require_clean(value, here)
            yield tagged_row(row, columns, here) if kind == TAGGING else row_of(row, columns, here)


def _called(label: Any, names: Sequence[str] | None) -> Any:
    """A label, or each of a list, by name; None for the number -1, by which data sets say that they do not tell it."""
    if names is None:
        return label
    if isinstance(label, list):
        return [_called(each, names) for each in label]
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else None


def _shares(split: Split | None, first: str, parts: dict[str, Examples]) -> dict[str, float]:
    """The share of rows that is drawn for each part; none where the files say all of them.

    Raises:
        PotstillError: a part has rows already, there are none to draw from, or none to report on.
    """
    usual = SHARE if first == "" else 0
    shares = {part: usual if share is None else share for part, share in (("test", split and split.test), ("dev", split and split.dev))}
    for part, share in shares.items():
        if share and part in parts:
            raise PotstillError(f"data.split.{part}", f"is {share:g}, and data.file names the rows of {part}", "drop one of the two")
    drawn = {part: share for part, share in shares.items() if share}
    if drawn and first not in ("", "train"):
        raise PotstillError("data.split", "is drawn of the rows to train on, and data.file names none", "name train under data.file")
    if split is not None and split.stratify is not None and not drawn:
        raise PotstillError("data.split.stratify", "is said of rows that are drawn, and none are", "give dev or test a share, or drop it")
    if first == "" and not drawn:
        raise PotstillError("data.split", "leaves no rows to report on", "give dev or test a share")
    return drawn


def _strata(kind: str, split: Split, examples: Examples) -> Any:
    """The class of each row, where every class is to have its share of every part; else None.

    Raises:
        PotstillError: that is asked for where a row has not one class.
    """
    if split.stratify and kind != CLASSIFICATION:
        raise PotstillError("data.split.stratify", f"is true, and {kind} has not one class a row", "drop it")
    return np.asarray(examples.labels) if kind == CLASSIFICATION and split.stratify is not False else None


def _require_groups_apart(rows: dict[str, list[Row]], columns: Columns) -> None:
    """Check that no group has rows in two of the splits that are named.

    Raises:
        PotstillError: one has; at the row in the second split.
    """
    part_of: dict[str, str] = {}
    for part in (part for part in SPLITS if part in rows and columns.group):
        for row in rows[part]:
            if row.group is not None and part_of.setdefault(row.group, part) != part:
                problem = f"{columns.group} {row.group!r} has rows in {part_of[row.group]} and in {part}"
                raise PotstillError(row.place, problem, "put all rows of a group into one file, or drop data.split.group")
