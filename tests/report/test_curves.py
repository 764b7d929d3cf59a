"""metrics.jsonl → lines, over stages, gaps and restarts."""

from __future__ import annotations

import math
from typing import Any

from helpers.pages import lines_of, validate
from helpers.samples import make_metrics
from potstill.report.curves import Curves, read_curves, training_charts
from potstill.report.figure import MUTED, SERIES, Chart
from potstill.report.svg import draw


def line(step: int, stage: str = "a", **more: Any) -> dict[str, Any]:
    return {"step": step, "stage": stage, "loss": 0.5, "terms": {"cosine": 0.5}, "learning_rate": 1e-4, **more}


def charts(runs: dict[str, Curves]) -> dict[str, Chart]:
    """The charts by the first word of their titles."""
    return {chart.title.split()[0]: validate(chart) for chart in training_charts(runs)}


def names(runs: dict[str, Curves]) -> list[str]:
    return [line.name for line in charts(runs)["Loss"].lines]


def test_losses_by_term_with_the_best_dev_score_marked() -> None:
    metrics = make_metrics()
    runs = {"run": read_curves(metrics)}
    assert names(runs) == ["total", "cosine", "similarity"] and list(charts(runs)) == ["Loss", "Score", "Learning"]
    devs = [entry["dev"]["value"] for entry in metrics if "dev" in entry]
    score = charts(runs)["Score"]
    assert score.y.title == "STS-B dev" and [dot.y for dot in score.dots] == devs
    assert [dot.label for dot in score.dots if dot.label] == [f"best {max(devs):.2f}"]
    assert charts(runs)["Loss"].y.log and [text for _, text in charts(runs)["Learning"].y.ticks][-1] == "1e-4"


def test_stages_have_a_boundary_and_the_total_breaks_there() -> None:
    curves = read_curves(make_metrics(("angles", "task")))
    assert [name for _, name in curves.stages] == ["angles", "task"]
    assert sum(value is None for _, value in curves.loss) == 1
    for chart in charts({"run": curves}).values():
        assert [rule.name for rule in chart.rules] == ["angles", "task"]
        drawn = draw(chart)
        assert drawn.count(">angles</text>") == drawn.count(">task</text>") == 2
        assert drawn.count('class="rule"') == 2, "none at the start, where the axis is"
    assert names({"run": curves}) == ["total", "cosine", "similarity", "mse"]


def test_a_stage_that_counts_from_zero_goes_on() -> None:
    curves = read_curves([line(10), line(20), line(10, "b"), line(20, "b")])
    assert [step for step, value in curves.loss if value is not None] == [10, 20, 30, 40]
    assert curves.stages == [(0, "a"), (20, "b")]


def test_several_runs_are_overlaid() -> None:
    runs = {"one": read_curves(make_metrics()), "two": read_curves(make_metrics(seed=1)), "none": read_curves([])}
    assert [name.partition(", best 84.")[0] for name in names(runs)] == ["one", "two"]
    assert [line.name for line in charts(runs)["Score"].lines] == ["one", "two"]


def test_a_term_that_a_stage_leaves_out_is_not_bridged() -> None:
    stages = [("a", {"x": 1.0, "y": 2.0}), ("b", {"x": 1.0}), ("c", {"x": 1.0, "y": 2.0})]
    lines = [line(step, stage, loss=3.0, terms=terms) for stage, terms in stages for step in (10, 20)]
    curves = read_curves(lines)
    assert [step for step, value in curves.terms["y"] if value is not None] == [10, 20, 50, 60]
    assert [value for _, value in curves.terms["y"]] == [2.0, 2.0, None, None, 2.0, 2.0]
    assert names({"run": curves}) == ["total", "x", "y"], "one line a term, whatever the stages"


def test_a_weight_that_rises_from_zero_leaves_the_axis_logarithmic() -> None:
    lines = [line(1, loss=0.0, terms={"x": 2.0}), line(2, loss=1.0, terms={"x": 2.0})]
    loss = charts({"run": read_curves(lines)})["Loss"]
    assert loss.y.log and loss.lines[0].points == [(1, None), (2, 1.0)]


def test_one_whole_term_in_the_first_stage_shows_beside_the_total() -> None:
    lines = [line(10, loss=0.5), line(20, loss=0.4, terms={"cosine": 0.4}), line(10, "b", loss=2.0), line(20, "b", loss=1.9)]
    total, cosine = charts({"run": read_curves(lines)})["Loss"].lines
    assert total.points[:2] == cosine.points[:2] == [(10, 0.5), (20, 0.4)]
    assert total.width > cosine.width


def boundaries(runs: dict[str, Curves]) -> list[tuple[float, str]]:
    rules = charts(runs)["Loss"].rules
    names = {rule.name for rule in rules}
    assert {name for curves in runs.values() if len(curves.stages) > 1 for _, name in curves.stages} <= names
    return [(rule.at, rule.colour) for rule in rules if rule.at]


def test_several_runs_have_their_stages_marked() -> None:
    two, same = (read_curves(make_metrics(("angles", "task"), seed=seed)) for seed in (0, 1))
    start = two.stages[1][0]
    assert boundaries({"with": two, "without": same}) == [(start, MUTED)]
    sooner = read_curves([line(10, "angles"), line(20, "task")])
    assert boundaries({"with": two, "sooner": sooner, "plain": read_curves(make_metrics())}) == [(start, SERIES[0]), (10, SERIES[1])]


def test_more_runs_than_colours_are_dotted() -> None:
    runs = {f"run {number}": read_curves([line(1), line(2)]) for number in range(10)}
    looks = [(each.colour, each.dash) for each in charts(runs)["Loss"].lines]
    assert len(set(looks)) == 10 and looks[8] == (SERIES[0], "dot")


def test_nothing_logged_is_no_chart() -> None:
    assert training_charts({"run": read_curves([])}) == []
    assert training_charts({"run": read_curves([{"stage": "a"}, {"step": None}])}) == []


def test_not_a_number_is_a_gap() -> None:
    broken = line(1, loss=math.nan, terms={"cosine": math.inf})
    curves = read_curves([broken, line(2), line(3, dev={"name": "agreement", "value": math.nan})])
    assert curves.loss[0] == (1, None) and curves.terms["cosine"][0] == (1, None) and curves.dev == {}
    assert set(charts({"run": curves})) == {"Loss", "Learning"}


def test_a_loss_that_is_not_positive_takes_a_straight_axis() -> None:
    assert not charts({"run": read_curves([line(1), line(2, loss=-0.1)])})["Loss"].y.log


def test_a_lone_term_that_is_the_total_is_drawn_once() -> None:
    assert names({"run": read_curves([line(1), line(2)])}) == ["total"]


def test_without_dev_scores_their_chart_is_not_there() -> None:
    assert list(charts({"run": read_curves([line(1), line(2)])})) == ["Loss", "Learning"]


def test_every_task_that_was_scored_by_step_has_a_line() -> None:
    lines = [
        {"step": step, "stage": "a", "dev": {"name": name, "value": value + step}}
        for step in (1, 2)
        for name, value in (("sts/stsb-dev", 70.0), ("glue/mrpc-dev", 80.0))
    ]
    score = charts({"run": read_curves(lines)})["Score"]
    assert {name: line.points for name, line in lines_of(score).items()} == {
        "STS-B dev": [(1, 71.0), (2, 72.0)],
        "MRPC dev": [(1, 81.0), (2, 82.0)],
    }
    assert [dot.label for dot in score.dots if dot.label] == ["best 72.00", "best 82.00"]
