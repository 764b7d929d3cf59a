"""Charts hold the records' points, their axes can be read, and their labels cover nothing."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from helpers.pages import validate
from helpers.samples import make_run
from potstill.report import model_rows
from potstill.report.charts import SPEED, all_level, quality_chart, quality_charts
from potstill.report.figure import Chart, Dot, Line, linear_axis, log_ticks, named_axis, score_axis, tick_texts, ticks_between, value_axis
from potstill.report.labels import place_labels
from potstill.report.svg import draw, thinned
from potstill.results import Run


def charts(runs: list[Run]) -> dict[str, Chart]:
    return {name: validate(chart) for name, chart in quality_charts(model_rows(runs), "STS mean").items()}


def labels(chart: Chart) -> list[str]:
    return [dot.label for dot in chart.dots if dot.label]


def test_a_point_for_each_model() -> None:
    chart = charts([make_run()])["size"]
    points = {dot.label: (dot.x, round(dot.y, 2)) for dot in chart.dots}
    assert points["teacher"] == (pytest.approx(437.967648), 80.64)
    assert points["ONNX int8"] == (pytest.approx(17.493871), 78.71)
    assert chart.x.log and [rule.at for rule in chart.rules] == [80.64]
    assert "teacher\nSTS mean 80.64\nweights on disk, MB 438.0" in chart.dots[0].said


def test_left_and_right_are_on_one_scale() -> None:
    run = make_run()
    assert run.records[1].cost is not None
    run.records[1].cost.sentences_per_second = float("nan")  # the lowest score has no point on the right
    drawn = charts([run])
    assert len(drawn["speed"].dots) == 4 and drawn["size"].y == drawn["speed"].y


def test_points_on_one_spot_share_a_label() -> None:
    assert ">student, ONNX fp32<" in draw(charts([make_run()])["size"])


def test_several_runs_are_labelled_with_their_names() -> None:
    chart = charts([make_run("a"), make_run("b", shift=-3, scale=0.5)])["speed"]
    assert labels(chart) == ["teacher", "a", "teacher", "b"] and draw(chart).count(">teacher</text>") == 2, "one in each drawing"


def test_a_model_without_cost_or_score_has_no_point() -> None:
    run = make_run()
    run.records[1].cost = None
    run.records[2].scores = {}
    assert len(charts([run])["size"].dots) == 3
    assert charts([make_run(cost=False)]) == {}


def test_one_point_alone_is_drawn_on_a_straight_axis() -> None:
    rows = model_rows([make_run(roles=("int8",))])
    chart = validate(quality_chart(rows, SPEED, score_axis("STS mean", [78.71])))
    assert chart.x.low < 1987.4 < chart.x.high and not chart.x.log


def test_equal_scores_are_a_sentence() -> None:
    rows = model_rows([make_run(roles=("student", "onnx"))])
    assert quality_charts(rows, "STS mean") == {}
    assert all_level([row.score for row in rows], "STS mean") == "All 2 have the same STS mean, 78.90: there is nothing to draw."
    assert all_level([78.9], "STS mean") == all_level([78.9, None, 79.0], "STS mean") == ""


def test_names_stay_texts() -> None:
    drawn = draw(charts([make_run("<b>'\"</b>"), make_run("b", shift=-5)])["size"])
    assert "<b>" not in drawn and "&lt;b&gt;&#x27;&quot;&lt;/b&gt;</text>" in drawn


def test_a_chart_is_told_to_those_who_do_not_see_it() -> None:
    drawn = draw(charts([make_run()])["size"])
    assert drawn.count('role="img" aria-label="Against size: STS mean against weights on disk, MB. mpnet-to-3-layers: teacher, ') == 2


def crowd(count: int, letters: int) -> Chart:
    """Points in a corner, beside one that is far off."""
    generator = random.Random(count)
    dots = [Dot(0, 90, "", "red", label="teacher", low=88, high=92)]
    dots += [
        Dot(50 + 50 * generator.random(), 70 + 12 * generator.random(), "", "red", label=f"{number:x<{letters}}") for number in range(count)
    ]
    return Chart("crowd", linear_axis("cost", -5, 105), score_axis("score", [dot.y for dot in dots]), dots)


@pytest.mark.parametrize(
    ("count", "letters", "named"),
    [
        (3, 8, True),  # few short names
        (12, 8, None),  # a dozen of them
        (14, 24, False),  # long ones: numbers
        (30, 24, False),  # more than there is room for
    ],
)
def test_labels_of_a_crowd_cover_nothing(count: int, letters: int, named: bool | None) -> None:
    chart = validate(crowd(count, letters))
    drawn = draw(chart)
    narrow = drawn.partition('<div class="drawing wide">')[0]
    assert named is None or ("<ol" not in narrow) == named
    if not named and named is not None:  # all names are in the key beside the drawing
        assert narrow.count("<li value=") == count + 1
        assert all(f">{dot.label}</li>" in narrow for dot in chart.dots)


def test_labels_of_near_points_stay_inside_and_do_not_cover_each_other() -> None:
    points = [(150.0, 150.0), (168.0, 150.0), (150.0, 132.0), (291.0, 9.0), (9.0, 281.0)]
    texts = ["student", "ONNX fp32", "ONNX int8", "teacher", "undistilled cut"]
    placed = place_labels(points, texts, 300, 290)
    boxes = [label.box for label in placed]
    assert all(label.clear for label in placed)
    assert all(left >= 0 and right <= 300 and top >= 0 and bottom <= 290 for left, top, right, bottom in boxes)
    assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for a, b in combinations(boxes, 2))


def test_a_label_without_room_beside_its_point_has_a_leader_line() -> None:
    ring = [(150.0 + x, 150.0 + y) for x in (-22, -11, 0, 11, 22) for y in (-22, -11, 0, 11, 22)]
    texts = ["middle" if point == (150.0, 150.0) else "" for point in ring]
    (label,) = [label for label in place_labels(ring, texts, 300, 300) if label.text]
    assert label.clear and label.leader is not None


def test_numbers_of_one_spot_in_a_row_are_a_range() -> None:
    numbers = ["12", "18", "13", "14", "16", "17"]
    spot = (150.0, 150.0)
    assert [label.text for label in place_labels([spot] * 6, numbers, 300, 300)] == ["12–14, 16–18", "", "", "", "", ""]
    assert [label.text for label in place_labels([spot] * 2, ["10", "11"], 300, 300)] == ["10, 11", ""]


def test_a_label_leaves_lines_free() -> None:
    level, bar = (0.0, 59.0, 300.0, 61.0), (146.0, 20.0, 154.0, 100.0)
    (label,) = place_labels([(150.0, 60.0)], ["teacher"], 300, 300, [level])
    assert label.box[3] < 59 or label.box[1] > 61
    (label,) = place_labels([(150.0, 60.0)], ["9"], 300, 300, [level, bar])
    assert (label.box[3] < 59 or label.box[1] > 61) and (label.box[2] < 146 or label.box[0] > 154)


def test_ticks_are_round_and_never_fewer_than_three() -> None:
    def texts(low: float, high: float) -> list[str]:
        return [text for _, text in ticks_between(low, high)]

    assert texts(78.71, 80.64) == ["79.0", "79.5", "80.0", "80.5"] and texts(0, 8859) == ["0", "2,500", "5,000", "7,500"]
    assert texts(0, 1e-4) == ["0", "2.5e-5", "5e-5", "7.5e-5", "1e-4"]
    generator = random.Random(1)
    for _ in range(300):
        low = generator.uniform(-1, 1) * 10 ** generator.uniform(-8, 8)
        high = low + abs(low) * 10 ** generator.uniform(-4, 4)
        assert len(set(texts(low, high))) >= 3 and all(low <= value + 1e-9 * abs(value) for value, _ in ticks_between(low, high))
    for _ in range(100):
        low = 10 ** generator.uniform(-6, 6)
        assert len(log_ticks(low, low * 10 ** generator.uniform(0.05, 8))) >= 3


def test_log_ticks() -> None:
    assert [text for _, text in log_ticks(15, 600)] == ["20", "50", "100", "200", "500"]
    assert [text for _, text in log_ticks(0.002, 0.6)] == ["0.003", "0.01", "0.03", "0.1", "0.3"]
    assert [text for _, text in log_ticks(1e-5, 2000)][::4] == ["1e-5", "0.1", "1,000"]


def test_small_numbers_are_written_in_powers_of_ten() -> None:
    assert tick_texts([3e-4, 1e-3, 0.01]) == ["3e-4", "1e-3", "0.01"] and tick_texts([0.001, 0.02]) == ["0.001", "0.02"]


def test_no_axis_of_scores_goes_beyond_what_a_score_can_be() -> None:
    assert score_axis("F1", [99.8, 98.0]).high == 100.0 and score_axis("F1", [0.0, 3.0]).low == 0.0
    above = score_axis("kept, %", [99.0, 101.0])
    assert above.high > 101.0 and above.low < 99.0


def test_names_that_find_no_room_at_an_axis_are_turned() -> None:
    names = [f"mean_last_{word}" for word in ("one", "two", "three", "four", "five")]
    dots = [Dot(place, 70.0 + place, "", "red") for place in range(5)]
    narrow, _, wide = draw(Chart("x", named_axis("pooling", names), score_axis("score", [70, 74]), dots)).partition('"drawing wide"')
    assert narrow.count("rotate(") == 5 and wide.count("rotate(") == 0


def test_a_long_curve_is_thinned_but_keeps_its_peak() -> None:
    points: list[tuple[float, float | None]] = [(step, 9.0 if step == 777 else 1.0 + step % 7 / 100) for step in range(5000)]
    kept = thinned(points, 60)
    assert len(kept) <= 122 and (777, 9.0) in kept and kept[0] == points[0] and kept[-1] == points[-1]
    axis = value_axis("loss", [1.0, 9.0])
    drawn = draw(validate(Chart("loss", linear_axis("step", 0, 5000), axis, lines=[Line(points, "red", "total")])))
    assert len(drawn) < 12_000 and "total: 1 → 1.01" in drawn
