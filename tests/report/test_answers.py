"""What stands behind a labelled task's scores: on the page as in the record, and what is no such record is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.diagnosed import CHANCE, MISTAKES, NAMES, STUDENT, TEACHER, classified, diagnosed_run
from helpers.pages import Reader, Save
from helpers.samples import make_run
from potstill.errors import PotstillError
from potstill.report import write_report
from potstill.report.answers import MISTAKES_FILE, MOST_LABELS, NAMED, mistake_table, read_mistakes, task_answers


def test_the_shipped_file_stands_beside_its_teacher() -> None:
    (found,) = task_answers(diagnosed_run(teacher=TEACHER, student=STUDENT, onnx=STUDENT, int8=CHANCE))
    assert [matrix.model for matrix in found.confusions] == ["teacher", "ONNX int8"]
    counts = [[[count for count, _ in row] for row in matrix.rows] for matrix in found.confusions]
    assert counts == [[[420, 158], [90, 1057]], [[12, 566], [9, 1138]]]
    assert found.confusions[0].rows[0][0][1] == pytest.approx(420 / 578) and [label for label, _ in found.confusions[0].labels] == list(
        NAMES
    )
    assert found.labels is not None and (found.labels.title, found.labels.models) == ("Label", ["teacher", "ONNX int8"])
    own = TEACHER["classes"]["no"]
    assert found.labels.rows[0][:3] == ("no", "no", "578")
    assert found.labels.rows[0][3][:3] == [f"{own[name]:.1f}" for name in ("f1", "precision", "recall")]
    assert [model for model, _ in found.calibration] == ["teacher", "student", "ONNX fp32", "ONNX int8"]
    assert found.calibration[1][1] == f"{STUDENT['calibration']['ece']:.2f}"


def test_entities_have_scores_by_type_and_no_matrix() -> None:
    kinds = {kind: {"precision": 50.0, "recall": 40.0, "f1": 44.4, "gold": 10} for kind in ("loc", "per")}
    scores = {"f1": 44.4, "words": 99, "majority": {"f1": 0.0}, "majority_answer": "O", "classes": kinds}
    (found,) = task_answers(diagnosed_run(task="tagging/news", teacher=scores, student=scores))
    assert (found.confusions, found.calibration) == ([], []) and found.labels is not None and found.labels.title == "Entity type"
    assert [row[0] for row in found.labels.rows] == ["loc", "per"]


def test_many_labels_are_numbered_and_the_rarest_left_out() -> None:
    for count in (NAMED, NAMED + 1):
        scores = classified([f"label {number}" for number in range(count)], [[1] * count] * count, ("accuracy",))
        assert task_answers(diagnosed_run(student=scores))[0].confusions[0].numbered is (count > NAMED)
    count = MOST_LABELS + 2
    scores = classified(
        [str(n) for n in range(count)], [[(n > 1) + 1 if n == m else 0 for m in range(count)] for n in range(count)], ("accuracy",)
    )
    (found,) = task_answers(diagnosed_run(student=scores))
    assert found.labels is not None and found.confusions == []
    assert [row[0] for row in found.labels.rows] == [str(number) for number in range(2, count)] and found.labels.left_out == 2


def test_tasks_of_vectors_and_of_before_have_nothing_to_tell() -> None:
    assert (
        task_answers(make_run())
        == task_answers(diagnosed_run(student={"f1": 80.0, "examples": 9}))
        == task_answers(make_run(roles=()))
        == []
    )


@pytest.mark.parametrize(
    "matrix",
    [
        None,  # nothing
        [[1]],  # of other labels
        [[1, 2], [3]],  # not square
        [[1, 2], "xy"],  # no row
        [[1, -2], [3, 4]],  # below nothing
        [[1, 0.5], [3, 4]],  # no count
        [[1, True], [3, 4]],  # likewise
        [[1, 10**400], [3, 4]],  # beyond what a float holds
    ],
)
def test_what_is_no_matrix_is_left_out(matrix: Any) -> None:
    (found,) = task_answers(diagnosed_run(student={**STUDENT, "confusion": matrix}))
    assert found.confusions == [] and found.labels is not None


def test_mistakes_are_told_with_probabilities() -> None:
    sides, found = mistake_table(MISTAKES)
    assert sides == ["Gold", "Teacher", "Student"]
    assert found[0].answers == [[("yes", "")], [("yes", "0.91"), ("no", "0.09")], [("no", "0.83"), ("yes", "0.17")]]
    assert found[1].answers[1] == [("–", "")] and found[1].text == "Stocks fell ."
    assert mistake_table(MISTAKES[1:])[0] == ["Gold", "Student"]


def test_mistakes_of_other_making_are_dashes() -> None:
    for own in ({}, {"text": 3, "gold": 3, "student": [["a"], [1, 2], ["a", "b", "c"], None]}, {"gold": {}, "teacher": "x", "student": []}):
        assert all(side == [("–", "")] for one in mistake_table([own])[1] for side in one.answers)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1]", "holds [1], not a list of mistakes; delete it"),  # no mappings
        (b"{}", "holds {}, not a list of mistakes"),  # no list
        (b"[", "cannot be read"),  # cut off
        (b"\xff", "cannot be read"),  # no UTF-8
    ],
)
def test_a_file_of_other_making(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / MISTAKES_FILE).write_bytes(content)
    with pytest.raises(PotstillError) as caught:
        read_mistakes(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / MISTAKES_FILE}: {said}") and "\n" not in str(caught.value)
    (tmp_path / MISTAKES_FILE).unlink()
    assert read_mistakes(tmp_path) == read_mistakes(None) == []


def test_a_browser_shows_all_of_it(save_run: Save, browse: Callable[[Path], str], tmp_path: Path) -> None:
    run = save_run(diagnosed_run(teacher=TEACHER, student=STUDENT, int8=STUDENT))
    (run / MISTAKES_FILE).write_text(json.dumps(MISTAKES))
    write_report(run, tmp_path / "report.html")
    page = Reader(browse(tmp_path / "report.html"))
    rows = [row for row in page.rows if row]
    assert rows.count(["gold", "no", "yes"]) == 2 and ["no", "420", "158"] in rows and ["yes", "140", "1,007"] in rows
    assert ["no", "578", "77.2", "82.4", "72.7", "65.5", "71.4", "60.6"] in rows
    assert [MISTAKES[0]["text"], "yes", "yes 0.91no 0.09", "no 0.83yes 0.17"] in rows
    assert next(row for row in rows if row[0] == "always “yes”")[1:9] == ["79.87", "–", "–", "–", "–", "89.2", "0.0", "66.49"]
    assert page.outside == []
