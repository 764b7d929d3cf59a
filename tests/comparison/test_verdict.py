"""Better, not better, undecided."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from potstill.comparison.verdict import verdict
from potstill.recipe.file import read_recipe


@pytest.mark.parametrize(
    ("scores", "plain", "said"),
    [
        ([81, 82, 83], [79, 80, 80.9], "better"),  # every seed above every other
        ([81, 82, 83], [79, 80, 81], "undecided"),  # a tie of the lowest and the highest is no lead
        ([78, 82, 83], [79, 80, 81], "undecided"),  # a better median, and seeds that overlap
        ([78, 80, 83], [79, 80, 81], "not better"),  # the same median
        ([70, 71], [80, 81], "not better"),  # all below
        ([90], [80, 81], "undecided"),  # one seed
        ([90, 91], [80], "undecided"),  # one seed without distillation
        ([], [], "undecided"),  # no seed
    ],
)
def test_the_rule(scores: list[float], plain: list[float], said: str) -> None:
    assert verdict(scores, plain) == said


@pytest.fixture(scope="module")
def benchmark_of_tasks() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "tasks.py"
    spec = importlib.util.spec_from_file_location("tasks_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_has_no_rule_of_its_own(benchmark_of_tasks: Any) -> None:
    module = benchmark_of_tasks
    assert module.verdict is verdict
    cells = [{"method": "teacher", "score": 90.0, "scores": {"f1": 90.0}}]
    for method, values in (("finetune", (80.0, 81.0)), ("kd", (82.0, 83.0))):
        cells += [{"method": method, "score": value, "scores": {"f1": value}} for value in values]
    assert "| kd | 2 | 82.50 | 82.00–83.00 | 91.7 % | better |" in module.markdown("mrpc", cells)


@pytest.mark.parametrize("letter", "CSHg2M")
def test_the_benchmark_runs_an_ablation_as_its_recipe_names_it(benchmark_of_tasks: Any, letter: str) -> None:
    recipe, settings = benchmark_of_tasks._method(f"lrc-bert-{letter}")
    assert recipe == "lrc-bert"
    plain, ablated = read_recipe("lrc-bert/mrpc"), read_recipe("lrc-bert/mrpc", settings)
    assert ablated.stages != plain.stages
