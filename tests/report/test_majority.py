"""What one answer to everything scores: told in the table, and no headline praises what is no better."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from helpers.diagnosed import CHANCE, STUDENT, TEACHER, classified, diagnosed_run
from helpers.samples import make_run
from potstill.report import model_rows, print_table, write_report
from potstill.report.grouped import group_runs
from potstill.report.headline import headline
from potstill.report.majority import beats_majority, class_scores, majority_score
from potstill.report.table import columns
from potstill.results import Run

PLAIN = {"f1": 88.0, "accuracy": 83.0, "examples": 1725, "primary": "f1"}  # of before
CLASSES = {"a": {"precision": 50.0, "recall": 50.0, "f1": 50.0, "gold": 100}}


def entities(f1: float, gold: int) -> dict:
    """The scores of a tagger."""
    own = {"precision": f1, "recall": f1, "f1": f1, "gold": gold}
    return {"f1": f1, "words": 9 * gold, "majority": {"f1": 0.0}, "majority_answer": "O", "classes": {"loc": own}}


@pytest.mark.parametrize(
    ("scores", "better"),
    [
        (TEACHER, True),  # clearly
        (CHANCE, False),  # F1 of 79.83, and 79.87 for yes to everything
        (classified(["n", "y"], [[0, 60], [0, 90]]), False),  # the answer itself
        # 40 texts more than yes to everything, of 100 where they differ: two errors are 20
        (classified(["n", "y"], [[70, 430], [30, 471]], ("accuracy",)), True),
        (classified(["n", "y"], [[59, 441], [41, 460]], ("accuracy",)), False),  # 18 of 100
        (classified(["n", "y"], [[300, 200], [300, 700]], ("accuracy",)), False),  # as many right, and by other answers
        (classified(["n", "y"], [[90, 10], [400, 500]], ("f1", "accuracy")), False),  # worse
        (classified(["n", "y"], [[300, 200], [210, 790]], ("matthews",)), True),  # by Matthews, whose chance is 0
        (classified(["n", "y"], [[30, 70], [260, 740]], ("matthews",)), False),  # 2.6, and two errors are 6
        (entities(5.0, 400), True),  # two errors are 2.2
        (entities(5.0, 40), False),  # of few entities two errors are 6.9
        (entities(0.0, 400), False),  # none is found
        ({**entities(40.0, 100), "micro_f1": 40.0, "primary": "micro_f1", "majority": {"micro_f1": 33.0}}, False),  # two errors are 9.8
        (PLAIN, None),  # nothing is known
        ({"spearman": 80.0, "rmse": 1.0, "examples": 40}, None),  # of a regression
    ],
)
def test_two_standard_errors(scores: dict, better: bool | None) -> None:
    assert beats_majority(scores) is better


def test_pairs_are_counted_from_the_matrix() -> None:
    """The bound against a loop over texts: b − c = 2 √(b + c) is not better, one text more may be."""
    for alone, other, better in ((5, 0, True), (4, 0, False), (27, 14, True), (26, 14, False)):
        texts = [(0, 0)] * alone + [(1, 0)] * other + [(1, 1)] * (100 - other) + [(0, 1)] * (60 - alone)
        gold_right = [(gold == answer, gold == 1) for gold, answer in texts]
        b, c = sum(model and not one for model, one in gold_right), sum(one and not model for model, one in gold_right)
        assert (b, c, b - c > 2 * math.sqrt(b + c)) == (alone, other, better)
        counts = [[sum(text == (gold, answer) for text in texts) for answer in (0, 1)] for gold in (0, 1)]
        assert beats_majority(classified(["n", "y"], counts, ("accuracy",))) is better


@pytest.mark.parametrize(
    "classes",
    [
        None,  # nothing
        [],  # no mapping
        {"a": None},  # no mapping inside
        {"a": CLASSES["a"] | {"gold": "many"}},  # no number
        {"a": CLASSES["a"] | {"gold": -1}},  # below nothing
        {"a": CLASSES["a"] | {"recall": 1e9}},  # above all
        {"a": CLASSES["a"] | {"f1": math.nan}},  # not a number
    ],
)
def test_labels_of_other_making_are_none(classes: object) -> None:
    assert class_scores({"classes": classes}) == {} and class_scores({"classes": CLASSES}) == CLASSES
    assert beats_majority({**TEACHER, "classes": classes}) is None


def sentence(run: Run) -> str:
    return headline(run, run.name, model_rows([run])).sentence


def test_the_headline_says_what_is_kept_of_the_gain() -> None:
    said = sentence(diagnosed_run(teacher=TEACHER, student=STUDENT))
    share = 100 * STUDENT["f1"] / TEACHER["f1"]
    gain = 100 * (STUDENT["f1"] - STUDENT["majority"]["f1"]) / (TEACHER["f1"] - STUDENT["majority"]["f1"])
    assert said.endswith(f"keeps {share:.1f} % of the teacher’s F1 and {gain:.1f} % of its gain over answering “yes” to everything")
    assert gain < 60 < 90 < share


def test_the_headline_says_one_share_where_one_answer_scores_nothing() -> None:
    teacher, student = (
        {"matthews": score, "examples": 1043, "majority": {"matthews": 0.0}, "majority_answer": "yes"} for score in (54.0, 27.0)
    )
    assert sentence(diagnosed_run(teacher=teacher, student=student)).endswith("keeps 50.0 % of the teacher’s Matthews")


def test_the_headline_praises_nothing_that_is_no_better_than_one_answer() -> None:
    run = diagnosed_run(teacher=TEACHER, student=STUDENT, int8=CHANCE)
    assert sentence(run).endswith("MRPC F1 79.83 is no better than answering “yes” to everything (79.87)")
    run = diagnosed_run(teacher=CHANCE, student=CHANCE)
    assert sentence(run).endswith(
        "no better than answering “yes” to everything (79.87), and its teacher (79.83) is not clearly better either"
    )
    run = diagnosed_run(teacher=CHANCE, student=STUDENT)
    assert sentence(run).endswith("MRPC F1 84.55, but its teacher is no better than answering “yes” to everything (79.87)")
    assert all("keeps" not in sentence(diagnosed_run(teacher=one, student=CHANCE)) for one in (TEACHER, CHANCE))
    assert "no better" in sentence(diagnosed_run(student=CHANCE)) and "teacher" not in sentence(diagnosed_run(student=CHANCE))


def test_several_tasks_are_no_better_where_none_is() -> None:
    run = diagnosed_run(teacher=TEACHER, student=CHANCE)
    for record in run.records:
        record.scores["glue/rte"] = record.scores["glue/mrpc"]
    assert "mean 79.83 is no better than one answer to everything (79.87)" in sentence(run)
    run.records[1].scores["glue/rte"] = STUDENT
    assert "keeps" in sentence(run)


def test_records_of_before_are_told_as_before() -> None:
    run = diagnosed_run(teacher=PLAIN, student={**PLAIN, "f1": 80.0})
    assert sentence(run).endswith("keeps 90.9 % of the teacher’s F1")
    rows = model_rows([run])
    assert "of gain" not in [column.title for column in columns([run], rows)] and rows[1].of_gain is rows[1].majority is None
    half = diagnosed_run(teacher=PLAIN, student=STUDENT)  # a teacher's record of before has no share of the gain
    assert sentence(half).endswith("keeps 96.1 % of the teacher’s F1") and model_rows([half])[1].majority == majority_score(STUDENT)


def test_the_table_has_a_row_of_one_answer() -> None:
    run = diagnosed_run(teacher=TEACHER, student=CHANCE, int8=CHANCE)
    stream = io.StringIO()
    print_table([run, run], Console(file=stream, width=100))
    assert sum("always “yes”" in line for line in stream.getvalue().splitlines()) == 1
    stream = io.StringIO()
    print_table([run], Console(file=stream, width=80))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert next(line for line in lines if "always" in line).split() == ["always", "“yes”", "79.87", "–", "–", "–", "66.49", "–"]
    stream = io.StringIO()
    print_table([make_run()], Console(file=stream, width=80))
    assert "always" not in stream.getvalue()


def test_the_best_of_the_table_is_a_model(tmp_path: Path) -> None:
    run = diagnosed_run(teacher=TEACHER, student=CHANCE, int8=CHANCE)  # one answer to everything has a higher F1
    run.write(tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<tr class="constant">' in page and "always “yes”" in page and "of gain" in page
    rows = model_rows([run])
    column = next(column for column in columns([run], rows) if column.title == "F1")
    assert column.best(rows) is None, "two that are alike: none is the best"
    assert column.best([replace(row, scores={"glue/mrpc": 79.0}) if row.role == "int8" else row for row in rows]) == "79.83"


def test_seeds_as_one_take_the_median_of_the_gain() -> None:
    runs = [diagnosed_run(teacher=TEACHER, student=own) for own in (STUDENT, CHANCE, CHANCE)]
    runs = [run.model_copy(update={"seed": seed}) for seed, run in enumerate(runs)]
    (group,) = group_runs(runs, [None] * 3)
    student = group.rows[1]
    assert (
        student.at_majority and student.of_gain == model_rows([runs[1]])[1].of_gain and student.of_gain is not None and student.of_gain < 0
    )
    assert "no better" in headline(runs[0], "three seeds", group.rows).sentence
