"""Texts to predict on, out of whatever file a user has."""

from __future__ import annotations

from pathlib import Path

from potstill.data.labelled import Text
from potstill.data.labelled_files import read_inputs
from potstill.data.lines import read_lines
from potstill.data.readers import FORMAT_OF


def read_file(path: str | Path, kind: str) -> list[Text]:
    """The texts of a file, in its order, as a model of this kind reads them.

    Args:
        path: a table or JSON lines, as `read_inputs` takes them; of another ending plain text (.gz
            too), one a line, blank ones too, so that line k of the answers is of line k.
        kind: of data.labelled.KINDS. Words to tag come split, in JSON lines or CoNLL columns.

    Raises:
        PotstillError: whatever is wrong, at its file and line.
    """
    path = Path(path)
    ending = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if kind == "tagging" or ending in FORMAT_OF:
        return read_inputs(path, kind)
    return [line for _, line in read_lines(path)]
