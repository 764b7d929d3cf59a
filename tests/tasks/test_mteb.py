"""Tasks of the package mteb, on data made here: `make extras` installs it and runs these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from potstill.errors import PotstillError
from potstill.evaluation.evaluate import evaluate
from potstill.runtime.encoder import Encoder
from potstill.tasks.base import Embedder, NoScore
from potstill.tasks.mteb import MTEB, EncoderForMTEB

mteb = pytest.importorskip("mteb", reason="needs mteb: make extras")


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.mteb_tasks import MADE

    own = mteb.get_task
    monkeypatch.setattr(mteb, "get_task", lambda name: MADE[name]() if name in MADE else own(name))


def by_hand(folder: Path) -> float:
    from helpers.mteb_tasks import FIRST, GOLD, SECOND

    encoder = Encoder(folder)
    cosines = np.sum(encoder.encode(FIRST) * encoder.encode(SECOND), axis=1)
    return float(100 * spearmanr(cosines, GOLD).statistic)


def test_scores_are_mteb_s_of_the_model_s_vectors(tiny_export_dir: Path) -> None:
    record = evaluate(tiny_export_dir, ["mteb/MadeSTS", "mteb/MadeTwo", "mteb/MadeRetrieval", "mteb/MadeKinds", "mteb/MadeMean"])
    expected = by_hand(tiny_export_dir)
    assert record.scores["mteb/MadeSTS"] == {"cosine_spearman": pytest.approx(expected)}
    two = record.scores["mteb/MadeTwo"]
    assert two["subsets"]["test, one"]["cosine_spearman"] == pytest.approx(expected)
    assert two["cosine_spearman"] == pytest.approx(np.mean([part["cosine_spearman"] for part in two["subsets"].values()]))
    assert record.scores["mteb/MadeMean"]["cosine_spearman"] == pytest.approx((expected + two["cosine_spearman"]) / 2)
    assert record.scores["mteb/MadeRetrieval"] == {"ndcg_at_10": pytest.approx(100)}  # every document is equal to its query
    assert record.scores["mteb/MadeKinds"]["accuracy"] > 90


def test_the_command_scores_one_beside_other_tasks_and_a_torch_model(call: Any, tiny_encoder_dir: Path, tiny_export_dir: Path) -> None:
    status, out, err = call("evaluate", tiny_encoder_dir, "--tasks", "mteb/MadeSTS")
    assert (status, err) == (0, "") and f"{by_hand(tiny_export_dir):.2f}" in out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        # near a task of mteb
        ("mteb/STSBenchmarc", "tasks: unknown task 'mteb/STSBenchmarc'; did you mean 'mteb/STSBenchmark'?"),
        # near none
        ("mteb/0", "tasks: unknown task 'mteb/0'; mteb.get_tasks() lists them"),
        # one of pictures
        ("mteb/CIFAR10", "tasks: 'mteb/CIFAR10' is not of text alone, but of image too; name another task"),
        # its data cannot be had
        ("mteb/MadeUnread", "mteb/MadeUnread: mteb cannot load the data of MadeUnread (no route to the hub); check the network"),
    ],
)
def test_what_cannot_be_scored_is_one_line(call: Any, tiny_export_dir: Path, name: str, said: str) -> None:
    status, _, err = call("evaluate", tiny_export_dir, "--tasks", name)
    assert (status, err.count("\n")) == (2, 1) and err.startswith(f"error: {said}")


def test_vectors_that_are_all_alike_have_no_score() -> None:
    with pytest.raises(NoScore, match="mteb/MadeSTS: cosine_spearman is nan"):
        MTEB.open("MadeSTS", Path()).evaluate(Embedder(lambda texts: np.ones((len(texts), 4), dtype=np.float32)))


def test_a_vector_that_is_not_finite_is_refused() -> None:
    with pytest.raises(PotstillError, match="mteb/MadeSTS.*NaN"):
        MTEB.open("MadeSTS", Path()).evaluate(Embedder(lambda texts: np.full((len(texts), 4), np.nan, dtype=np.float32)))


def test_an_encoder_serves_mteb_itself(tiny_export_dir: Path) -> None:
    encoder = Encoder(tiny_export_dir)
    found = mteb.evaluate(EncoderForMTEB(Embedder(encoder.encode)), mteb.get_task("MadeSTS"), cache=None, show_progress_bar=False)
    assert 100 * found.task_results[0].get_score() == pytest.approx(by_hand(tiny_export_dir))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # lengths count for nothing
        ("cosine", [[1, 0], [0.6, 0.8]]),
        # as the folder says
        ("dot", [[4, 0], [6, 4]]),
    ],
)
def test_vectors_are_compared_as_the_folder_says(name: str, expected: list[list[float]]) -> None:
    model = EncoderForMTEB(Embedder(lambda texts: np.zeros((len(texts), 2)), name))
    a, b = np.array([[2.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(model.similarity(a, b), expected, atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(a, b), np.diag(expected), atol=1e-6)
    assert model.similarity(a[0], b).shape == (1, 2) and float(model.similarity(a[1], b[1])) == pytest.approx(expected[1][1])
