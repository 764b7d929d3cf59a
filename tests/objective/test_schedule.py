"""Schedules: the shapes between two ends, steps, and what is none."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from potstill.errors import PotstillError
from potstill.objective.schedule import SHAPES, Schedule, parse, progress_of


def over(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(progress_of(step, steps)) for step in range(steps)]


def test_annealed_temperature_goes_10_9_to_1_in_ten_steps():
    assert over(parse({"from": 10, "to": 1}, "temperature"), 10) == pytest.approx([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], abs=1e-12)


def test_annealing_kd_holds_each_whole_temperature_for_an_equal_share():
    anneal = parse({"from": 5, "to": 1, "shape": "anneal"}, "temperature")
    assert over(anneal, 5) == [5, 4, 3, 2, 1]
    assert [1 - (t - 1) / 5 for t in over(anneal, 5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])  # Φ with τ_max = 5
    values = over(anneal, 1000)
    assert [values.count(t) for t in (5, 4, 3, 2, 1)] == [200] * 5
    assert over(parse({"from": 1, "to": 3, "shape": "anneal"}, "x"), 3) == [1, 2, 3]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("start", "end"), [(10, 1), (1, 10), (0.1, 0.1), (0.1, 2.1)])
def test_every_shape_runs_one_way_from_its_start_exactly_to_its_end(shape, start, end):
    schedule = parse({"from": start, "to": end, "shape": shape}, "weight")
    values = over(schedule, 101)
    assert values[0] == start and values[-1] == end == schedule.final
    sign = math.copysign(1, end - start)
    assert all(sign * (after - before) >= -1e-12 for before, after in pairwise(values))
    assert min(values) == pytest.approx(schedule.lowest)
    assert schedule(-0.5) == start and schedule(1.5) == end


def test_cosine_is_slow_at_both_ends():
    cosine = parse({"from": 1, "to": 0, "shape": "cosine"}, "weight")
    assert [cosine(progress) for progress in (0, 1 / 3, 0.5, 2 / 3, 1)] == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_steps_hold_until_the_next():
    steps = parse({"steps": [[0, 1.0], [0.5, 0.25], [0.8, 3.0]]}, "weight")
    assert over(steps, 11) == [1, 1, 1, 1, 1, 0.25, 0.25, 0.25, 3, 3, 3]
    assert (steps.lowest, steps.final) == (0.25, 3)
    assert str(steps) == "1 from 0, 0.25 from 0.5, 3 from 0.8"


def test_a_number_is_constant():
    for value in (3, 3.0, "3", "3e0"):
        assert over(parse(value, "weight"), 4) == [3] * 4
    assert str(parse(0.5, "weight")) == "0.5" and str(parse({"from": 10, "to": 1}, "t")) == "10 → 1 linear"


def test_progress_of_a_single_step_is_the_start():
    assert progress_of(0, 1) == 0 and progress_of(9, 10) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hot", "temperature: 'hot' is not a finite number"),  # a word
        (True, "True is not a finite number"),  # a bool, which Python counts as 1
        (float("nan"), "nan is not a finite number"),  # not a number
        (10**400, "is not a finite number"),  # more than a float holds
        (None, "None is not a finite number"),  # nothing
        ([1, 2], "[1, 2] is not a finite number; give a number, or a schedule"),  # a list without progress
        ({"from": 1}, "a schedule without `to`"),  # no end
        ({}, "a schedule without `from`"),  # neither end
        ({"from": 1, "too": 2}, "temperature.too: unknown key for a schedule; did you mean 'to'?"),  # a misspelt key
        ({"from": 1, "to": "x"}, "temperature.to: 'x' is not a finite number"),  # an end that is no number
        ({"from": 1, "to": 2, "shape": "cosin"}, "unknown shape 'cosin'; did you mean 'cosine'?"),  # a misspelt shape
        ({"from": 1, "to": 2, "shape": ["linear"]}, "unknown shape ['linear']"),  # a shape that is no word
        ({"from": 1, "to": 2.5, "shape": "anneal"}, "is not a whole number of steps of 1"),  # half a step
        ({"steps": [[0, 1]], "from": 2}, "temperature.from: unknown key"),  # both kinds at once
        ({"steps": [[0, 1]], "shape": "linear"}, "'linear' cannot have `steps`"),  # steps of a shape
        ({"steps": []}, "[] is not a list of [progress, value]"),  # no step
        ({"steps": [[0, 1], 0.5]}, "temperature.steps[1]: 0.5 is not [progress, value]"),  # a step without progress
        ({"steps": [[0.1, 1]]}, "begins at progress 0.1"),  # no value at the beginning
        ({"steps": [[0, 1], [0.5, 2], [0.5, 3]]}, "does not rise within 0 to 1"),  # two values at once
        ({"steps": [[0, 1], [1.5, 2]]}, "does not rise within 0 to 1"),  # after the end
    ],
)
def test_what_is_no_schedule_is_said(value, message):
    with pytest.raises(PotstillError) as caught:
        parse(value, "temperature")
    assert message in str(caught.value)
