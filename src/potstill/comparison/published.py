"""A publication's table with our runs in it. What was published is data: one file in presets/ for each publication."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import Field, model_validator

from potstill.comparison.against import MAJORITY_CLASS, PUBLISHED, Comparison, Entry, majority_scores
from potstill.errors import PotstillError, did_you_mean
from potstill.report.grouped import Group
from potstill.report.numbers import fixed, shown_number, significant
from potstill.report.rows import ModelRow
from potstill.report.scores import mean_over, task_title
from potstill.results import Strict

PRESETS = Path(__file__).parent / "presets"
NAME = (12, 34)  # letters of a row's name, at least and at most
GAP = "  "
SECONDS = "seconds"

if TYPE_CHECKING:
    from rich.console import Console

Number = Annotated[float, Field(allow_inf_nan=False)]
FigureName = Literal["width", "layers", "compress", "speedup", "parameters", "seconds", "kilobytes"]


@dataclass(frozen=True)
class FigureColumn:
    """A column that is no score: heading, unit, form, and the figure of a row of ours; seconds are measured apart."""

    title: str
    unit: str
    form: Callable[[float], str]
    value: Callable[[ModelRow], float | None]


FIGURES: dict[str, FigureColumn] = {
    "width": FigureColumn("hidden", "width", fixed(0), lambda row: row.width),
    "layers": FigureColumn("layers", "", fixed(0), lambda row: row.layers),
    "compress": FigureColumn("compress", "×", fixed(2), lambda row: row.compress),
    "speedup": FigureColumn("speed-up", "×", fixed(1), lambda row: row.speed_up),
    "parameters": FigureColumn("params", "M", fixed(1), lambda row: row.parameters),
    SECONDS: FigureColumn("pass", "s", significant, lambda row: None),
    "kilobytes": FigureColumn("weights", "KB", fixed(0), lambda row: None if row.megabytes is None else 1000 * row.megabytes),
}


class PublishedRow(Strict):
    """A model's published figures; what the publication does not say is left out."""

    name: str
    source: str = Field(min_length=1, description="where its figures stand: publication, table, page")
    teacher: bool = Field(False, description="whether the others' scores are set against it")
    scores: list[Number | None] = Field([], description="in the order of the preset's tasks, × 100; none at all, or one for each")
    mean: Number | None = Field(None, description="the mean that it prints, where that is not the mean of these scores")
    figures: dict[FigureName, Number] = Field({}, description="what it says beside scores, in the columns' units")


class Preset(Strict):
    """The columns of a publication's table, and the rows that were published."""

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
    """Rows of one origin: a run, a model that belongs to none, or the publication.

    Attributes:
        name: heading of the rows.
        published: whether they are the publication's.
        rows: name and cells of each, as text.
    """

    name: str
    published: bool
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class LikeTable:
    """A publication's table with our rows in it, as text.

    Attributes:
        title: the publication.
        columns: heading and unit of each.
        groups: the published rows first.
        notes: lines below the table.
        preset: what it was made of.
    """

    title: str
    columns: list[tuple[str, str]]
    groups: list[LikeGroup]
    notes: list[str]
    preset: Preset


def presets() -> dict[str, str]:
    """Name of each preset that `read_preset` knows → the first line of its file."""
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
    preset: Preset,
    ours: Sequence[Group],
    seconds: Mapping[tuple[int, int], float] | None = None,
    notes: Sequence[str] = (),
    mean_of: list[str] | None = None,
) -> LikeTable:
    """The published rows, then ours by group: medians where runs differ only in the seed. Last comes what the majority class scores.

    Args:
        preset: the publication.
        ours: our runs, those of one recipe together.
        seconds: (number of the group, of its row) → seconds of the preset's pass, where they were measured.
        notes: stand below the table, after the preset's own.
        mean_of: tasks of the column of means, in every row; default: all of the preset.
    """
    mean = mean_of or preset.tasks
    published = [
        (
            row.name,
            _cells(
                preset,
                dict(zip(preset.tasks, row.scores)),
                {name: value for name, value in row.figures.items()},
                mean,
                None if mean_of else row.mean,
            ),
        )
        for row in preset.published
    ]
    groups = [LikeGroup(PUBLISHED, True, published)]
    taught: set[str] = set()
    for number, group in enumerate(ours):
        own = []
        for place, row in enumerate(group.rows):
            if row.role == "teacher" and group.taught_by in taught:  # said once, in the first group that it taught
                continue
            figures = {key: FIGURES[key].value(row) for key in preset.figures} | {SECONDS: (seconds or {}).get((number, place))}
            own.append((_name(row), _cells(preset, row.scores, figures, mean)))
        taught.add(group.taught_by)
        groups.append(LikeGroup(group.title, False, own))
    if len(ours) > 1 and all(sum(row.role != "teacher" for row in group.rows) == 1 for group in ours):  # one row each: no headings
        lone = [(name if name.startswith("teacher") else group.name, cells) for group in groups[1:] for name, cells in group.rows]
        groups[1:] = [LikeGroup("ours", False, lone)]
    majority = {task: majority_scores(ours, task) for task in preset.tasks}
    if any(score is not None for score in majority.values()):
        row_of_one = (MAJORITY_CLASS, _cells(preset, majority, {}, mean))
        groups.append(LikeGroup("one answer to everything", False, [row_of_one]))
    of = "" if len(mean) == len(preset.tasks) else f"of {len(mean)}"
    heads = [(task_title(task), "") for task in preset.tasks] + ([("mean", of)] if len(preset.tasks) > 1 else [])
    heads += [(FIGURES[figure].title, FIGURES[figure].unit) for figure in preset.figures]
    return LikeTable(preset.title, heads, groups, [*preset.notes, *_sources(preset), *notes], preset)


