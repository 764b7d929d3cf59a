"""The page of a search, as a browser shows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.pages import Reader, lines_of, validate
from potstill.cli import show
from potstill.report.figure import Chart
from potstill.search import charts
from potstill.search.page import render
from potstill.search.record import Search, Step, Trial

RATE, POOLING = "training.learning_rate", "student.pooling"


def make_search(sampler: str = "tpe", **changes: object) -> Search:
    """A search of two keys with two objectives: four trials that were scored, of which one is pruned, and one that failed."""
    trials = [
        Trial(
            number=number,
            settings={RATE: 10.0 ** -(5 - number / 2), POOLING: ["mean", "cls"][number % 2]},
            state="pruned" if number == 2 else "complete",
            score=70.0 + number,
            latency_ms=1.0 + number % 3,
            curve=[(10, 69.0), (20, 70.0 + number)],
        )
        for number in range(4)
    ]
    trials.append(Trial(number=4, settings={RATE: 1.0, POOLING: "max"}, state="failed", why="step 3: the loss is nan"))
    content = {
        "name": "made-up", "seed": 1, "created": "2026-01-01", "sampler": sampler, "objectives": ["quality", "latency"],
        "score": "sts/stsb-dev", "base": {}, "recipe": {}, "trials": trials, "best": 3, "front": [0, 3],
        "space": {"keys": {RATE: {"from": 1e-5, "to": 1.0, "log": True}, POOLING: ["mean", "cls", "max"]}},
        "steps": [Step(step=step, dev=69 + step, scores={"sts/12": 60, "sts/stsb": 70 + step}) for step in (1, 2)],
        "shipped": "int8", "tests": {"sts/12": 62.0, "sts/stsb": 71.0},
    }  # fmt: skip
    return Search.model_validate(content | changes)


def test_a_browser_draws_every_chart(browse: Callable[[Path], str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render(make_search()), encoding="utf-8")
    page = browse(tmp_path / "page.html")
    drawn = Reader(page).charts
    assert {name: (marks["dot"], marks["path.line"]) for name, marks in drawn.items()} == {
        "Each trial": (4, 1), "Learning rate": (4, 0), "Pooling": (4, 0), "STS-B dev": (5, 4), "The chosen run": (6, 3)
    }  # fmt: skip
    assert "The tests were read once, at the end" in page and "ONNX int8, a test, read once" in page
    assert "<dt>Seed</dt><dd>1</dd>" in page and "<dt>Made</dt><dd>2026-01-01</dd>" in page
    assert "the loss is nan" in page and "66.50" in page, "the mean of the tests"


def test_names_are_escaped() -> None:
    evil = "</script><img src=x>"
    search = make_search(name=evil, space={"keys": {evil: [evil], RATE: [1]}}, tests={})
    for trial in search.trials:
        trial.settings, trial.why = {evil: evil, RATE: 1}, evil
    page = render(search)
    assert "<img" not in page and "so none was read" in page


def charts_of(search: Search) -> dict[str, Chart]:
    return {chart.title: validate(chart) for chart in charts.value_charts(search)}


def test_the_test_leads_and_dev_is_named() -> None:
    page = render(make_search())
    assert re.search(r"<h1>Learning rate 3.16e‑4, pooling cls: 66.50 on STS mean</h1>", page), "not dev, which chose"
    assert "<dt>STS-B dev, best trial</dt><dd>73.00</dd>" in page
    assert "</h1>" in render(make_search(tests={})) and re.search(": 73.00 on STS-B dev</h1>", render(make_search(tests={})))


def test_the_recipe_is_a_row() -> None:
    own = {RATE: 10.0**-4, POOLING: "mean"}
    tried = [[cell.strip() for cell in row] for row in Reader(render(make_search(base=own))).rows]
    assert next(row for row in tried if row and row[0] == "2 the recipe")[1:3] == ["72.00", "3.00"], "the trial that has its values"
    untried = Reader(render(make_search(base={RATE: 5e-5, POOLING: "cls"}))).rows
    (row,) = [[cell.strip() for cell in row] for row in untried if row and row[0] == "the recipe"]
    assert row == ["the recipe", "–", "–", "5e-5", "cls", "–", "not tried"]


def test_a_search_that_found_no_better_than_one_answer_says_so_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "66.50 on STS mean, no better than one answer to everything</h1>" in render(make_search(at_majority=True))
    show.trials(make_search(at_majority=True), tmp_path)
    assert "The chosen run is no better than one answer to everything." in capsys.readouterr().out


def test_the_recipe_is_a_row_of_the_terminal_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show.trials(make_search(base={RATE: 10.0**-4, POOLING: "mean"}), tmp_path)
    assert re.search(r"^ *2 .*the recipe", capsys.readouterr().out, re.MULTILINE)
    show.trials(make_search(base={RATE: 5e-5, POOLING: "cls"}), tmp_path)
    assert re.search(r"^ *– +learning rate 5e-5, .*the recipe, not tried", capsys.readouterr().out, re.MULTILINE)


def test_equal_scores_are_a_sentence() -> None:
    search = make_search()
    for trial in search.trials[:4]:
        trial.score = 70.0
    assert charts.value_charts(search) == [] and charts.steps_chart(search) is None
    assert charts.search_level(search) in render(search) and "All 4 have the same STS-B dev, 70.00" in charts.search_level(search)


def test_all_charts_are_on_one_scale_and_an_axis_is_logarithmic_where_values_were_drawn_so() -> None:
    search = make_search()
    rate, pooling = charts_of(search).values()
    assert rate.y == pooling.y and rate.x.log and rate.x.ticks[0][1] == "1e-5"
    assert [name for _, name in pooling.x.ticks] == ["mean", "cls"]
    search.space["keys"][RATE]["log"] = False
    assert not charts_of(search)["Learning rate"].x.log
    assert all(validate(draw(search)) for draw in (charts.front_chart, charts.steps_chart, charts.tests_chart))


def test_each_value_has_a_score_on_every_test_where_trials_were_scored_on_them() -> None:
    search = make_search("one-factor", space={"keys": {POOLING: ["mean", "cls"]}}, best=3)
    for trial in search.trials:
        del trial.settings[RATE]
    assert list(charts_of(search)) == ["Pooling"]
    for trial in search.trials[:4]:
        trial.tests = {"sts/12": 60.0 + trial.number, "sts/stsb": 80.0 + trial.number}
    dev, tests = charts_of(search).values()
    assert tests.title == "Pooling, tests" and len(dev.dots) == 4 and len(tests.dots) == 8
    assert {name: line.points for name, line in lines_of(tests).items()} == {
        "STS12": [(0.0, 61.0), (1.0, 62.0)], "STS-B": [(0.0, 81.0), (1.0, 82.0)]
    }  # fmt: skip
    page = render(search)
    assert "Every finished trial was scored on the tests too" in page and "read once" not in page


@pytest.mark.parametrize("sampler", ["one-factor", "grid"])
def test_the_line_joins_the_medians_of_finished_trials(sampler: str) -> None:
    values = [(1e-5, 70.0), (1e-5, 72.0), (1e-4, 75.0), (1e-4, 10.0)]
    trials = [Trial(number=number, settings={RATE: rate}, state="complete", score=score) for number, (rate, score) in enumerate(values)]
    trials[3].state = "pruned"
    (chart,) = charts_of(make_search(sampler, trials=trials, best=2, space={"keys": {RATE: [1e-5, 1e-4]}})).values()
    assert chart.x.log and chart.lines[0].points == [(1e-5, 71.0), (1e-4, 75.0)]


def test_one_factor_shows_a_trial_where_its_key_is_searched_and_the_recipe_at_its_own_value() -> None:
    trials = [
        Trial(number=0, role="base", settings={}, state="complete", score=70),
        Trial(number=1, role="single", settings={RATE: 2.0}, state="complete", score=71),
        Trial(number=2, role="single", settings={POOLING: "cls"}, state="complete", score=72),
        Trial(number=3, role="combined", settings={RATE: 2.0, POOLING: "cls"}, state="complete", score=73),
    ]
    search = make_search("one-factor", trials=trials, base={RATE: 1.0}, space={"keys": {RATE: [1.0, 2.0], POOLING: ["cls"]}})
    rate, pooling = charts_of(search).values()
    assert [dot.x for dot in rate.dots] == [1.0, 2.0]
    assert [name for _, name in pooling.x.ticks] == ["cls"] and len(pooling.dots) == 1
