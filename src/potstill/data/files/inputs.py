"""Texts to predict on, out of whatever file a user has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potstill.data.files.formats import CONLL, TEXT, format_of
from potstill.data.files.labelled_files import read_inputs
from potstill.data.files.lines import read_lines
from potstill.data.files.tagged import DOCUMENT, TAG
from potstill.errors import PotstillError, shown
from potstill.runtime.folder import TAGGING
from potstill.runtime.tokens import Text


def read_file(path: str | Path, kind: str) -> list[Text]:
    """The texts of a file, in its order, as a model with a head of this kind reads them.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table or JSON lines, as `read_inputs` takes them. Any other ending is plain text, one
            text a line. Blank lines are kept, so that line k of the answers belongs to line k of the
            file. Every file may be gzipped.
        kind: of runtime.folder.HEADS. For tagging the file holds words: JSON lines or CoNLL columns. A .txt file
            holds columns where every line is one word or ends in a tag, else texts, which are still to be split.
    """
    format = format_of(path)
    if kind != TAGGING and format in (None, TEXT, CONLL):
        return [line for _, line in read_lines(path)]
    if kind == TAGGING and format == TEXT:
        lines = [line for _, line in read_lines(path)]
        if not _columns(lines, path):
            return list(lines)
    return read_inputs(path, kind)


def _columns(lines: Sequence[str], path: str | Path) -> bool:
    """Whether lines are columns and not texts.

    Raises:
        PotstillError: they may be either: two columns, the second one without tags, look like texts of two words.
    """
    rows = [columns for line in lines if (columns := line.split()) and columns[0] != DOCUMENT]
    if all(len(columns) == 1 or TAG.fullmatch(columns[-1]) for columns in rows):
        return True
    if len(rows) > 1 and all(len(columns) == 2 for columns in rows):
        raise PotstillError(
            path, f"lines such as {shown(' '.join(rows[0]))} may be columns or texts", "name it .conll, or give the words in a .jsonl file"
        )
    return False
