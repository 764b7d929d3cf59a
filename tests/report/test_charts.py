"""Charts hold the records' points, are valid plotly, and their labels can be read."""

from __future__ import annotations

from itertools import combinations

import pytest

from helpers.pages import validate
from helpers.samples import make_run
from potstill.report import model_rows
from potstill.report.charts import SIZE, SPEED, quality_chart
from potstill.report.figure import log_ticks
from potstill.report.labels import HEIGHT, WIDTH, Placed, place_labels


def test_a_point_for_each_model() -> None:
    figure = validate(quality_chart(model_rows([make_run()]), SIZE, "STS mean"))
    points = {trace["name"]: (trace["x"][0], round(trace["y"][0], 2)) for trace in figure["data"]}
    assert points["teacher"] == (pytest.approx(437.967648), 80.64)
    assert points["ONNX int8"] == (pytest.approx(17.493871), 78.71)
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == [80.64]


def test_points_on_one_spot_share_a_label() -> None:
    figure = validate(quality_chart(model_rows([make_run()]), SIZE, "STS mean"))
    labels = [trace["text"][0].strip("\u00a0") for trace in figure["data"]]
    assert labels == ["teacher", "undistilled cut", "student, ONNX fp32", "", "ONNX int8"]


def test_several_runs_are_labelled_with_their_names() -> None:
    runs = [make_run("a"), make_run("b", shift=-3, scale=0.5)]
    figure = validate(quality_chart(model_rows(runs), SPEED, "STS mean"))
    labels = [label for trace in figure["data"] if (label := trace["text"][0].strip("\u00a0"))]
    assert labels == ["teacher", "a", "b"]


def test_a_model_without_cost_or_score_has_no_point() -> None:
    run = make_run()
    run.records[1].cost = None
    run.records[2].scores = {}
    assert len(validate(quality_chart(model_rows([run]), SIZE, "STS mean"))["data"]) == 3
    assert quality_chart(model_rows([make_run(cost=False)]), SIZE, "STS mean") is None


def test_one_point_alone_is_drawn_on_a_straight_axis() -> None:
    figure = validate(quality_chart(model_rows([make_run(roles=("int8",))]), SPEED, "STS mean"))
    low, high = figure["layout"]["xaxis"]["range"]
    assert low < 1987.4 < high and "type" not in figure["layout"]["xaxis"]


def test_names_are_escaped_for_plotly() -> None:
    runs = [make_run("<b>%{x}</b>"), make_run("b", shift=-5)]
    figure = validate(quality_chart(model_rows(runs), SIZE, "STS mean"))
    assert figure["data"][4]["text"] == ["\u00a0&lt;b&gt;%{x}&lt;/b&gt;\u00a0"]
    assert all("%{x}" not in trace["hovertemplate"] for trace in figure["data"])


def extent(point: tuple[float, float], label: Placed) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a label where plotly draws it: letters of 7 pixels, lines of 15."""
    vertical, horizontal = label.position.split()
    width, height = 7 * len(label.text), 15
    left = point[0] * WIDTH - {"left": width, "center": width / 2, "right": 0}[horizontal]
    bottom = point[1] * HEIGHT - {"bottom": height, "middle": height / 2, "top": 0}[vertical]
    return left, bottom, left + width, bottom + height


def test_labels_of_near_points_stay_inside_and_do_not_cover_each_other() -> None:
    points = [(0.5, 0.5), (0.56, 0.5), (0.5, 0.56), (0.97, 0.97), (0.03, 0.03)]
    texts = ["student", "ONNX fp32", "ONNX int8", "teacher", "undistilled cut"]
    boxes = [extent(point, label) for point, label in zip(points, place_labels(points, texts))]
    assert all(left >= 0 and right <= WIDTH and bottom >= 0 and top <= HEIGHT for left, bottom, right, top in boxes)
    assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for a, b in combinations(boxes, 2))


def test_numbers_of_one_spot_in_a_row_are_a_range() -> None:
    numbers = ["12", "18", "13", "14", "16", "17"]
    assert [label.text for label in place_labels([(0.5, 0.5)] * 6, numbers)] == ["12–14, 16–18", "", "", "", "", ""]
    assert [label.text for label in place_labels([(0.5, 0.5)] * 2, ["10", "11"])] == ["10, 11", ""]


def test_a_label_leaves_the_teacher_s_line_free() -> None:
    (label,) = place_labels([(0.5, 0.8)], ["teacher"], lines=[0.8])
    assert label.position == "top center"


def test_a_label_leaves_error_bars_free() -> None:
    (label,) = place_labels([(0.5, 0.5)], ["9"], lines=[0.5], bars=[(0.5, 0.3, 0.7)])
    assert label.position == "top right"


def test_log_ticks_are_written_out() -> None:
    assert log_ticks(15, 600) == {"tickvals": [20, 50, 100, 200, 500], "ticktext": ["20", "50", "100", "200", "500"]}
    assert log_ticks(0.002, 0.6)["ticktext"] == ["0.003", "0.01", "0.03", "0.1", "0.3"]
    assert log_ticks(1e-5, 2000)["ticktext"][0] == "0.00001"
    assert log_ticks(1e-5, 2000)["tickvals"][-1] == 1000
