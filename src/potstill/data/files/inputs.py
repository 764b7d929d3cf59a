"""Texts to predict on, out of whatever file a user has."""

from __future__ import annotations

from pathlib import Path

from potstill.data.files.formats import CONLL, TEXT, format_of
from potstill.data.files.labelled_files import read_inputs
from potstill.data.files.lines import read_lines
from potstill.runtime.folder import TAGGING
from potstill.runtime.tokens import Text


def read_file(path: str | Path, kind: str) -> list[Text]:
    """The texts of a file, in its order, as a model with a head of this kind reads them.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table or JSON lines, as `read_inputs` takes them. Any other ending is plain text, one
            text a line. Blank lines are kept, so that line k of the answers belongs to line k of the
            file. Every file may be gzipped.
        kind: of runtime.folder.HEADS. For tagging the file holds words: JSON lines or CoNLL columns.
    """
    if kind != TAGGING and format_of(path) in (None, TEXT, CONLL):
        return [line for _, line in read_lines(path)]
    return read_inputs(path, kind)
