"""The comparison as a table: on a terminal, as CSV with every digit, as Markdown. The page shows the same columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.comparison.against import MAJORITY, PUBLISHED, TEACHER, Comparison, Entry
from potstill.comparison.verdict import BETTER, verdict
from potstill.report.numbers import MISSING, fixed, shown_number, significant
from potstill.report.scores import better, metric_title

if TYPE_CHECKING:
    from rich.console import Console

NAME, GAP, EDGES = 16, 2, 2
"""Letters: of a name that a narrow terminal shows at least, between columns, and of the table’s edges."""
MEDIAN = "median"
NONE, SEEDS, UNKNOWN = "none", "seeds", "unknown"  # of SheetColumn.noise
CODES = ("name", "kind", "runs", "seeds", "width", "layers", "parameters", "compress", "fp32", "int8", "speed_up", "p50_ms", "score", "low",
         "high", "of_teacher", "gain", "verdict", "baseline")  # fmt: skip
"""Columns of the CSV file, by the names of Entry's fields; the measures come after `high`."""


@dataclass(frozen=True)
class SheetColumn:
    """One column of the comparison.

    Attributes:
        group: heading of the neighbouring columns that belong together.
        title: the column's own heading; `unit` stands below it.
        text: an entry's cell.
        key: what the column is sorted by.
        better: 1 where more is better, -1 where less is, 0 where neither is.
        rank: a terminal without room for all columns shows those of low rank.
        words: whether the cells are words.
        noise: what tells whether the best is better by more than chance: NONE, for what is counted and not measured; SEEDS, the
            scores of an entry's seeds; UNKNOWN, nothing.
    """

    group: str
    title: str
    unit: str
    text: Callable[[Entry], str]
    key: Callable[[Entry], float | None]
    better: int = 0
    rank: int = 9
    words: bool = False
    noise: str = UNKNOWN

    def best(self, entries: Sequence[Entry]) -> str | None:
        """The best cell's text; None where fewer than two differ, and where chance may be what makes it the best.

        Teachers, published rows and the majority class do not count.
        """
        found = [(value, each) for each in entries if each.ours and (value := self.key(each)) is not None]
        if not self.better or self.words or self.noise == UNKNOWN or len({self.text(each) for _, each in found}) < 2:
            return None
        _, best = max(found, key=lambda pair: self.better * pair[0])
        if self.noise == SEEDS and not all(each is best or verdict(_seeds(best), _seeds(each)) == BETTER for _, each in found):
            return None
        return self.text(best)


def _seeds(entry: Entry) -> list[float]:
    """The lowest and the highest score of an entry's seeds; one alone of a single run."""
    scores = [score for score in (entry.low, entry.high) if score is not None]
    return scores if entry.runs > 1 else scores[:1]


def sheet_columns(comparison: Comparison) -> list[SheetColumn]:
    """All columns, in order. A column that no entry fills is kept, with dashes, so that two tables can be laid side by side."""
    measures = list(dict.fromkeys(name for entry in comparison.entries for name in entry.measures))
    return [
        # First what a narrow screen is to show without scrolling: score, size, speed.
        _number(comparison.score, MEDIAN, "", lambda entry: entry.score, fixed(2), 1, rank=0, noise=SEEDS),
        _number("Size", "fp32", "MB", lambda entry: entry.fp32, fixed(1), -1, rank=3, noise=NONE),
        _number("Size", "int8", "MB", lambda entry: entry.int8, fixed(1), -1, rank=3, noise=NONE),
        _number("Speed", "speed-up", "×", lambda entry: entry.speed_up, fixed(2), 1, rank=4),
        _number("Speed", "p50", "ms", lambda entry: entry.p50_ms, significant, -1, rank=7),
        _number("Against no distillation", "gain", "points", lambda entry: entry.gain, _signed, 1, rank=5, noise=SEEDS),
        SheetColumn("Against no distillation", "verdict", "", lambda entry: entry.verdict or MISSING, _verdict, 1, rank=1, words=True),
        SheetColumn("Score", "range", "of seeds", spread, lambda entry: entry.low, rank=4),
        _number("Score", "of teacher", "%", lambda entry: entry.of_teacher, fixed(1), 1, rank=2, noise=SEEDS),
        *(
            _number("Score", metric_title(name), "", lambda entry, name=name: entry.measures.get(name), fixed(2), better(name))  # type: ignore[misc]
            for name in measures
        ),
        _number("Student", "hidden", "width", lambda entry: entry.width, fixed(0), rank=6),
        _number("Student", "layers", "", lambda entry: entry.layers, fixed(0), rank=6),
        _number("Parameters", "total", "M", lambda entry: entry.parameters, fixed(1), -1, rank=5, noise=NONE),
        _number("Parameters", "compress", "×", lambda entry: entry.compress, fixed(2), 1, rank=3, noise=NONE),
        SheetColumn("", "runs", "", lambda entry: str(entry.runs or MISSING), lambda entry: entry.runs or None, rank=8),
    ]  # fmt: skip


