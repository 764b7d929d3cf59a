"""What the user of `potstill init` said of data and models, and what is missing in it: asked for, or told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from potstill.data.files.formats import CONLL, CSV, DATASET, JSONL, TEXT, TSV, ending_of, format_of
from potstill.data.files.hub import load_data
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.tables import read_table, remedy_for_header
from potstill.errors import PotstillError, did_you_mean
from potstill.machine.files import kind_of_place
from potstill.recipe.recipe import OWN_KINDS
from potstill.registry import TAGGING

TABLE, WORDS, TEXTS, PAIRS = "csv", "conll", "texts", "pairs"
# What data may be, by the option that names it → the options that say more of it.
FORMS = {
    TABLE: ("text", "text_pair", "label", "group", "kind", "labels"),
    WORDS: ("labels",),
    TEXTS: ("text",),
    PAIRS: ("text", "text_pair"),
}
FORM_OF = {TEXT: TEXTS, None: TEXTS, CONLL: WORDS}  # a file's format → what it holds; of a table nobody knows
PAIRED = (("query", "document"), ("text", "text_pair"), ("question", "answer"), ("sentence1", "sentence2"))  # usual columns
Ask = Callable[[str, Sequence[str]], str]
"""Puts a question to the user: its words, and the answers to choose from (none: any) → the answer, "" for none."""


@dataclass(frozen=True)
class Wanted:
    """What the user said.

    Attributes:
        form: of FORMS.
        files: one or several; of data with labels those called train, dev and test are these splits.
        text, text_pair, label, group: columns of a table; None: the usual names.
        kind: of labels; None: told by them.
        labels: their names in the order of a model's numbers; none: the data's own.
        teacher, student: models; None: the recipe's.
    """

    form: str
    files: tuple[str, ...]
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    group: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    teacher: str | None = None
    student: str | None = None

    @property
    def labelled(self) -> bool:
        """Whether the data has labels."""
        return self.form in (TABLE, WORDS)


def option(name: str) -> str:
    """A field of Wanted as the option of the command."""
    return f"--{name.replace('_', '-')}"


def completed(data: Mapping[str, Sequence[str]], ask: Ask | None, **said: Any) -> Wanted:
    """What the user said, and what is missing in it asked for, or taken as it is usually called.

    Args:
        data: the files by the form whose option named them.
        ask: None: there is nobody to ask.
        said: further fields of Wanted.

    Raises:
        PotstillError: data is missing, or of two forms, or a column is missing, and there is nobody to ask; there is no
            such file, column or kind; or an option says nothing of data of this form.
    """
    named = {form: tuple(files) for form, files in data.items() if files}
    if len(named) > 1:
        raise PotstillError("init", f"{' and '.join(map(option, named))} name data of two forms", "give one of them")
    if not named and ask is None:
        raise PotstillError("init", "no data is named", f"give one of {', '.join(map(option, FORMS))} with a file")
    if not named and ask is not None:
        file = ask("Your data, a file", [])
        form = FORM_OF.get(format_of(file)) or ask("A table with labels, texts without, or pairs of texts?", [TABLE, TEXTS, PAIRS])
        named = {form: (file,)}
    ((form, files),) = named.items()
    found = Wanted(form, files, **said)
    for key in ("text", "text_pair", "label", "group", "kind", "labels"):
        if getattr(found, key) and key not in FORMS[form]:
            raise PotstillError(option(key), f"says nothing of data that {option(form)} names", "drop it")
    if found.kind is not None and found.kind not in OWN_KINDS:
        raise PotstillError("--kind", f"unknown kind {found.kind!r}", did_you_mean(found.kind, OWN_KINDS))
    for file in files:
        if not file or kind_of_place(file) is None:
            raise PotstillError(file or "init", "does not exist", "check the path, which is relative to the working folder")
    if form in (TABLE, PAIRS) or (form == TEXTS and format_of(files[0]) not in FORM_OF):
        found = _with_columns(found, _columns_in(files[0]), ask)
    if found.teacher is None and ask is not None:
        what = "fine-tuned on these labels; empty: there is none yet" if found.labelled else "an encoder of vectors; empty: the recipe's"
        found = replace(found, teacher=ask(f"The teacher, a model's folder or name ({what})", []) or None)
    return found


def _with_columns(said: Wanted, columns: list[str], ask: Ask | None) -> Wanted:
    """What the user said, with the columns that were not named: the usual ones, or asked for.

    Raises:
        PotstillError: a column is not there, or has no usual name and there is nobody to ask.
    """
    if said.form == TABLE and said.text is None and {"tokens", "tags"} <= set(columns):
        said = replace(said, kind=said.kind or TAGGING)
    if said.form == PAIRS:
        pair = next((pair for pair in PAIRED if set(pair) <= set(columns)), tuple(columns) if len(columns) == 2 else ("", ""))
        usual = dict(zip(("text", "text_pair"), pair))
    elif said.kind == TAGGING:
        usual = {"text": "tokens", "label": "tags"}
    else:
        usual = {"text": "text", "label": "label"} if said.form == TABLE else {"text": "text"}
    named: dict[str, Any] = {}
    for key, name in usual.items():
        if getattr(said, key) is not None:
            continue
        if name not in columns and ask is None:
            remedy = remedy_for_header(columns, f"name one of {', '.join(columns)}")
            raise PotstillError(option(key), f"is not given, and {said.files[0]} has no usual column", remedy)
        question = f"The column of the {'second text' if key == 'text_pair' else key}"
        named[key] = name if name in columns or ask is None else ask(question, columns)
    said = replace(said, **named)
    for key in ("text", "text_pair", "label", "group"):
        name = getattr(said, key)
        if name is not None and name not in columns:
            remedy = remedy_for_header(columns, did_you_mean(name, columns))
            raise PotstillError(option(key), f"{said.files[0]} has no column {name!r}", remedy)
    return said


def _columns_in(file: str) -> list[str]:
    """Names of a table's columns, or of the fields of its first row.

    Raises:
        PotstillError: it is no table, cannot be read, or holds no rows.
    """
    format = format_of(file)
    if kind_of_place(file) == "a folder" or format == DATASET:
        found = load_data(file)
        return list((next(iter(found.values())) if isinstance(found, dict) else found).features)
    if format is None or format not in (CSV, TSV, JSONL):
        remedy = "name a .csv, .tsv, .jsonl or .parquet, or use --conll or --texts"
        raise PotstillError(file, f"ends in {ending_of(file)!r}, and is no table", remedy)
    for _, row in read_jsonl_rows(file) if format == JSONL else read_table(file, [], format):
        return list(row)
    raise PotstillError(file, "holds no rows", "name a file with at least one row under its header")
