"""The rows and columns of the table, and its face on a terminal."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from helpers.samples import COSTS, SCORES, make_record, make_run
from potstill.report import model_rows, print_table
from potstill.report.numbers import fixed, significant
from potstill.report.table import columns
from potstill.results import Run


def printed(runs: list[Run], width: int) -> list[str]:
    stream = io.StringIO()
    print_table(runs, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1987.4, "1,990"),  # zeros in place of further digits
        (61.4, "61.4"),  # three digits as they are
        (4.606, "4.61"),  # rounded
        (0.08851, "0.0885"),  # never in powers of ten
        (999.6, "1,000"),  # rounded to one digit more
        (1288, "1,290"),  # an integer
        (0.0, "0.00"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_rows_are_the_records_in_plain_numbers() -> None:
    teacher, *_, int8 = model_rows([make_run()])
    assert (teacher.title, teacher.name, int8.title) == ("teacher", "all-mpnet-base-v2", "ONNX int8")
    assert teacher.score == pytest.approx(80.638) and int8.score == pytest.approx(sum(SCORES["int8"]) / 5)
    assert int8.of_teacher == pytest.approx(100 * 78.71 / 80.638)
    assert int8.megabytes == pytest.approx(17.493871) and int8.parameters == pytest.approx(17.241984)
    assert int8.sentences_per_second == COSTS["int8"][5] and int8.threads == 2


def test_a_missing_score_or_cost_is_none_and_a_dash() -> None:
    run = make_run()
    run.records[2].scores["sts/13"]["spearman"] = math.nan
    del run.records[3].scores["sts/14"]
    run.records[4].cost = None
    rows = model_rows([run])
    assert (rows[2].scores["sts/13"], rows[2].score, rows[2].of_teacher) == (None, None, None)
    assert rows[3].score is None and rows[4].megabytes is None
    cells = {column.title: column.text(rows[4]) for column in columns([run], rows)}
    assert cells["weights"] == cells["p50"] == "–" and cells["STS mean"] == "78.71"


def test_columns_that_no_row_fills_are_left_out() -> None:
    run = make_run(cost=False)
    assert [column.title for column in columns([run], model_rows([run]))] == [
        "STS mean", "of teacher", "STS12", "STS13", "STS14", "STS15", "STS-B"
    ]  # fmt: skip
    assert columns([make_run(roles=())], []) == []


def test_the_best_is_sought_among_those_that_are_not_teachers() -> None:
    run = make_run()
    rows = model_rows([run])
    best = {column.title: column.best(rows) for column in columns([run], rows)}
    assert (best["STS mean"], best["weights"], best["sentences"], best["p50"]) == ("78.90", "17.5", "1,990", "1.18")
    assert best["embedding"] is None
    alone = make_run(roles=("teacher", "student"))
    assert columns([alone], model_rows([alone]))[1].best(model_rows([alone])) is None


def score_columns(run: Run) -> list[tuple[str, str, str]]:
    found = columns([run], model_rows([run]))
    return [(column.group, column.title, column.unit) for column in found if "× 100" in column.group]


def test_metrics_that_differ_stand_in_their_columns() -> None:
    run = make_run(roles=("student",))
    run.records[0].scores = {"retrieval/pydoc": {"mrr@10": 71.5}, "sts/12": {"spearman": 73.0}}
    assert score_columns(run) == [
        ("Score × 100", "mean", "of 2"), ("Score × 100", "pydoc", "MRR@10"), ("Score × 100", "STS12", "Spearman")
    ]  # fmt: skip


def test_a_lone_task_is_the_heading_of_its_measures() -> None:
    run = make_run()
    for record in run.records:
        record.scores = {"retrieval/python-docs": {"mrr@10": 71.5, "recall@1": 63.0, "queries": 9, "primary": "mrr@10"}}
    assert score_columns(run)[:2] == [("python-docs × 100", "MRR@10", ""), ("python-docs × 100", "recall@1", "")]
    lines = printed([run], width=80)
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    assert next(line for line in lines if "ONNX int8" in line).split()[2:] == ["71.50", "17.5", "1,990", "1.18", "63.00", "17.2"]


def test_of_an_error_less_is_better() -> None:
    run = make_run(roles=("teacher", "student", "int8"))
    for record, error in zip(run.records, (0.3, 0.5, 0.4)):
        record.scores = {"regression/stars": {"spearman": 90 - 10 * error, "rmse": error, "examples": 9}}
    rows = model_rows([run])
    best = {column.title: column.best(rows) for column in columns([run], rows) if column.group == "stars × 100"}
    assert best == {"Spearman": "86.00", "RMSE": "0.40"}


def test_threads_get_a_column_when_they_differ() -> None:
    run = make_run(roles=("student", "int8"))
    assert {column.group for column in columns([run], model_rows([run]))} >= {"Speed, 2 threads"}
    assert run.records[1].cost is not None
    run.records[1].cost.threads = 1
    found = columns([run], model_rows([run]))
    assert "Speed" in {column.group for column in found} and found[-1].title == "threads"


def test_runs_of_one_name_are_told_apart() -> None:
    rows = model_rows([make_run("a", roles=("student",)), make_run("a", roles=("student",))])
    assert [row.run for row in rows] == ["a", "a (2)"]


def test_each_run_is_held_against_its_own_teacher() -> None:
    with_teacher, without = make_run("a", roles=("teacher", "student")), make_run("b", roles=("student",))
    rows = model_rows([with_teacher, without])
    assert rows[1].of_teacher is not None and rows[2].of_teacher is None


def test_the_terminal_table_fits_80_columns() -> None:
    lines = printed([make_run()], width=80)
    assert max(map(len, lines)) <= 80
    int8 = next(line for line in lines if "ONNX int8" in line)
    assert int8.split()[2:] == ["78.71", "17.5", "1,990", "1.18", "17.2"]


def test_the_terminal_table_of_several_runs_fits_100_columns() -> None:
    lines = printed([make_run("a-rather-long-name-of-a-run-2026-11-21"), make_run("b")], width=100)
    assert max(map(len, lines)) <= 100
    assert sum("ONNX int8" in line and "1.18" in line for line in lines) == 2


def test_names_are_not_read_as_markup() -> None:
    run = make_run("[red]x[/red]", roles=())
    run.records = [make_record("student").model_copy(update={"role": "model", "name": "[bold]m[/]"})]
    assert any("[bold]m[/]" in line for line in printed([run, run], width=100))
    assert any("[red]x[/red]" in line for line in printed([run, run], width=100))


def test_fixed_digits() -> None:
    assert (fixed(2)(78.708), fixed(0)(1288.4)) == ("78.71", "1,288")
