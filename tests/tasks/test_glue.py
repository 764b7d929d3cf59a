from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.data.files.glue import SETS
from potstill.errors import PotstillError
from potstill.tasks.base import Predictor, load_task
from potstill.tasks.labelled.measures import MEASURES


def test_every_measure_exists() -> None:
    assert all(measure in MEASURES for known in SETS.values() for measure in known.measures)


@pytest.mark.parametrize("name", ["glue/mrcp", "glue/mrcp-dev"])
def test_unknown_variant(tmp_path: Path, name: str) -> None:
    with pytest.raises(PotstillError, match="unknown task 'glue/mrcp'; did you mean 'glue/mrpc'"):
        load_task(name, tmp_path)


def test_always_yes_on_real_mrpc(data_dir: Path) -> None:
    always = Predictor(["equivalent", "not_equivalent"], "classification", lambda texts: np.tile([1.0, 0.0], (len(texts), 1)))
    scores = load_task("glue/mrpc", data_dir).evaluate(always)
    # 1147 of 1725 pairs are paraphrases
    assert list(scores)[:3] == ["f1", "accuracy", "examples"]
    assert scores["accuracy"] == pytest.approx(100 * 1147 / 1725)
    assert scores["f1"] == pytest.approx(100 * 2 * 1147 / (1725 + 1147))
    assert scores["examples"] == 1725
    assert scores["majority"] == {"f1": scores["f1"], "accuracy": scores["accuracy"]} and scores["majority_answer"] == "equivalent"


def test_the_rows_to_choose_by(data_dir: Path) -> None:
    task = load_task("glue/mrpc-dev", data_dir)
    assert (task.name, task.primary, len(task.texts())) == ("glue/mrpc-dev", "f1", 407)
    assert not set(task.texts()) & set(load_task("glue/mrpc", data_dir).texts())


def test_a_constant_answer_has_no_matthews(data_dir: Path) -> None:
    unnamed = Predictor(["LABEL_0", "LABEL_1"], "classification", lambda texts: np.tile([0.0, 1.0], (len(texts), 1)))
    scores = load_task("glue/cola", data_dir).evaluate(unnamed)
    assert list(scores.items())[:2] == [("matthews", 0.0), ("examples", 1043)]
    assert scores["majority"] == {"matthews": 0.0} and scores["answers"] == {"acceptable": 1043}


def test_checkpoints_are_chosen_by_the_mean_of_a_sets_measures(data_dir: Path) -> None:
    mrpc, cola = load_task("glue/mrpc-dev", data_dir), load_task("glue/cola-dev", data_dir)
    assert mrpc.choice({"f1": 80.0, "accuracy": 66.0, "examples": 407}) == 73.0
    assert cola.choice({"matthews": 12.5, "examples": 855}) == 12.5
