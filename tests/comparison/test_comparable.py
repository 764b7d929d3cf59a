"""Runs of different tasks are refused in one line, runs that share a task are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from helpers.samples import make_run
from potstill.comparison.comparable import require_one_task, with_like_agreement
from potstill.comparison.page import write_comparison
from potstill.errors import PotstillError
from potstill.results import TEACHER_AGREEMENT, Run


def run_on(*tasks: str, task: str = "embed") -> Run:
    """A run whose recipe is of `task`, scored on `tasks`."""
    run = make_run(roles=("student",))
    run.recipe["task"] = task
    run.records[0].scores = {name: {"accuracy": 71.5, "primary": "accuracy"} for name in tasks}
    return run


def said_of(*runs: Run) -> str:
    """The error that runs raise together, "" for none."""
    try:
        require_one_task(runs, [Path(f"runs/{number}") for number in range(len(runs))])
    except PotstillError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "runs",
    [
        [],  # nothing
        [run_on("glue/mrpc")],  # one run
        [run_on("glue/mrpc", task="glue/mrpc"), run_on("glue/mrpc", task="glue/mrpc")],  # the same task
        [run_on("sts/12", "sts/13"), run_on("sts/13", "retrieval/docs")],  # one task of several
        [run_on("sts/12", task="mlm"), run_on("sts/12")],  # a language model's encoder, and one cut from it
        [run_on(), run_on("sts/12"), run_on()],  # no scores: their recipes' tasks
    ],
)
def test_runs_that_share_a_task(runs: Sequence[Run]) -> None:
    assert said_of(*runs) == ""


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        # two runs
        ([run_on("glue/mrpc"), run_on("glue/rte")], "runs/0 is of glue/mrpc, runs/1 of glue/rte;"),
        # the first and the last of three
        ([run_on("glue/mrpc"), run_on("glue/mrpc", "glue/rte"), run_on("glue/rte")], "runs/0 is of glue/mrpc, runs/2 of glue/rte;"),
        # more tasks than the error names
        ([run_on("glue/rte"), *[run_on(*(f"sts/{year}" for year in range(12, 17)))]], "runs/1 of sts/12, sts/13, sts/14 and 2 more;"),
        # no score: the recipe's task
        ([run_on(task="mlm"), run_on("glue/rte", task="glue/rte")], "runs/0 is of mlm, runs/1 of glue/rte;"),
    ],
)
def test_runs_that_share_none_are_named_with_their_tasks(runs: Sequence[Run], words: str) -> None:
    line = said_of(*runs)
    assert line.startswith("compare: runs of different tasks: ") and words in line and len(line.splitlines()) == 1


def test_no_page_is_written(save_run: Callable[..., Path], tmp_path: Path) -> None:
    folders = [save_run(run_on("glue/mrpc")), save_run(run_on("glue/rte"))]
    with pytest.raises(PotstillError, match="run-0 is of glue/mrpc, .*run-1 of glue/rte; compare the runs of one task at a time"):
        write_comparison(folders, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("digests", "kept"), [(("a", "a"), True), (("a", "b"), False), (("a", None), False)])
def test_agreement_is_compared_where_all_runs_have_it_with_one_teacher_on_the_same_texts(digests: Sequence[str | None], kept: bool) -> None:
    runs = []
    for digest in digests:
        run = make_run(roles=("student",))
        if digest is not None:
            run.records[0].scores[TEACHER_AGREEMENT] = {"primary": "agreement", "agreement": 90.0, "digest": digest}
        runs.append(run)
    assert all((TEACHER_AGREEMENT in run.records[0].scores) is kept for run in with_like_agreement(runs))
