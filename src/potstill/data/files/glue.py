"""GLUE's nine data sets, out of GLUE's own folders, SentEval's MRPC or the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from potstill.data.files.formats import TSV
from potstill.data.files.hub import load_data
from potstill.data.files.lines import read_lines, require_clean
from potstill.data.files.tables import read_table
from potstill.data.labelled import Examples, Row, examples_of
from potstill.data.splits import LabelledData, hold_out, hold_out_sentences
from potstill.errors import PotstillError
from potstill.machine.files import kind_of_place
from potstill.runtime.folder import CLASSIFICATION, REGRESSION
from potstill.runtime.tokens import Text

HUB = "nyu-mll/glue"
PARAPHRASES = "msr_paraphrase_{}.txt"  # MRPC as its authors gave it: its test file has labels
MRPC_COLUMNS = ("#1 String", "#2 String", "Quality")
COLA_COLUMNS = 4  # source, label, the author's own mark, sentence; no header


@dataclass(frozen=True)
class GlueSet:
    """One of GLUE's data sets: its files, its labels and its measures.

    Attributes:
        title: one line about it, for a listing.
        folder: the name that GLUE gives its folder.
        columns: of the TSV files: the text or both texts, then the label.
        labels: names as on the hub, in the order of the hub's numbers; none for a regression.
        measures: of tasks.labelled.measures, the first for tables. Source: Wang et al. 2019, GLUE,
            table 1.
        written: the labels as they stand in the TSV files, where they differ from `labels`.
        dev: the dev file's name without its ending.
        hub: its configuration on the hub, where it is not the variant's name.
        hub_columns: names of the text columns on the hub, where they differ from `columns`.
        hub_dev: name of the dev split on the hub.
        broken_rows: whether its files are known to hold rows with missing fields. Such rows are left
            out.
        numbered: whether everybody numbers the labels as the hub does. MNLI's are numbered alphabetically by models
            that were trained before the hub had it.
        phrases: whether `train` holds phrases of its sentences as rows of their own.
    """

    title: str
    folder: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    measures: tuple[str, ...]
    written: tuple[str, ...] = ()
    dev: str = "dev"
    hub: str = ""
    hub_columns: tuple[str, ...] = ()
    hub_dev: str = "validation"
    broken_rows: bool = False
    numbered: bool = True
    phrases: bool = False


_PAIR = ("sentence1", "sentence2", "label")
_ZERO_ONE = ("0", "1")
_FOLLOWS = ("entailment", "not_entailment")
_MNLI: dict[str, Any] = {
    "folder": "MNLI",
    "columns": ("sentence1", "sentence2", "gold_label"),
    "labels": ("entailment", "neutral", "contradiction"),
    "measures": ("accuracy",),
    "hub": "mnli",
    "hub_columns": ("premise", "hypothesis"),
    "numbered": False,
}
SETS = {
    "cola": GlueSet(
        "is it acceptable English?", "CoLA", ("sentence", "label"), ("unacceptable", "acceptable"), ("matthews",), _ZERO_ONE
    ),
    "sst2": GlueSet(
        "is a film review good or bad?", "SST-2", ("sentence", "label"), ("negative", "positive"), ("accuracy",), _ZERO_ONE,
        phrases=True,
    ),
    "mrpc": GlueSet(
        "do two sentences say the same?", "MRPC", MRPC_COLUMNS, ("not_equivalent", "equivalent"), ("f1", "accuracy"), _ZERO_ONE,
        hub_columns=("sentence1", "sentence2"),
    ),
    "stsb": GlueSet(
        "how alike are two sentences, 0 to 5?", "STS-B", ("sentence1", "sentence2", "score"), (), ("spearman", "pearson")
    ),
    "qqp": GlueSet(
        "do two questions ask the same?", "QQP", ("question1", "question2", "is_duplicate"), ("not_duplicate", "duplicate"),
        ("f1", "accuracy"), _ZERO_ONE, broken_rows=True,
    ),
    "mnli": GlueSet(
        "does one sentence follow from the other? Matched genres", dev="dev_matched", hub_dev="validation_matched", **_MNLI
    ),
    "mnli-mm": GlueSet(
        "does one sentence follow from the other? Other genres", dev="dev_mismatched", hub_dev="validation_mismatched", **_MNLI
    ),
    "qnli": GlueSet("does a sentence answer a question?", "QNLI", ("question", "sentence", "label"), _FOLLOWS, ("accuracy",)),
    "rte": GlueSet("does one sentence follow from the other?", "RTE", _PAIR, _FOLLOWS, ("accuracy",)),
    "wnli": GlueSet("whom does a pronoun mean?", "WNLI", _PAIR, ("not_entailment", "entailment"), ("accuracy",), _ZERO_ONE),
}  # fmt: skip


def glue_data(variant: str, folder: Path, numbered: Sequence[str] = ()) -> LabelledData:
    """One of SETS: from FOLDER/glue/<its folder>, MRPC also from FOLDER/senteval/MRPC, else from the hub.

    MRPC's original files are preferred to GLUE's version of them, because their test file has labels.
    A split's file is opened when the split is asked for. A PotstillError comes through where there is
    neither a folder nor a hub.

    Args:
        variant: a name of SETS.
        folder: holds glue/ or senteval/.
        numbered: the labels in the order of the numbers that a model without names for them has.

    Raises:
        PotstillError: `numbered` are other names than the labels'.
    """
    known = SETS[variant]
    if numbered and sorted(numbered) != sorted(known.labels):
        what = f"its labels are {', '.join(known.labels)}" if known.labels else "it has no labels"
        raise PotstillError("data.labels", f"{', '.join(numbered)} for glue/{variant}", what)
    homes = [folder / "glue" / known.folder] + ([folder / "senteval" / "MRPC"] if variant == "mrpc" else [])
    home = next((home for home in homes if kind_of_place(home) == "a folder"), None)
    if home is None:
        splits = _hub_splits(variant, homes)
    elif variant == "mrpc" and kind_of_place(home / PARAPHRASES.format("test")) == "a file":
        splits = {split: partial(_read, known, home / PARAPHRASES.format(split)) for split in ("train", "test")}
    else:
        splits = {"train": partial(_read, known, home / "train.tsv"), "dev": partial(_read, known, home / f"{known.dev}.tsv")}
    numbered = numbered or (known.labels if known.numbered else ())
    draw = hold_out_sentences if known.phrases else hold_out
    return LabelledData(f"glue/{variant}", _kind(known), list(known.labels), splits, list(numbered), draw)


def _kind(known: GlueSet) -> str:
    return CLASSIFICATION if known.labels else REGRESSION


def _read(known: GlueSet, path: Path) -> Examples:
    rows = _cola_rows(path) if known.folder == "CoLA" else _tsv_rows(known, path)
    return examples_of(rows, _kind(known), known.written or known.labels, path)[0]


def _cola_rows(path: Path) -> Iterator[Row]:
    for number, line in read_lines(path):
        fields = line.split("\t")
        if len(fields) != COLA_COLUMNS:
            problem = f"{len(fields)} columns where {COLA_COLUMNS} are expected"
            raise PotstillError(f"{path}:{number}", problem, "CoLA's columns are source, label, mark and sentence, between tabs")
        yield Row(f"{path}:{number}", _text(fields[3:], f"{path}:{number}"), fields[1])


def _tsv_rows(known: GlueSet, path: Path) -> Iterator[Row]:
    *sides, label = known.columns
    for number, row in read_table(path, known.columns, TSV, leave_out_broken=known.broken_rows):
        texts = [row[side] for side in sides]
        if not (known.broken_rows and not all(text.strip() for text in texts)):
            yield Row(f"{path}:{number}", _text(texts, f"{path}:{number}"), row[label])


def _text(sides: list[str], place: str) -> Text:
    sides = [side.strip() for side in sides]
    if not all(sides):
        raise PotstillError(place, "a sentence is blank", "fetch the file again")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _hub_splits(variant: str, homes: list[Path]) -> dict[str, Callable[[], Examples]]:
    known = SETS[variant]
    source = f"{HUB}:{known.hub or variant}"
    try:
        data = load_data(source)
    except PotstillError as error:
        way_out = f"put GLUE's files in {' or '.join(str(home) for home in homes)}, or run where the hub can be reached"
        raise PotstillError(f"glue/{variant}", f"no files here, and {source} {error.problem}", way_out) from error
    names = {"train": "train", "dev": known.hub_dev} | ({"test": "test"} if variant == "mrpc" else {})
    return {split: partial(hub_examples, known, data[name], f"{source}:{name}") for split, name in names.items()}


def hub_examples(known: GlueSet, data: Any, source: str) -> Examples:
    """The examples of one split as the hub has it.

    A PotstillError comes through with the row's number for a blank sentence and for a label outside
    the set. (A label of -1 is one that the hub does not tell.)

    Args:
        known: the data set.
        data: a datasets.Dataset of one split, with labels as numbers.
        source: its name, for errors.
    """
    sides = known.hub_columns or known.columns[:-1]
    numbers = [str(number) for number in range(len(known.labels))]

    def rows() -> Iterator[Row]:
        columns = zip(*(data[side][:] for side in sides), data["label"][:], strict=True)
        for number, (*texts, label) in enumerate(columns, start=1):
            place = f"{source}: row {number}"
            if known.broken_rows and not all(text and text.strip() for text in texts):
                continue
            for text in texts:
                require_clean(text, place)
            yield Row(place, _text(texts, place), label)

    return examples_of(rows(), _kind(known), numbers, source)[0]
