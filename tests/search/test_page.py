"""The page of a search, as a browser shows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.search.charts import value_chart
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
    page = re.sub(r"<script>.*?</script>", "", browse(tmp_path / "page.html"), count=1, flags=re.DOTALL)
    drawn = re.findall(r'<div class="chart[^"]*" data-figure="([^"]+)".*?class="main-svg"', page, re.DOTALL)
    assert drawn == ["front", "key-0", "key-1", "steps", "tests"]
    assert "The tests were read once, at the end" in page and "ONNX int8, read once" in page
    assert "<dt>Seed</dt><dd>1</dd>" in page and "<dt>Made</dt><dd>2026-01-01</dd>" in page
    assert "the loss is nan" in page and "66.50" in page, "the mean of the tests"


def test_names_are_escaped() -> None:
    evil = "</script><img src=x>"
    search = make_search(name=evil, space={"keys": {evil: [evil], RATE: [1]}}, tests={})
    for trial in search.trials:
        trial.settings, trial.why = {evil: evil, RATE: 1}, evil
    page = render(search)
    assert "<img" not in page and "so none was read" in page


@pytest.mark.parametrize("sampler", ["one-factor", "grid"])
def test_the_line_joins_the_medians_of_finished_trials(sampler: str) -> None:
    values = [(1e-5, 70.0), (1e-5, 72.0), (1e-4, 75.0), (1e-4, 10.0)]
    trials = [Trial(number=number, settings={RATE: rate}, state="complete", score=score) for number, (rate, score) in enumerate(values)]
    trials[3].state = "pruned"
    chart = value_chart(make_search(sampler, trials=trials, best=2, space={"keys": {RATE: [1e-5, 1e-4]}}), RATE)
    assert chart is not None and chart["layout"]["xaxis"]["type"] == "log"
    assert (chart["data"][0]["x"], chart["data"][0]["y"]) == ([1e-5, 1e-4], [71.0, 75.0])


def test_one_factor_shows_a_trial_where_its_key_is_searched_and_the_recipe_at_its_own_value() -> None:
    trials = [
        Trial(number=0, role="base", settings={}, state="complete", score=70),
        Trial(number=1, role="single", settings={RATE: 2.0}, state="complete", score=71),
        Trial(number=2, role="single", settings={POOLING: "cls"}, state="complete", score=72),
        Trial(number=3, role="combined", settings={RATE: 2.0, POOLING: "cls"}, state="complete", score=73),
    ]
    search = make_search("one-factor", trials=trials, base={RATE: 1.0}, space={"keys": {RATE: [1.0, 2.0], POOLING: ["cls"]}})
    shown = {
        key: [x for trace in value_chart(search, key)["data"] if trace["mode"] == "markers" for x in trace["x"]] for key in (RATE, POOLING)
    }
    assert shown == {RATE: [1.0, 2.0], POOLING: ["cls"]}
