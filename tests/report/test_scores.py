"""One number a task, one number a model."""

from __future__ import annotations

import math

import pytest

from helpers.samples import make_record
from potstill.report.scores import (
    finite,
    further_measures,
    mean_over,
    metric_title,
    primary_metric,
    primary_score,
    summed_up,
    task_metrics,
    task_title,
)


def test_the_named_metric_stands_for_a_task() -> None:
    scores = {"pearson": 70.0, "spearman": 78.9, "subsets": {}, "primary": "spearman"}
    assert (primary_metric(scores), primary_score(scores)) == ("spearman", 78.9)


def test_without_a_name_the_first_number_stands() -> None:
    scores = {"subsets": {"MSRpar": 60.0}, "mrr@10": 71.5, "queries": 300}
    assert (primary_metric(scores), primary_score(scores)) == ("mrr@10", 71.5)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        None,  # absent
        "78",  # text
        True,  # an int to Python
    ],
)
def test_what_is_no_number_is_missing(value: object) -> None:
    assert finite(value) is None
    assert primary_score({"primary": "spearman", "spearman": value}) is None
    assert primary_score({}) is None


def test_titles() -> None:
    tasks = ("sts/12", "sts/stsb", "sts/stsb-dev", "retrieval/pydoc", "glue/mrpc-dev", "tagging/streets", "classification/rte", "near/word")
    assert [task_title(name) for name in tasks] == ["STS12", "STS-B", "STS-B dev", "pydoc", "MRPC dev", "streets", "rte", "near: word"]
    metrics = ("spearman", "mrr@10", "recall@1", "f1", "macro_f1")
    assert [metric_title(name) for name in metrics] == ["Spearman", "MRR@10", "recall@1", "F1", "macro F1"]


def test_every_set_of_glue_has_its_own_spelling() -> None:
    names = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnli-mm", "qnli", "rte", "wnli")
    titles = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "MNLI-mm", "QNLI", "RTE", "WNLI"]
    assert [task_title(f"glue/{name}") for name in names] == titles
    assert summed_up({"glue/mrpc": "f1", "glue/mrpc-dev": "f1"}) == ("MRPC F1", ["glue/mrpc"])


def test_the_mean_is_over_sts_test_sets_alone() -> None:
    retrieval, sts = {"retrieval/pydoc": "mrr@10"}, dict.fromkeys(["sts/12", "sts/stsb", "sts/stsb-dev"], "spearman")
    assert summed_up({**sts, **retrieval}) == ("STS mean", ["sts/12", "sts/stsb"])
    assert summed_up({**retrieval, "sts/stsb-dev": "spearman"}) == ("pydoc MRR@10", ["retrieval/pydoc"])
    assert summed_up({**retrieval, "sts/12": "spearman"}) == ("mean", ["retrieval/pydoc", "sts/12"])
    assert summed_up({"sts/stsb-dev": "spearman"}) == ("STS-B dev Spearman", ["sts/stsb-dev"])


def test_a_mean_with_a_hole_is_no_mean() -> None:
    assert mean_over(["a", "b"], {"a": 70.0, "b": 80.0}) == 75.0
    assert mean_over(["a", "b"], {"a": 70.0, "b": None}) is None
    assert mean_over([], {}) is None


def test_a_lone_task_shows_its_other_measures_but_not_its_counts() -> None:
    record = make_record("student").model_copy(
        update={"scores": {"retrieval/pydoc": {"mrr@10": 71.5, "recall@1": 63.0, "queries": 300, "primary": "mrr@10"}}}
    )
    assert further_measures([record]) == ["recall@1"]
    assert further_measures([make_record("student")]) == []
    assert task_metrics([record]) == {"retrieval/pydoc": "mrr@10"}
