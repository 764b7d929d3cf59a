"""SentEval's STS files: pairs of sentences and how similar people found them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from potstill.data.files.lines import read_lines, require_file, shown_path
from potstill.errors import PotstillError, shown
from potstill.machine.files import kind_of_place

# STS13's SMT comes with some copies only; the protocol leaves it out (SentEval, sts.py).
EXCLUDED = {"SMT"}


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of sentences of one subset, and their gold scores: three lists of one length.

    Attributes:
        name: of the subset.
        first: the first sentence of each pair.
        second: the second sentence of each pair.
        scores: how similar people found the two, from 0 to 5.
    """

    name: str
    first: list[str]
    second: list[str]
    scores: list[float]

    def __len__(self) -> int:
        return len(self.scores)


def read_sts_folder(folder: str | Path) -> list[ScoredPairs]:
    """The subsets of one STS year, sorted by name, out of a folder such as `STS/STS12-en-test`.

    A blank line in `STS.gs.<subset>.txt` is a pair without a score; the pair is dropped. A sentence
    is its whitespace tokens joined by one space, as in SentEval (sts.py).

    Args:
        folder: holds `STS.input.<subset>.txt` and `STS.gs.<subset>.txt`.

    Raises:
        PotstillError: there is no such folder, no `STS.input.*` in it, or no gold file to one; the two
            files differ in their number of lines; with the line's number: there are not two columns,
            or a score is not a number.
    """
    folder = Path(folder)
    if kind_of_place(folder) != "a folder":
        raise PotstillError(shown_path(folder), "no such folder", "give the folder that holds senteval/STS/STS12-en-test and its sisters")
    names = sorted(path.name.removeprefix("STS.input.").removesuffix(".txt") for path in folder.glob("STS.input.*.txt"))
    names = [name for name in names if name not in EXCLUDED]
    if not names:
        raise PotstillError(folder, "holds no STS.input.<subset>.txt", "is it a folder of SentEval's STS data?")
    return [_read_subset(folder, name) for name in names]


def read_sts_benchmark(path: str | Path) -> ScoredPairs:
    """One file of STS-B (`sts-train.csv`, `sts-dev.csv`, `sts-test.csv`), named after the file.

    The columns are separated by tabs in spite of the name, and nothing is quoted: a lone `"` is a
    character of the sentence.

    Args:
        path: the file.

    Raises:
        PotstillError: there is no such file; with the line's number: there are fewer than seven
            columns, or a score is not a number.
    """
    path = require_file(path)
    pairs = ScoredPairs(path.stem, [], [], [])
    for number, line in read_lines(path):
        place = f"{path}:{number}"
        columns = line.split("\t")
        # Some copies carry one or two columns of sources behind the sentences.
        if len(columns) < 7:
            raise PotstillError(place, f"{len(columns)} columns where at least 7 are expected", "columns are separated by tabs")
        _append(pairs, columns[5], columns[6], columns[4], place)
    return pairs


def _read_subset(folder: Path, name: str) -> ScoredPairs:
    inputs, golds = folder / f"STS.input.{name}.txt", folder / f"STS.gs.{name}.txt"
    sentences, scores = list(read_lines(inputs)), list(read_lines(golds))
    if len(sentences) != len(scores):
        raise PotstillError(golds, f"{len(scores)} lines, but {inputs.name} has {len(sentences)}", "fetch both files again")
    pairs = ScoredPairs(name, [], [], [])
    for (number, line), (_, score) in zip(sentences, scores, strict=True):
        columns = line.split("\t")
        if len(columns) != 2:
            raise PotstillError(f"{inputs}:{number}", f"{len(columns)} columns where 2 are expected", "sentences are separated by one tab")
        if score.strip():
            _append(pairs, columns[0], columns[1], score, f"{golds}:{number}")
    if not len(pairs):
        raise PotstillError(golds, "no pair has a score", "fetch the file again")
    return pairs


def _append(pairs: ScoredPairs, first: str, second: str, score: str, place: str) -> None:
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PotstillError(place, f"the score {shown(score)} is not a number", "a score is a number from 0 to 5")
    pairs.first.append(" ".join(first.split()))
    pairs.second.append(" ".join(second.split()))
    pairs.scores.append(value)
