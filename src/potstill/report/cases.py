"""The case table: for chosen texts the angle between student and teacher, layer by layer, and what both answer, run beside run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.report.numbers import fixed, shown_number
from potstill.report.scores import finite
from potstill.results import Run

LENGTH = 110
"""Characters of a text that are shown."""
MEAN = "mean of these texts"

SIDES = {"gold": "Gold", "teacher": "Teacher", "student": "Student"}

Pair = tuple[int, int]
Angles = dict[Pair, float | None]
Answers = Mapping[str, Any]


@dataclass(frozen=True)
class CaseRow:
    """One term of one run on one text."""

    run: str
    term: str
    cells: list[str]
    smallest: list[bool]
    """Whether a cell is the smallest angle of its layer on this text, where there are several."""
    answers: list[tuple[str, bool]]
    """For each of the table's `sides`: what it says of the text, and whether that is another label than the gold one."""


@dataclass(frozen=True)
class Case:
    """One text, with a row for each term of each run that measured it."""

    text: str
    """Cut to `LENGTH` characters."""
    whole: str
    """The text uncut."""
    rows: list[CaseRow]


@dataclass(frozen=True)
class CaseTable:
    """The table of chosen texts: columns of answers, then a column for each pair of layers."""

    sides: list[str]
    """Headings of the columns of answers; none for a task without labels."""
    layers: list[str]
    """Heading of each column: the student's layer → the teacher's."""
    cases: list[Case]
    terms: bool
    """Whether the rows name terms: several runs, or several terms of one."""

    @property
    def wrong(self) -> bool:
        """Whether any answer is another label than the gold one."""
        return any(wrong for case in self.cases for row in case.rows for _, wrong in row.answers)


def case_table(runs: Sequence[Run], names: Sequence[str]) -> CaseTable | None:
    """The case table of one run or of several; None where there is nothing to show.

    Args:
        runs: of several, only the texts that at least two of them share are shown.
        names: what the table calls each run.
    """
    texts: dict[str, dict[tuple[str, str], Angles]] = {}
    said: dict[tuple[str, str], Answers] = {}
    for name, run in zip(names, runs):
        for case in run.cases:
            text = str(case.get("text", ""))
            said[text, name] = case.get("labels") or {}
            for term, angles in _by_term(case).items():
                texts.setdefault(text, {})[name, term] = angles
    if len(runs) > 1:
        texts = {text: rows for text, rows in texts.items() if len({run for run, _ in rows}) > 1}
    if not texts:
        return None
    pairs = sorted({pair for rows in texts.values() for angles in rows.values() for pair in angles})
    sides = [side for side in SIDES if any(said[text, run].get(side) is not None for text, rows in texts.items() for run, _ in rows)]
    cases = [_case(text, rows, pairs, sides, said) for text, rows in texts.items()]
    if len(cases) > 1:
        cases.append(_case(MEAN, _means(texts), pairs, sides, {}))
    keys = {key for rows in texts.values() for key in rows}
    return CaseTable([SIDES[side] for side in sides], [f"{ours} → {theirs}" for ours, theirs in pairs], cases, terms=len(keys) > 1)


def _by_term(case: Mapping[str, Any]) -> dict[str, Angles]:
    """The second row of a loss, `x-2`, joins the first where they map different layers (TinyBERT's embedding output and its layers)."""
    found: dict[str, Angles] = {}
    for row in case.get("angles") or []:
        name, pair = str(row.get("term", "")), (int(row["student"]), int(row["teacher"]))
        loss = name.partition("-")[0]
        found.setdefault(name if pair in found.get(loss, {}) else loss, {})[pair] = finite(row.get("degrees"))
    return found


def _means(texts: Mapping[str, Mapping[tuple[str, str], Angles]]) -> dict[tuple[str, str], Angles]:
    """Of each term of each run over all of its texts; a layer with a hole has no mean."""
    keys = dict.fromkeys(key for rows in texts.values() for key in rows)
    means: dict[tuple[str, str], Angles] = {}
    for key in keys:
        own = [rows[key] for rows in texts.values() if key in rows]
        for pair in dict.fromkeys(pair for angles in own for pair in angles):
            values = [angles.get(pair) for angles in own]
            known = [value for value in values if value is not None]
            means.setdefault(key, {})[pair] = sum(known) / len(known) if len(known) == len(values) else None
    return means


def _case(
    text: str,
    rows: Mapping[tuple[str, str], Angles],
    pairs: Sequence[Pair],
    sides: Sequence[str],
    said: Mapping[tuple[str, str], Answers],
) -> Case:
    columns = {pair: [value for angles in rows.values() if (value := angles.get(pair)) is not None] for pair in pairs}
    least = {pair: min(values) for pair, values in columns.items() if len(values) > 1}
    shown, told = [], set()
    for (run, term), angles in rows.items():
        own = said.get((text, run))
        # A run says it once, beside the first of its terms.
        answers = [("", False)] * len(sides) if own is None or run in told else [_answer(own, side) for side in sides]
        told.add(run)
        cells = [shown_number(angles.get(pair), fixed(1)) for pair in pairs]
        shown.append(CaseRow(run, term, cells, [pair in least and angles.get(pair) == least[pair] for pair in pairs], answers))
    return Case(cut(text), text, shown)


def _answer(own: Answers, side: str) -> tuple[str, bool]:
    """Only a label is right or wrong: of two scores none ever agrees."""
    value, gold = own.get(side), own.get("gold")
    if isinstance(value, str):
        return cut(value), isinstance(gold, str) and value != gold
    return shown_number(finite(value), fixed(2)), False


def cut(text: str) -> str:
    """A text on one line, cut to LENGTH characters."""
    line = " ".join(text.split())
    return line if len(line) <= LENGTH else line[: LENGTH - 1].rstrip() + "…"
