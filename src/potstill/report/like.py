"""A publication's table with this project's runs in its rows: what the publication says is data, a file a publication."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import Field, model_validator

from potstill.errors import PotstillError, did_you_mean
from potstill.report.numbers import fixed, shown_number, significant
from potstill.report.rows import ModelRow, model_rows, run_names
from potstill.report.scores import mean_over, task_title
from potstill.results import Run, Strict

PRESETS = Path(__file__).parent / "presets"
PUBLISHED = "published"
NAME = (12, 34)  # letters of a row's name, at least and at most
GAP = "  "
SECONDS = "seconds"

if TYPE_CHECKING:
    from rich.console import Console

Number = Annotated[float, Field(allow_inf_nan=False)]
FigureName = Literal["parameters", "seconds", "kilobytes"]


@dataclass(frozen=True)
class Kind:
    """A column that is no score: its heading, its form, and what it is of a row of ours; seconds come from elsewhere."""

    title: str
    unit: str
    form: Callable[[float], str]
    value: Callable[[ModelRow], float | None]


FIGURES: dict[str, Kind] = {
    "parameters": Kind("params", "M", fixed(1), lambda row: row.parameters),
    SECONDS: Kind("pass", "s", significant, lambda row: None),
    "kilobytes": Kind("weights", "KB", fixed(0), lambda row: None if row.megabytes is None else 1000 * row.megabytes),
}


class PublishedRow(Strict):
    """A model as its publication has it, in the columns' units; what it does not say is left out."""

    name: str
    scores: list[Number | None] = Field([], description="in the order of the preset's tasks, × 100; none at all, or one for each")
    figures: dict[FigureName, Number] = Field({}, description="what it says beside scores, in the columns' units")


class Preset(Strict):
    """What a table shows, and what was published in it."""

    title: str
    tasks: list[str] = Field(min_length=1)
    timed: str | None = Field(None, alias="pass", description="the task of which all texts, one at a time, make the column of seconds")
    figures: list[FigureName] = Field([], description="columns behind the scores")
    published: list[PublishedRow]
    notes: list[str] = Field([], description="lines below the table")

    @model_validator(mode="after")
    def _whole(self) -> Preset:
        for row in self.published:
            if row.scores and len(row.scores) != len(self.tasks):
                raise ValueError(f"{row.name} has {len(row.scores)} scores for {len(self.tasks)} tasks")
            if not set(row.figures) <= set(self.figures):
                raise ValueError(f"{row.name} has figures that the table does not show")
        if (SECONDS in self.figures) != (self.timed is not None):
            raise ValueError("seconds need a pass, and a pass the column of seconds")
        return self


@dataclass(frozen=True)
class LikeGroup:
    """Rows of one origin: a run, a model by itself, or the publication."""

    name: str
    published: bool
    rows: list[tuple[str, list[str]]]
    """What each row is called, and its cells as text."""


@dataclass(frozen=True)
class LikeTable:
    title: str
    columns: list[tuple[str, str]]
    """Heading and unit."""
    groups: list[LikeGroup]
    notes: list[str]


def presets() -> dict[str, str]:
    """Names that `read_preset` knows → the first line of their file."""
    return {path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in sorted(PRESETS.glob("*.yaml"))}


def read_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        PotstillError: there is none.
    """
    if name not in presets():
        raise PotstillError("--like", f"unknown preset {name!r}", did_you_mean(name, presets()))
    return Preset.model_validate(yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")))


def like_table(
    preset: Preset, runs: Sequence[Run], seconds: Mapping[tuple[int, int], float] | None = None, notes: Sequence[str] = ()
) -> LikeTable:
    """The published rows, then a group for each run.

    Args:
        seconds: (number of the run, of its record) → seconds of the preset's pass, where they were measured.
        notes: to stand below the table, behind the preset's own.
    """
    rows = iter(model_rows(runs))
    published = [
        (row.name, _cells(preset, dict(zip(preset.tasks, row.scores)), {name: value for name, value in row.figures.items()}))
        for row in preset.published
    ]
    groups = [LikeGroup(PUBLISHED, True, published)]
    for number, (name, run) in enumerate(zip(run_names(runs), runs)):
        own = []
        for place, row in enumerate(next(rows) for _ in run.records):
            figures = {key: FIGURES[key].value(row) for key in preset.figures} | {SECONDS: (seconds or {}).get((number, place))}
            own.append((_name(row), _cells(preset, row.scores, figures)))
        groups.append(LikeGroup(name, False, own))
    heads = [(task_title(task), "") for task in preset.tasks] + ([("mean", "")] if len(preset.tasks) > 1 else [])
    heads += [(FIGURES[figure].title, FIGURES[figure].unit) for figure in preset.figures]
    return LikeTable(preset.title, heads, groups, [*preset.notes, *notes])


def print_like(table: LikeTable, console: Console) -> None:
    """Show the table on a terminal of 80 columns or more."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    bodies = [[texts[place] for group in table.groups for _, texts in group.rows] for place in range(len(table.columns))]
    widths = [max(map(len, (*heading, *body))) for heading, body in zip(table.columns, bodies)]
    # Where room is short names give way, never figures.
    room = max(NAME[0], min(NAME[1], console.width - sum(width + len(GAP) for width in widths) - len(GAP)))
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, len(GAP) - 1), pad_edge=False)
    shown.add_column(f"beside {escape(table.title)}", overflow="ellipsis", no_wrap=True, max_width=room)
    for (title, unit), width in zip(table.columns, widths):
        shown.add_column(escape(f"{title}\n{unit}"), justify="right", no_wrap=True, min_width=width)
    for group in table.groups:
        shown.add_row(f"[bold]{escape(group.name)}[/]")
        for number, (name, texts) in enumerate(group.rows, start=1):
            style = "italic dim" if group.published else None
            shown.add_row(f"  {escape(name)}", *texts, style=style, end_section=number == len(group.rows))
    console.print(shown)
    for note in table.notes:
        console.print(escape(note), style="dim", highlight=False)


def _name(row: ModelRow) -> str:
    return f"{row.title}, {row.name}" if row.role == "teacher" and row.name != row.title else row.title


def _cells(preset: Preset, scores: Mapping[str, float | None], figures: Mapping[str, float | None]) -> list[str]:
    cells = [shown_number(scores.get(task), fixed(2)) for task in preset.tasks]
    if len(preset.tasks) > 1:
        cells.append(shown_number(mean_over(preset.tasks, scores), fixed(2)))
    return cells + [shown_number(figures.get(name), FIGURES[name].form) for name in preset.figures]
