"""The case table: for chosen texts the angle between student and teacher, layer by layer, run beside run."""

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

Pair = tuple[int, int]
Angles = dict[Pair, float | None]


@dataclass(frozen=True)
class CaseRow:
    """One term of one run on one text."""

    run: str
    term: str
    cells: list[str]
    smallest: list[bool]
    """Whether a cell is the smallest angle of its layer on this text, where there are several."""


@dataclass(frozen=True)
class Case:
    text: str
    whole: str
    """The text uncut."""
    rows: list[CaseRow]


@dataclass(frozen=True)
class CaseTable:
    layers: list[str]
    """Heading of each column: the student's layer → the teacher's."""
    cases: list[Case]
    terms: bool
    """Whether the rows name terms: several runs, or several terms of one."""


def case_table(runs: Sequence[Run], names: Sequence[str]) -> CaseTable | None:
    """The table of one run, or of several on the texts that at least two of them share; None where there is nothing to show."""
    texts: dict[str, dict[tuple[str, str], Angles]] = {}
    for name, run in zip(names, runs):
        for case in run.cases:
            for term, angles in _by_term(case).items():
                texts.setdefault(str(case.get("text", "")), {})[name, term] = angles
    if len(runs) > 1:
        texts = {text: rows for text, rows in texts.items() if len({run for run, _ in rows}) > 1}
    if not texts:
        return None
    pairs = sorted({pair for rows in texts.values() for angles in rows.values() for pair in angles})
    cases = [_case(text, rows, pairs) for text, rows in texts.items()]
    if len(cases) > 1:
        cases.append(_case(MEAN, _means(texts), pairs))
    keys = {key for rows in texts.values() for key in rows}
    return CaseTable([f"{ours} → {theirs}" for ours, theirs in pairs], cases, terms=len(keys) > 1)


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


def _case(text: str, rows: Mapping[tuple[str, str], Angles], pairs: Sequence[Pair]) -> Case:
    columns = {pair: [value for angles in rows.values() if (value := angles.get(pair)) is not None] for pair in pairs}
    least = {pair: min(values) for pair, values in columns.items() if len(values) > 1}
    shown = [
        CaseRow(
            run,
            term,
            [shown_number(angles.get(pair), fixed(1)) for pair in pairs],
            [pair in least and angles.get(pair) == least[pair] for pair in pairs],
        )
        for (run, term), angles in rows.items()
    ]
    line = " ".join(text.split())
    return Case(line if len(line) <= LENGTH else line[: LENGTH - 1].rstrip() + "…", text, shown)
