"""A user's own labelled files: tables, JSON lines, CoNLL columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from potstill.data.files.formats import (
    CONLL,
    CSV,
    ENDINGS,
    FORMAT_OF,
    GZIP,
    JSONL,
    TEXT,
    TSV,
    ending_of,
    endings_of,
    format_of,
    stem_of,
    what_is,
)
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.lines import require_clean, shown_path
from potstill.data.files.tables import DIALECTS, read_table
from potstill.data.files.tagged import conll_rows, tagged_jsonl_rows
from potstill.data.labelled import Columns, Examples, Row, examples_of, names_of
from potstill.data.splits import SPLITS, LabelledData
from potstill.errors import PotstillError, shown
from potstill.machine.files import kind_of_place
from potstill.runtime.folder import MULTILABEL, REGRESSION, TAGGING
from potstill.runtime.tokens import Text

BAR = "|"  # between the labels of a multi-label row, where a table has one cell for them


def read_labelled(
    path: str | Path, kind: str, names: Sequence[str] | None = None, numbered: Sequence[str] = ()
) -> tuple[Examples, list[str]]:
    """The examples of one file, and their label set.

    A table has a header with the columns `text`, `label` and, for pairs, `text_pair`. A CSV file is
    quoted, a TSV file is not. JSON lines have fields of the same names. Several labels are a list; in
    a table they are separated by |. Tagged sentences are {"tokens": [...], "tags": [...]} or CoNLL
    columns. Every file may be gzipped. A PotstillError for whatever is wrong, at its file and line,
    comes through from the readers and from `examples_of`.

    Args:
        path: the file; its name tells the format.
        kind: of runtime.folder.HEADS.
        names: the label set. None: it is collected from this file, whose labels must then differ.
        numbered: as in `examples_of`.

    Returns:
        The examples; and the label names in the order of the labels' numbers, [] for a regression.
    """
    return examples_of(read_rows(path, kind), kind, names, path, numbered)


def read_inputs(path: str | Path, kind: str, format: str | None = None, columns: Columns | None = None) -> list[Text]:
    """The texts alone of a file as `read_labelled` takes it. The labels may be missing.

    Args:
        path: the file.
        kind: of runtime.folder.HEADS.
        format: of FORMAT_OF; default: what the file's name tells.
        columns: as in `read_rows`.

    Returns:
        The texts, all single ones, all pairs, or all lists of words.

    Raises:
        PotstillError: there is no text, or single texts and pairs are mixed; whatever a reader finds,
            at its file and line.
    """
    texts = [row.text for row in read_rows(path, kind, columns, labelled=False, format=format)]
    if not texts:
        raise PotstillError(path, "holds no texts", "name a file with at least one row")
    if len({type(text) for text in texts}) > 1:
        raise PotstillError(path, "holds single texts and pairs", "give every row a text_pair, or none")
    return texts


def own_data(kind: str, name: str, folder: Path, numbered: Sequence[str] = ()) -> LabelledData:
    """The user's data set FOLDER/<kind>/<name>/{train,dev,test}.<ending>, with the label set of train.

    Without a train file, which is enough for evaluation, the label set is that of the reported split.
    The file of the label set is read at once, the others when they are asked for, each one once.

    Args:
        kind: of runtime.folder.HEADS.
        name: of the data set.
        folder: holds a folder for each kind.
        numbered: names in the order of the labels' numbers, which are then the label set, as `examples_of` reads it. Without
            them labels that are the numbers 0 to n-1 are known by their numbers, and other ones are not.

    Raises:
        PotstillError: there is no such folder, no file in it, two files for one split, or a file for one that is not read;
            names of the labels of a regression; whatever is wrong in the file of the label set.
    """
    if numbered and kind == REGRESSION:
        raise PotstillError("data.labels", f"{', '.join(numbered)} for a regression, which has no labels", "drop it")
    place = folder / kind / name
    if not name or Path(name).name != name or kind_of_place(place) != "a folder":
        home = folder / kind
        there = sorted(path.name for path in home.glob("*") if path.is_dir()) if kind_of_place(home) == "a folder" else []
        way_out = f"there: {', '.join(there)}" if there else f"make {place} with train, dev and test files"
        raise PotstillError(f"{kind}/{name}", f"no such folder: {shown_path(place)}", way_out)
    files = {split: path for split in SPLITS if (path := _file(place, split, kind))}
    if not files:
        raise PotstillError(place, "holds no train, dev or test file", f"add one; endings: {endings_of(READERS[kind == TAGGING])}")
    first = next(split for split in ("train", "test", "dev") if split in files)
    examples, labels = read_labelled(files[first], kind, numbered=numbered)

    def read(split: str) -> Examples:
        return examples if split == first else read_labelled(files[split], kind, labels, numbered)[0]

    known = labels if numbered or labels == [str(number) for number in range(len(labels))] else []
    return LabelledData(f"{kind}/{name}", kind, labels, {split: partial(read, split) for split in files}, list(known))


def _file(folder: Path, split: str, kind: str) -> Path | None:
    readers = READERS[kind == TAGGING]
    found = sorted(path for path in folder.iterdir() if stem_of(path) == split and format_of(path) in readers and path.is_file())
    if len(found) > 1:
        raise PotstillError(folder, f"holds {' and '.join(path.name for path in found)}", "keep one file a split")
    if not found:
        _require_none_meant(folder, split, kind)
    return found[0] if found else None


def _require_none_meant(folder: Path, split: str, kind: str) -> None:
    """Check that no file is meant to be a split whose name says that it is not read: it would be left out in silence.

    Raises:
        PotstillError: there is one: Test.csv, test.parquet, test.csv.zip.
    """
    for path in sorted(folder.iterdir()):
        name, *endings = path.name.lower().split(".")
        if name == split and endings and all(f".{ending}" in (*FORMAT_OF, *ENDINGS, GZIP) for ending in endings) and path.is_file():
            what = what_is(path)
            problem = f"is {what}, and not read for {kind}" if what else f"is not read for {kind}"
            raise PotstillError(path, problem, f"name it {split}, with one of these endings: {endings_of(READERS[kind == TAGGING])}")


def read_rows(
    path: str | Path, kind: str, columns: Columns | None = None, *, labelled: bool = True, format: str | None = None
) -> Iterator[Row]:
    """Yield the rows of one file.

    Args:
        path: as in `read_labelled`.
        kind: of runtime.folder.HEADS.
        columns: names of its columns; default: the usual ones.
        labelled: whether to read labels.
        format: what the file is; default: what its name says.

    Raises:
        PotstillError: a file of this ending is not read for the kind; whatever a reader finds, at its file and line.
    """
    readers = READERS[kind == TAGGING]
    told, format = format, format or format_of(path)
    if format not in readers:
        problem = f"ends in {ending_of(path)!r}" if told is None else f"is read as {told}"
        raise PotstillError(path, problem, f"for {kind} name a file that ends in one of {endings_of(readers)}")
    for row in readers[format](path, labelled=labelled, columns=columns or names_of(kind)):
        if labelled and kind == MULTILABEL and format in DIALECTS:
            row = row._replace(label=row.label.split(BAR) if row.label.strip() else [])
        yield row


def _table_rows(path: str | Path, *, labelled: bool, columns: Columns, format: str) -> Iterator[Row]:
    for number, row in read_table(path, columns.required(labelled), format):
        yield row_of(row, columns, f"{path}:{number}")


def _jsonl_rows(path: str | Path, *, labelled: bool, columns: Columns) -> Iterator[Row]:
    for number, row in read_jsonl_rows(path, columns.required(labelled)):
        place = f"{path}:{number}"
        label = row.get(columns.label)
        for each in label if isinstance(label, list) else ():
            if isinstance(each, str):
                require_clean(each, place)
        yield row_of(row, columns, place)


def row_of(row: dict[str, Any], columns: Columns, place: str) -> Row:
    """A row of a table of texts.

    Args:
        row: name of the column → what stands in it.
        columns: names of the columns that are read.
        place: where the row is, for errors.

    Raises:
        PotstillError: a text is blank or none, or what keeps rows together is missing.
    """
    fields = [field for field in (columns.text, columns.pair) if field in row]
    for field in fields:
        if not isinstance(row[field], str) or not row[field].strip():
            raise PotstillError(place, f"{field!r} is {shown(row[field])}", "write a text that is not blank")
    sides = [row[field] for field in fields]
    text = (sides[0], sides[1]) if len(sides) == 2 else sides[0]
    return Row(place, text, row.get(columns.label), columns.group_of(row, place))


def _conll_rows(path: str | Path, *, labelled: bool, columns: Columns) -> Iterator[Row]:
    if columns != names_of(TAGGING):
        problem = "has columns without names: the word is in the first and its tag in the last"
        raise PotstillError(path, problem, "drop data.text, data.text_pair, data.label and data.split.group")
    return conll_rows(path, labelled=labelled)


# By whether words are tagged, then by the file's format.
READERS: dict[bool, dict[str, Callable[..., Iterator[Row]]]] = {
    False: {CSV: partial(_table_rows, format=CSV), TSV: partial(_table_rows, format=TSV), JSONL: _jsonl_rows},
    True: {JSONL: tagged_jsonl_rows, CONLL: _conll_rows, TEXT: _conll_rows},
}