def _number(
    group: str,
    title: str,
    unit: str,
    value: Callable[[Entry], float | None],
    form: Callable[[float], str],
    better: int = 0,
    rank: int = 9,
    noise: str = UNKNOWN,
) -> SheetColumn:
    return SheetColumn(group, title, unit, lambda entry: shown_number(value(entry), form), value, better, rank, noise=noise)


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _verdict(entry: Entry) -> float | None:
    order = ("not better", "undecided", "better")
    return float(order.index(entry.verdict)) if entry.verdict in order else None


def spread(entry: Entry) -> str:
    """Lowest and highest score of the seeds; a dash for a single run."""
    if entry.low is None or entry.high is None or entry.runs < 2:
        return MISSING
    return f"{entry.low:.2f}–{entry.high:.2f}"


def as_csv(comparison: Comparison) -> str:
    """The table as CSV: one line for each entry, numbers with every digit, empty where something is not known."""
    measures = list(dict.fromkeys(name for entry in comparison.entries for name in entry.measures))
    at = CODES.index("of_teacher")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*CODES[:at], *measures, *CODES[at:]])
    for entry in comparison.entries:
        cells = [getattr(entry, code) for code in CODES]
        cells[at:at] = [entry.measures.get(name) for name in measures]
        writer.writerow([_safe(cell) for cell in cells])
    return stream.getvalue()


def _safe(cell: object) -> object:
    """The cell; a text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def as_markdown(comparison: Comparison) -> str:
    """The table as Markdown, as the page shows it, then the notes on what was scored and how."""
    columns = sheet_columns(comparison)
    heads = [" ".join(part for part in (_heading(column, comparison), column.unit) if part) for column in columns]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "".join("---|" if column.words else "---:|" for column in columns)]
    for entry in comparison.entries:
        name = entry.name.replace("|", "\\|")
        name = f"*{name}* ({entry.kind})" if entry.kind == PUBLISHED else f"{name} ({entry.kind})" if entry.kind == TEACHER else name
        lines.append(f"| {name} | {' | '.join(column.text(entry) for column in columns)} |")
    return "\n".join([*lines, *(f"\n{note}" for note in comparison.notes)]) + "\n"


def _heading(column: SheetColumn, comparison: Comparison) -> str:
    """A column's title where no group of columns stands above it."""
    return comparison.score if column.title == MEDIAN else column.title


def print_sheet(comparison: Comparison, console: Console) -> None:
    """Print on a terminal of 80 columns or more the columns for which there is room, the most telling ones first."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    columns = [each for each in sheet_columns(comparison) if any(each.text(entry) != MISSING for entry in comparison.entries)]
    widths = {
        id(each): max(map(len, (_heading(each, comparison), each.unit, *map(each.text, comparison.entries)))) + GAP for each in columns
    }
    longest = max((len(entry.name) for entry in comparison.entries), default=0)
    room = console.width - min(longest, NAME) - EDGES
    shown: list[SheetColumn] = []
    for column in sorted(columns, key=lambda each: each.rank):
        if sum(widths[id(each)] for each in (*shown, column)) <= room:
            shown.append(column)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    shown = [column for column in columns if column in shown]
    # Where room is short names are broken into lines: their ends tell runs of one recipe apart.
    table.add_column("", overflow="fold", max_width=console.width - sum(widths[id(column)] for column in shown) - EDGES)
    for column in shown:
        heading = escape(f"{_heading(column, comparison)}\n{column.unit}")
        table.add_column(heading, justify="left" if column.words else "right", no_wrap=True, min_width=widths[id(column)] - GAP)
    best = [column.best(comparison.entries) for column in shown]
    apart = [entry.kind in (TEACHER, MAJORITY) for entry in comparison.entries]
    for entry, here, below in zip(comparison.entries, apart, [*apart[1:], True]):
        cells = [
            f"[bold]{text}[/]" if entry.ours and text == top else text for text, top in zip((each.text(entry) for each in shown), best)
        ]
        table.add_row(escape(entry.name), *cells, style="italic dim" if entry.kind == PUBLISHED else None, end_section=here and not below)
    console.print(table)
    for note in comparison.notes:
        console.print(escape(note), style="dim", highlight=False)
