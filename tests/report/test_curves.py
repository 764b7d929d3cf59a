"""metrics.jsonl → lines, over stages, gaps and restarts."""

from __future__ import annotations

import math
from typing import Any

from helpers.pages import validate
from helpers.samples import make_metrics
from potstill.report.curves import Curves, read_curves, training_chart
from potstill.report.figure import MUTED, SERIES


def line(step: int, stage: str = "a", **more: Any) -> dict[str, Any]:
    return {"step": step, "stage": stage, "loss": 0.5, "terms": {"cosine": 0.5}, "learning_rate": 1e-4, **more}


def names(figure: dict[str, Any]) -> list[str]:
    return [trace["name"] for trace in figure["data"] if trace["showlegend"]]


def test_losses_by_term_with_the_best_dev_score_marked() -> None:
    metrics = make_metrics()
    figure = validate(training_chart({"run": read_curves(metrics)}))
    assert names(figure) == ["total", "cosine", "similarity"]
    best = max(entry["dev"]["value"] for entry in metrics if "dev" in entry)
    assert [trace["text"] for trace in figure["data"] if "text" in trace] == [[f"best {best:.2f}"]]
    assert figure["layout"]["yaxis"]["type"] == "log"


def test_stages_have_a_boundary_and_the_total_breaks_there() -> None:
    curves = read_curves(make_metrics(("angles", "task")))
    assert [name for _, name in curves.stages] == ["angles", "task"]
    assert sum(value is None for _, value in curves.loss) == 1
    figure = validate(training_chart({"run": curves}))
    assert len(figure["layout"]["shapes"]) == 1
    assert {"angles", "task"} <= {note["text"] for note in figure["layout"]["annotations"]}
    assert names(figure) == ["total", "cosine", "similarity", "mse"]


def test_a_stage_that_counts_from_zero_goes_on() -> None:
    curves = read_curves([line(10), line(20), line(10, "b"), line(20, "b")])
    assert [step for step, value in curves.loss if value is not None] == [10, 20, 30, 40]
    assert curves.stages == [(0, "a"), (20, "b")]


def test_several_runs_are_overlaid() -> None:
    runs = {"one": read_curves(make_metrics()), "two": read_curves(make_metrics(seed=1)), "none": read_curves([])}
    figure = validate(training_chart(runs))
    assert [name.partition(",")[0] for name in names(figure)] == ["one", "two"]


def test_a_term_that_a_stage_leaves_out_is_not_bridged() -> None:
    stages = [("a", {"x": 1.0, "y": 2.0}), ("b", {"x": 1.0}), ("c", {"x": 1.0, "y": 2.0})]
    lines = [line(step, stage, loss=3.0, terms=terms) for stage, terms in stages for step in (10, 20)]
    curves = read_curves(lines)
    assert [step for step, value in curves.terms["y"] if value is not None] == [10, 20, 50, 60]
    assert [value for _, value in curves.terms["y"]] == [2.0, 2.0, None, None, 2.0, 2.0]
    assert names(validate(training_chart({"run": curves}))) == ["total", "x", "y"], "one line a term, whatever the stages"


def test_a_weight_that_rises_from_zero_leaves_the_axis_logarithmic() -> None:
    lines = [line(1, loss=0.0, terms={"x": 2.0}), line(2, loss=1.0, terms={"x": 2.0})]
    figure = validate(training_chart({"run": read_curves(lines)}))
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert figure["data"][0]["y"] == [None, 1.0]


def test_one_whole_term_in_the_first_stage_shows_beside_the_total() -> None:
    lines = [line(10, loss=0.5), line(20, loss=0.4, terms={"cosine": 0.4}), line(10, "b", loss=2.0), line(20, "b", loss=1.9)]
    total, cosine, _ = validate(training_chart({"run": read_curves(lines)}))["data"]
    assert total["y"][:2] == [0.5, 0.4] and cosine["y"][:2] == [0.5, 0.4]
    assert total["line"]["width"] > cosine["line"]["width"]


def boundaries(runs: dict[str, Curves]) -> list[tuple[float, str]]:
    figure = validate(training_chart(runs))
    names = {note["text"] for note in figure["layout"]["annotations"]}
    assert {name for curves in runs.values() if len(curves.stages) > 1 for _, name in curves.stages} <= names
    return [(shape["x0"], shape["line"]["color"]) for shape in figure["layout"]["shapes"]]


def test_several_runs_have_their_stages_marked() -> None:
    two, same = (read_curves(make_metrics(("angles", "task"), seed=seed)) for seed in (0, 1))
    start = two.stages[1][0]
    assert boundaries({"with": two, "without": same}) == [(start, MUTED)]
    sooner = read_curves([line(10, "angles"), line(20, "task")])
    assert boundaries({"with": two, "sooner": sooner, "plain": read_curves(make_metrics())}) == [(start, SERIES[0]), (10, SERIES[1])]


def test_more_runs_than_colours_are_dotted() -> None:
    figure = validate(training_chart({f"run {number}": read_curves([line(1), line(2)]) for number in range(10)}))
    looks = [(trace["line"]["color"], trace["line"]["dash"]) for trace in figure["data"] if trace["showlegend"]]
    assert len(set(looks)) == 10 and looks[8] == (SERIES[0], "dot")


def test_nothing_logged_is_no_chart() -> None:
    assert training_chart({"run": read_curves([])}) is None
    assert training_chart({"run": read_curves([{"stage": "a"}, {"step": None}])}) is None


def test_not_a_number_is_a_gap() -> None:
    broken = line(1, loss=math.nan, terms={"cosine": math.inf})
    curves = read_curves([broken, line(2), line(3, dev={"name": "agreement", "value": math.nan})])
    assert curves.loss[0] == (1, None) and curves.terms["cosine"][0] == (1, None) and curves.dev == {}
    validate(training_chart({"run": curves}))


def test_a_loss_that_is_not_positive_takes_a_straight_axis() -> None:
    figure = validate(training_chart({"run": read_curves([line(1), line(2, loss=-0.1)])}))
    assert figure["layout"]["yaxis"].get("type") != "log"


def test_a_lone_term_that_is_the_total_is_drawn_once() -> None:
    assert names(validate(training_chart({"run": read_curves([line(1), line(2)])}))) == ["total"]


def test_without_dev_scores_their_panel_is_not_there() -> None:
    figure = validate(training_chart({"run": read_curves([line(1), line(2)])}))
    assert "yaxis2" not in figure["layout"] and "yaxis3" in figure["layout"]
