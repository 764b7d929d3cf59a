"""The sentence on top of a report says what the records say, and nothing more."""

from __future__ import annotations

from helpers.samples import make_record, make_run
from potstill.report import model_rows
from potstill.report.headline import headline
from potstill.results import Run


def sentence(run: Run) -> str:
    return headline(run, run.name, model_rows([run])).sentence


def test_the_shipped_file_against_its_teacher() -> None:
    assert sentence(make_run()) == "3 layers, 17.5 MB, 32.4× faster, keeps 97.6 % of the teacher’s mean score"
    facts = {fact.title: (fact.value, fact.unit, fact.note) for fact in headline(make_run(), "run", model_rows([make_run()])).facts}
    assert facts["STS mean"] == ("78.71", "", "teacher 80.64")
    assert facts["Weights on disk"] == ("17.5", "MB", "teacher 438.0")


def test_without_int8_the_fp32_file_ships() -> None:
    assert sentence(make_run(roles=("teacher", "student", "onnx"))).startswith("3 layers, 69.1 MB, 17.9× faster")


def test_what_was_not_measured_is_not_said() -> None:
    assert sentence(make_run(cost=False)) == "3 layers, keeps 97.6 % of the teacher’s mean score"
    assert sentence(make_run(roles=("int8",))) == "3 layers, 17.5 MB, STS mean 78.71"
    assert sentence(make_run(roles=("teacher",))) == "Only the teacher was scored."
    assert sentence(make_run(roles=())) == "Nothing was made yet."
    run = make_run(roles=("int8",), cost=False)
    run.recipe, run.records[0].scores = {}, {}
    assert sentence(run) == "ONNX int8"


def test_speeds_with_other_threads_are_not_compared() -> None:
    run = make_run()
    assert run.records[0].cost is not None
    run.records[0].cost.threads = 1
    assert "faster" not in sentence(run)


def test_a_slower_or_better_student_is_called_so() -> None:
    run = make_run(roles=("teacher", "student"), shift=2.0)
    assert run.records[1].cost is not None
    run.records[1].cost.sentences_per_second = 30.7
    assert sentence(run) == "3 layers, 69.0 MB, 0.50× the teacher’s speed, reaches 100.3 % of the teacher’s mean score"


def test_a_model_that_was_only_evaluated_is_named() -> None:
    run = make_run(roles=())
    run.records = [make_record("student").model_copy(update={"role": "model", "name": "all-MiniLM-L6-v2"})]
    assert sentence(run) == "all-MiniLM-L6-v2, 69.0 MB, STS mean 78.90"


def test_a_lone_task_gives_its_metric_to_the_sentence() -> None:
    run = make_run(roles=("teacher", "int8"), cost=False)
    for record, score in zip(run.records, (80.0, 76.0)):
        record.scores = {"retrieval/pydoc": {"mrr@10": score, "primary": "mrr@10"}}
    assert sentence(run) == "3 layers, keeps 95.0 % of the teacher’s MRR@10"
