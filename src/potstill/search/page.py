"""One self-contained HTML page about a search, out of its record."""

from __future__ import annotations

from pathlib import Path

from potstill.machine.files import write_text
from potstill.recipe.yaml_text import dump
from potstill.report.names import key_names, value_title
from potstill.report.numbers import MISSING, fixed, shown_number, significant
from potstill.report.scores import mean_over, summed_up, task_title
from potstill.report.template import fill
from potstill.results import ROLES
from potstill.search.charts import front_chart, search_level, settings_title, steps_chart, tests_chart, value_charts
from potstill.search.record import OWN, Search, Trial

TEMPLATE = Path(__file__).parent / "search.html.j2"


def write_search_page(search: Search, html: Path) -> None:
    """Write the page of a search to the file `html`.

    A PotstillError comes through where `html` cannot be written, or jinja2 is not installed.
    """
    write_text(html, render(search))


def render(search: Search) -> str:
    """Make the page of a search, as the text of one HTML file."""
    keys = list(search.space["keys"])
    names = key_names(keys)
    several = len(search.objectives) > 1
    tests = _tests(search)
    return fill(
        TEMPLATE,
        search=search,
        score=task_title(search.score),
        best=search.chosen,
        best_title=settings_title(search, search.chosen, names),
        tests=tests,
        reached=tests[0] if tests else (task_title(search.score), f"{search.chosen.score:.2f}"),
        shipped=ROLES[search.shipped],
        counts={state: sum(trial.state == state for trial in search.trials) for state in ("complete", "pruned", "failed")},
        several=several,
        tested=any(trial.tests for trial in search.trials),
        level=search_level(search),
        values=value_charts(search),
        figures={name: draw(search) for name, draw in (("front", front_chart), ("steps", steps_chart), ("tests", tests_chart))},
        names=[names[key] for key in keys],
        rows=_rows(search, keys, several),
        facts=[("Seed", str(search.seed)), ("Made", search.created), ("Versions", ", ".join(map(" ".join, search.versions.items())))],
        space=dump(search.space),
        recipe=dump(search.recipe),
    )


def _tests(search: Search) -> list[tuple[str, str]]:
    """(title, score) of each test of the file that ships; of several their mean is the first."""
    found = [(task_title(task), f"{value:.2f}") for task, value in search.tests.items()]
    title, tasks = summed_up(dict.fromkeys(search.tests, "score"))
    title = title if title.endswith("mean") else f"{title} of the tests"
    mean = mean_over(tasks, dict(search.tests))
    return [(title, f"{mean:.2f}"), *found] if len(tasks) > 1 and mean is not None else found


def _rows(search: Search, keys: list[str], several: bool) -> list[tuple[Trial | None, list[str], str]]:
    """The rows of the table: (trial, cells, what it is called).

    The recipe's own setting is among them, without a trial where none had it.
    """
    rows: list[tuple[Trial | None, list[str], str]] = []
    for trial in search.ranked():
        rows.append((trial, _cells(search, trial, keys, several), search.said(trial)))
    if all(said != OWN for _, _, said in rows):
        blank = [MISSING] * (2 if several else 1)
        values = ["" if search.base.get(key) is None else value_title(search.base[key]) for key in keys]
        rows.append((None, [*blank, *values, MISSING], OWN))
    return rows


def _cells(search: Search, trial: Trial, keys: list[str], several: bool) -> list[str]:
    """The cells of a trial's row: its score, its latency where that is an objective, its value of each key, and its seconds."""
    cells = [shown_number(trial.score, fixed(2))]
    cells += [shown_number(trial.latency_ms, significant)] if several else []
    cells += [value_title(trial.settings[key]) if key in trial.settings else "" for key in keys]
    return [*cells, shown_number(trial.seconds, fixed(0)) if trial.same_as is None else MISSING]
