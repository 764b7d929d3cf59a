"""The case table: texts by layers for one run, runs side by side on the same text for several."""

from __future__ import annotations

import math

from helpers.samples import make_cases, make_run
from potstill.report.cases import LENGTH, MEAN, CaseTable, case_table
from potstill.results import Run


def table_of(*runs: Run) -> CaseTable:
    table = case_table(runs, [run.name for run in runs])
    assert table is not None
    return table


def run_with(cases: list[dict], name: str = "run") -> Run:
    return make_run(name, roles=()).model_copy(update={"cases": cases})


def test_one_run_has_a_row_a_text_and_their_mean() -> None:
    table = table_of(run_with(make_cases()))
    assert (table.layers, table.terms) == (["1 → 3", "2 → 6"], False)
    assert [(case.text, case.rows[0].cells) for case in table.cases] == [
        ("He left . | He went .", ["10.0", "20.0"]), ("Stocks fell .", ["11.0", "21.0"]), (MEAN, ["10.5", "20.5"])
    ]  # fmt: skip
    assert not any(any(row.smallest) for case in table.cases for row in case.rows)


def test_runs_stand_side_by_side_on_texts_that_they_share() -> None:
    angles, squares = run_with(make_cases(), "angles"), run_with(make_cases("hidden_mse", 5.0), "squares")
    alone = run_with(make_cases(texts=["Nobody else has this ."]), "alone")
    table = table_of(angles, squares, alone)
    assert [case.text for case in table.cases] == ["He left . | He went .", "Stocks fell .", MEAN]
    first = table.cases[0].rows
    assert [(row.run, row.term, row.cells, row.smallest) for row in first] == [
        ("angles", "cos_nce", ["10.0", "20.0"], [True, True]), ("squares", "hidden_mse", ["15.0", "25.0"], [False, False])
    ]  # fmt: skip
    assert [row.cells for row in table.cases[-1].rows] == [["10.5", "20.5"], ["15.5", "25.5"]]


def test_layers_that_one_run_lacks_are_dashes() -> None:
    other = make_cases("patient_mse")
    for case in other:
        case["angles"] = [{**case["angles"][0], "teacher": 2}]
    table = table_of(run_with(make_cases(), "a"), run_with(other, "b"))
    assert table.layers == ["1 → 2", "1 → 3", "2 → 6"]
    assert [row.cells for row in table.cases[0].rows] == [["–", "10.0", "20.0"], ["10.0", "–", "–"]]


def test_several_terms_of_one_run_have_rows_of_their_own() -> None:
    both = [{"text": one["text"], "angles": one["angles"] + two["angles"]} for one, two in zip(make_cases(), make_cases("cosine", 1.0))]
    table = table_of(run_with(both))
    assert table.terms and [row.term for row in table.cases[0].rows] == ["cos_nce", "cosine"]


def test_rows_of_one_loss_are_one_unless_they_map_the_same_layers() -> None:
    (case,) = make_cases("hidden_mse", texts=["one"])
    embedding = {"term": "hidden_mse-2", "student": 0, "teacher": 0, "degrees": 3.0}
    table = table_of(run_with([{**case, "angles": [*case["angles"], embedding]}]))
    assert (table.layers, table.terms, table.cases[0].rows[0].cells) == (["0 → 0", "1 → 3", "2 → 6"], False, ["3.0", "10.0", "20.0"])
    again = {**case["angles"][0], "term": "hidden_mse-2"}
    table = table_of(run_with([{**case, "angles": [*case["angles"], again]}]))
    assert [row.term for row in table.cases[0].rows] == ["hidden_mse", "hidden_mse-2"]


def test_a_hole_gives_no_mean_and_a_long_text_is_cut() -> None:
    cases = make_cases(texts=["word " * 100, "short"])
    cases[1]["angles"][0]["degrees"] = math.nan
    table = table_of(run_with(cases))
    assert len(table.cases[0].text) <= LENGTH and table.cases[0].text.endswith("…") and table.cases[0].whole == "word " * 100
    assert [case.rows[0].cells for case in table.cases] == [["10.0", "20.0"], ["–", "21.0"], ["–", "20.5"]]


def answered(*answers: tuple, term: str = "cos_nce") -> list[dict]:
    """Cases with what gold, teacher and student say of each."""
    return [case | {"labels": dict(zip(("gold", "teacher", "student"), row))} for case, row in zip(make_cases(term), answers)]


def test_answers_stand_before_the_angles_and_wrong_ones_are_marked() -> None:
    table = table_of(run_with(answered(("yes", "yes", "no"), ("no", None, "no"))))
    assert table.sides == ["Gold", "Teacher", "Student"] and table.wrong
    first, second, mean = (case.rows[0].answers for case in table.cases)
    assert first == [("yes", False), ("yes", False), ("no", True)]
    assert second == [("no", False), ("–", False), ("no", False)]
    assert mean == [("", False)] * 3


def test_scores_are_never_wrong_and_a_teacher_without_a_head_has_no_column() -> None:
    table = table_of(run_with(answered((3.4, None, 2.987), (0.0, None, 0.5))))
    assert table.sides == ["Gold", "Student"] and not table.wrong
    assert [row.rows[0].answers for row in table.cases[:2]] == [[("3.40", False), ("2.99", False)], [("0.00", False), ("0.50", False)]]


def test_a_run_answers_once_for_all_of_its_terms_and_one_without_answers_has_dashes() -> None:
    two = [
        one | {"angles": one["angles"] + other["angles"]}
        for one, other in zip(answered(("a", "a", "b"), ("b", "b", "b")), make_cases("cosine", 1.0))
    ]
    table = table_of(run_with(two, "two"), run_with(make_cases("hidden_mse"), "older"))
    assert [[text for text, _ in row.answers] for row in table.cases[0].rows] == [["a", "a", "b"], ["", "", ""], ["–", "–", "–"]]


def test_without_labels_there_are_no_columns_of_answers() -> None:
    table = table_of(run_with(make_cases()))
    assert table.sides == [] and not table.wrong and all(row.answers == [] for case in table.cases for row in case.rows)


def test_nothing_to_show_is_no_table() -> None:
    assert case_table([run_with([])], ["run"]) is None
    assert case_table([run_with([{"text": "cut otherwise", "angles": []}])], ["run"]) is None
    assert case_table([run_with(make_cases(), "a"), run_with([], "b")], ["a", "b"]) is None
