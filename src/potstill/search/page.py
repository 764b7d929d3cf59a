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
from potstill.search.charts import front_chart, settings_title, steps_chart, tests_chart, value_chart
from potstill.search.record import Search, Trial

TEMPLATE = Path(__file__).parent / "search.html.j2"


def write_search_page(search: Search, html: Path) -> None:
    """Write the page of a search to the file `html`.

    A PotstillError comes through where `html` cannot be written, or jinja2 and plotly are not installed.
    """
    write_text(html, render(search))


def render(search: Search) -> str:
    """Make the page of a search, as the text of one HTML file."""
    keys = list(search.space["keys"])
    names = key_names(keys)
    charts = {f"key-{number}": value_chart(search, key) for number, key in enumerate(keys)}
    charts |= {"steps": steps_chart(search), "front": front_chart(search), "tests": tests_chart(search)}
    several = len(search.objectives) > 1
    return fill(
        TEMPLATE,
        search=search,
        score=task_title(search.score),
        best=search.chosen,
        best_title=settings_title(search, search.chosen, names),
        tests=_tests(search),
        shipped=ROLES[search.shipped],
        counts={state: sum(trial.state == state for trial in search.trials) for state in ("complete", "pruned", "failed")},
        several=several,
        keys=[(f"key-{number}", names[key], key) for number, key in enumerate(keys) if charts[f"key-{number}"]],
        names=[names[key] for key in keys],
        rows=[(trial, _cells(search, trial, keys, several)) for trial in search.ranked()],
        figures={name: chart for name, chart in charts.items() if chart is not None},
        facts=[("Seed", str(search.seed)), ("Made", search.created), ("Versions", ", ".join(map(" ".join, search.versions.items())))],
        space=dump(search.space),
        recipe=dump(search.recipe),
    )


def _tests(search: Search) -> list[tuple[str, str]]:
    """(title, score) of each test of the file that ships, and of their mean."""
    found = [(task_title(task), f"{value:.2f}") for task, value in search.tests.items()]
    title, tasks = summed_up(dict.fromkeys(search.tests, "score"))
    mean = mean_over(tasks, dict(search.tests))
    return [*found, (title, f"{mean:.2f}")] if len(tasks) > 1 and mean is not None else found


def _cells(search: Search, trial: Trial, keys: list[str], several: bool) -> list[str]:
    """The cells of a trial's row: its value of each key, its score, its latency where that is an objective, and its seconds."""
    cells = [value_title(trial.settings[key]) if key in trial.settings else "" for key in keys]
    cells += [shown_number(trial.score, fixed(2))]
    cells += [shown_number(trial.latency_ms, significant)] if several else []
    return [*cells, shown_number(trial.seconds, fixed(0)) if trial.same_as is None else MISSING]
