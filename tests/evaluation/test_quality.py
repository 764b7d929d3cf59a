from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.evaluation.quality import score
from potstill.tasks.base import Encode, Predictor, Task, load_task

# Published for all-MiniLM-L6-v2 under SimCSE's "all" protocol.
PUBLISHED = {"sts/12": 72.37, "sts/13": 80.60, "sts/14": 75.59, "sts/15": 85.39, "sts/stsb": 82.03}
# Two sets of five, a quarter of the pairs: `make published` scores all.
SCORED = list(PUBLISHED) if os.environ.get("POTSTILL_PUBLISHED") == "all" else ["sts/13", "sts/stsb"]


class Lengths(Task):
    """Answers what it was given: length of each of its texts."""

    def __init__(self, name: str, texts: list[str]) -> None:
        super().__init__(name)
        self._texts = texts

    @classmethod
    def variants(cls) -> dict[str, str]:
        return {}

    @classmethod
    def open(cls, variant: str, folder: Any) -> Task:
        raise NotImplementedError

    def texts(self) -> list[str]:
        return self._texts

    def evaluate(self, encode: Encode) -> dict[str, Any]:
        return {"lengths": encode(self._texts)[:, 0].tolist()}


def test_every_distinct_text_is_encoded_once() -> None:
    calls: list[list[str]] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        calls.append(list(texts))
        return np.array([[len(text), 0] for text in texts], dtype=np.float32)

    scores = score([Lengths("a", ["x", "yyy", "x"]), Lengths("b", ["zz", "yyy"])], encode)
    assert calls == [["x", "yyy", "zz"]]
    assert scores == {"a": {"lengths": [1, 3, 1]}, "b": {"lengths": [2, 3]}}


class Counts(Lengths):
    """Asks for logits, and answers with how many it got."""

    needs = "logits"

    def evaluate(self, predict: Predictor) -> dict[str, Any]:
        return {"logits": len(predict.logits(self._texts))}


def test_a_task_gets_what_it_needs() -> None:
    predict = Predictor(["a", "b"], "classification", lambda texts: [[0, 1]] * len(texts))
    calls: list[int] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        calls.append(len(texts))
        return np.array([[len(text)] for text in texts], dtype=np.float32)

    scores = score([Counts("c", ["x", "y", "x"]), Lengths("l", ["zz"])], encode, predict)
    assert (list(scores.items()), calls) == ([("c", {"logits": 3}), ("l", {"lengths": [2]})], [1])
    score([Counts("c", ["x"])], encode, predict)
    assert calls == [1]  # nothing asked for vectors


def test_a_model_without_a_head() -> None:
    with pytest.raises(PotstillError, match="c: the model has no head that gives labels"):
        score([Counts("c", ["x"])], lambda texts: np.zeros((1, 1)))


@pytest.mark.timeout(600)  # five whole sets, maybe beside other work
def test_published_scores_of_minilm(minilm_dir: Any, data_dir: Any, tmp_path: Any) -> None:
    """Of the exported file, twice as fast as torch; tests/deploy holds the two against each other."""
    from potstill.deploy.onnx import export_onnx
    from potstill.models.loading import load_encoder
    from potstill.runtime.encoder import Encoder

    folder = export_onnx(load_encoder(minilm_dir), tmp_path / "minilm", ["a sentence", "and one that is a little longer"])
    scores = score([load_task(name, data_dir) for name in SCORED], Encoder(folder, precision="fp32", threads=1).encode)
    published = {name: PUBLISHED[name] for name in SCORED}
    assert {name: found["spearman"] for name, found in scores.items()} == pytest.approx(published, abs=0.02)