def with_published(comparison: Comparison, preset: Preset) -> Comparison:
    """The comparison with the preset's rows after ours, marked as published.

    Their score is the mean over the comparison's tasks, where the preset has all of these. Their share of the teacher's
    score is against the row that the preset names as teacher. They have no verdict: the publication gives no seeds.
    """

    def score(row: PublishedRow) -> float | None:
        return mean_over(comparison.tasks, dict(zip(preset.tasks, row.scores)))

    teacher = next((score(row) for row in preset.published if row.teacher), None)
    entries = []
    for row in preset.published:
        own, said = score(row), row.figures
        entries.append(
            Entry(
                row.name,
                PUBLISHED,
                width=said.get("width"),
                layers=said.get("layers"),
                parameters=said.get("parameters"),
                compress=said.get("compress"),
                speed_up=said.get("speedup"),
                fp32=said["kilobytes"] / 1000 if "kilobytes" in said else None,
                score=own,
                low=own,
                high=own,
                of_teacher=100 * own / teacher if own is not None and teacher else None,
            )
        )
    return replace(comparison, entries=[*comparison.entries, *entries], notes=[*comparison.notes, *preset.notes, *_sources(preset)])


def _sources(preset: Preset) -> list[str]:
    """Where the published figures stand, each source once with the rows that it has."""
    rows: dict[str, list[str]] = {}
    for row in preset.published:
        rows.setdefault(row.source, []).append(row.name)
    return [f"{'; '.join(names)}: {source}." for source, names in rows.items()]


def print_like(table: LikeTable, console: Console) -> None:
    """Print the table on a terminal of 80 columns or more; columns for which it has no room stand in a second table below."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    bodies = [[texts[place] for group in table.groups for _, texts in group.rows] for place in range(len(table.columns))]
    widths = [max(map(len, (*heading, *body))) for heading, body in zip(table.columns, bodies)]
    # The publication's names stand whole; ours give way where room is short; figures never.
    least = max(NAME[0], *(len(GAP + name) for name, _ in table.groups[0].rows)) if table.groups[0].rows else NAME[0]
    for part in _parts(widths, console.width - least - len(GAP)):
        room = max(least, min(NAME[1], console.width - sum(widths[place] + len(GAP) for place in part) - len(GAP)))
        shown = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, len(GAP) - 1), pad_edge=False, title_justify="left", title_style="bold")
        shown.title = f"beside {escape(table.title)}"
        shown.add_column("", overflow="ellipsis", no_wrap=True, max_width=room)
        for place in part:
            title, unit = table.columns[place]
            shown.add_column(escape(f"{title}\n{unit}"), justify="right", no_wrap=True, min_width=widths[place])
        for group in table.groups:
            shown.add_row(f"[bold]{escape(group.name)}[/]")
            for number, (name, texts) in enumerate(group.rows, start=1):
                style = "italic dim" if group.published else None
                shown.add_row(f"  {escape(name)}", *(texts[place] for place in part), style=style, end_section=number == len(group.rows))
        console.print(shown)
    for note in table.notes:
        console.print(escape(note), style="dim", highlight=False)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Places of columns that fit side by side, in order."""
    parts: list[list[int]] = [[]]
    for place, width in enumerate(widths):
        if parts[-1] and sum(widths[each] + len(GAP) for each in parts[-1]) + width + len(GAP) > room:
            parts.append([])
        parts[-1].append(place)
    return parts


def _name(row: ModelRow) -> str:
    return f"{row.title}, {row.name}" if row.role == "teacher" and row.name != row.title else row.title


def _cells(
    preset: Preset,
    scores: Mapping[str, float | None],
    figures: Mapping[str, float | None],
    mean: list[str],
    printed: float | None = None,
) -> list[str]:
    cells = [shown_number(scores.get(task), fixed(2)) for task in preset.tasks]
    if len(preset.tasks) > 1:
        cells.append(shown_number(mean_over(mean, scores) if printed is None else printed, fixed(2)))
    return cells + [shown_number(figures.get(name), FIGURES[name].form) for name in preset.figures]
