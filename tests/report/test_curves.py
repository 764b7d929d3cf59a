"""metrics.jsonl → lines, over stages, gaps and restarts."""

from __future__ import annotations

import math
from typing import Any

from potstill.report.curves import read_curves, training_chart

from .samples import make_metrics
from .test_charts import validate


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
