"""A user's own labelled files: tables, JSON lines, CoNLL columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from potstill.data.jsonl import read_jsonl_rows
from potstill.data.labelled import Examples, Row, Text, examples_of
from potstill.data.lines import require_clean
from potstill.data.splits import SPLITS, LabelledData
from potstill.data.tables import read_table
from potstill.data.tagged import conll_rows, tagged_jsonl_rows
from potstill.errors import PotstillError, shown

BAR = "|"  # between the labels of a multi-label row, where a table has one cell for them


def read_labelled(path: str | Path, kind: str, names: Sequence[str] | None = None) -> tuple[Examples, list[str]]:
    """Examples of one file, and their label set.

    A table has a header with the columns `text`, `label` and, for pairs, `text_pair`; .csv is quoted,
    .tsv is not. JSON lines have fields of the same names. Several labels are a list, in a table
    separated by |. Tagged sentences are {"tokens": [...], "tags": [...]} or CoNLL columns.

    Args:
        kind: of data.labelled.KINDS.
        names: the label set; None collects it from this file, which must then be fit to learn from.

    Raises:
        PotstillError: whatever is wrong, at its file and line.
    """
    return examples_of(_rows(path, kind, labelled=True), kind, names, path)


def read_inputs(path: str | Path, kind: str) -> list[Text]:
    """The texts alone of a file as `read_labelled` takes it; the labels may be missing.

    Raises:
        PotstillError: whatever is wrong, at its file and line.
    """
    texts = [row.text for row in _rows(path, kind, labelled=False)]
    if not texts:
        raise PotstillError(path, "holds no texts", "name a file with at least one row")
    if len({type(text) for text in texts}) > 1:
        raise PotstillError(path, "holds single texts and pairs", "give every row a text_pair, or none")
    return texts


def own_data(kind: str, name: str, folder: Path) -> LabelledData:
    """The user's data set FOLDER/<kind>/<name>/{train,dev,test}.<ending>; its label set is that of train.

    Without a train file (for evaluation alone) the label set is that of the reported split.

    Raises:
        PotstillError: no such folder, no file in it, two files for one split, and whatever is wrong
            with the labels of the file that gives the set.
    """
    place = folder / kind / name
    if not name or Path(name).name != name or not place.is_dir():
        there = sorted(path.name for path in (folder / kind).glob("*") if path.is_dir())
        known = f"there: {', '.join(there)}" if there else f"make {place} with train, dev and test files"
        raise PotstillError(f"{kind}/{name}", f"no such folder: {place}", known)
    files = {split: path for split in SPLITS if (path := _file(place, split, kind))}
    if not files:
        expected = ", ".join(sorted(READERS[kind == "tagging"]))
        raise PotstillError(place, "holds no train, dev or test file", f"add one; endings: {expected}")

    @cache
    def whole() -> tuple[Examples, list[str]]:
        return read_labelled(files.get("train") or files.get("test") or files["dev"], kind)

    def read(split: str) -> Examples:
        return whole()[0] if split == "train" else read_labelled(files[split], kind, whole()[1])[0]

    return LabelledData(f"{kind}/{name}", kind, whole()[1], {split: partial(read, split) for split in files})


def _file(folder: Path, split: str, kind: str) -> Path | None:
    found = [path for ending in READERS[kind == "tagging"] if (path := folder / f"{split}{ending}").is_file()]
    if len(found) > 1:
        raise PotstillError(folder, f"holds {' and '.join(path.name for path in found)}", "keep one file a split")
    return found[0] if found else None


def _rows(path: str | Path, kind: str, *, labelled: bool) -> Iterator[Row]:
    readers = READERS[kind == "tagging"]
    ending = Path(path).suffix.lower()
    if ending not in readers:
        raise PotstillError(path, f"ends in {ending!r}", f"for {kind} name a file that ends in one of {', '.join(sorted(readers))}")
    for row in readers[ending](path, labelled=labelled):
        if labelled and kind == "multilabel" and ending in (".csv", ".tsv"):
            row = row._replace(label=row.label.split(BAR) if row.label.strip() else [])
        yield row


def _table_rows(path: str | Path, *, labelled: bool, delimiter: str, quoted: bool) -> Iterator[Row]:
    for number, row in read_table(path, ["text", "label"] if labelled else ["text"], delimiter=delimiter, quoted=quoted):
        yield Row(f"{path}:{number}", _text(row, f"{path}:{number}"), row.get("label"))


def _jsonl_rows(path: str | Path, *, labelled: bool) -> Iterator[Row]:
    for number, row in read_jsonl_rows(path, ["text", "label"] if labelled else ["text"]):
        place = f"{path}:{number}"
        if isinstance(row.get("label"), list):
            for label in row["label"]:
                if isinstance(label, str):
                    require_clean(label, place)
        yield Row(place, _text(row, place), row.get("label"))


def _text(row: dict[str, Any], place: str) -> Text:
    sides = [row[field] for field in ("text", "text_pair") if field in row]
    for field, side in zip(("text", "text_pair"), sides, strict=False):
        if not isinstance(side, str) or not side.strip():
            raise PotstillError(place, f"{field!r} is {shown(side)}", "write a text that is not blank")
    return (sides[0], sides[1]) if len(sides) == 2 else sides[0]


# By whether words are tagged, then by the file's ending.
READERS: dict[bool, dict[str, Callable[..., Iterator[Row]]]] = {
    False: {
        ".csv": partial(_table_rows, delimiter=",", quoted=True),
        ".tsv": partial(_table_rows, delimiter="\t", quoted=False),
        ".jsonl": _jsonl_rows,
    },
    True: {".jsonl": tagged_jsonl_rows, ".conll": conll_rows, ".txt": conll_rows},
}
