"""Several processes take the step of one: each computes its share of a batch, over gloo."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.stages import LIKE, TEXTS, run_twice, same, train
from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.machine import distributed
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes, TermSpec
from potstill.results import read_metrics
from potstill.runtime.tokens import tokenize
from potstill.student.transformer import build_student
from potstill.teacher.answers import LiveTeacher, prepare_teacher
from potstill.training.flow import StageCallback
from potstill.training.perturbation import Perturbation
from potstill.training.training_set import TrainingSet

ROWS = np.random.default_rng(3).permutation(60)
TRIPLES = np.stack([np.arange(60), np.arange(60) + 1, np.arange(60) + 2], axis=1)
PAIRS = np.stack([np.arange(60), np.arange(60)], axis=1)


def term(name: str, pairs: Any = (), project: str = "none", **options: Any) -> TermSpec:
    return TermSpec(name, make_loss(name, options), pairs=pairs, project=project)


LAYERS = [(0, 0), (1, 2), (2, 4)]
CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "info_nce": lambda: {"terms": [term("info_nce", project="mlp")], "groups": PAIRS},
    "in pieces, with hard negatives": lambda: {
        "terms": [term("info_nce", temperature=0.5, hard_negative_weight=0.3)],
        "groups": TRIPLES,
        "cached_tokens": 100,
    },
    "with a teacher": lambda: {
        "terms": [
            term("info_nce", temperature=0.5),
            term("similarity_kl", temperature=0.5),
            term("similarity_mse"),
            term("embedding_cosine", project="linear"),
        ],
        "groups": PAIRS,
    },
    "layers": lambda: {
        "terms": [
            term("patient_mse", LAYERS[1:], reduction="sum"),
            term("cos_nce", LAYERS, "linear"),
            term("crd", LAYERS[1:], negatives="batch", dim=8),
            term("relation", [(2, 4)], heads=4),
        ],
    },
    "perturbed": lambda: {"terms": [term("embedding_mse"), term("similarity_mse")], "perturbation": Perturbation(20.0)},
    "batches added up": lambda: {"terms": [term("embedding_mse"), term("similarity_mse")], "settings": {"accumulate": 2}},
}


def gradients(case: str, encoder: Path, run: Path) -> dict[str, torch.Tensor]:
    """Of each step's parameters, of a stage over batches of 7, of 1 and of 4 rows (a contrastive one: of 7 and of 5)."""
    made = CASES[case]()
    torch.manual_seed(1)
    model = load_encoder(encoder)
    student = build_student(model, layers=2, width=32, heads=4, ffn=64, seed=3, pooling="mean", normalize=False, max_length=64)
    student.set_dropout(0)
    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), groups=made.pop("groups", None))
    objective = Objective(made.pop("terms"), Sizes(32, 32), Sizes(32, 32), rows=len(TEXTS))
    reads = objective.teacher_reads
    teacher = LiveTeacher(prepare_teacher(model, reads), data.texts, reads) if reads else None
    plan = [ROWS[:7], ROWS[7:8], ROWS[8:12]] if data.groups is None else [ROWS[:7], ROWS[7:12]]
    found: dict[str, torch.Tensor] = {}
    in_buckets: list[bool] = []

    class Watched(StageCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            for name, value in kwargs["model"].named_parameters():
                if value.grad is not None:
                    found[f"{state.global_step} {name}"] = value.grad.clone()
                    in_buckets.append(value.grad.untyped_storage().nbytes() > value.grad.nbytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("potstill.training.trainer.StageCallback", Watched)
        settings = {"learning_rate": 1e-4, "max_grad_norm": 1e6, "evaluations": 1} | made.pop("settings", {})
        train(student, objective, data, teacher, run, plan=plan, settings=settings, **made)
    assert all(in_buckets) or not distributed.together()  # what was averaged is not copied back
    return found


def _process(number: int, port: int, encoder: Path, folder: Path) -> None:
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    distributed.start("cpu")
    for case in CASES:
        save_file(gradients(case, encoder, folder / case), folder / f"{case}-{number}.safetensors")

    def make() -> tuple[Any, ...]:
        student = build_student(load_encoder(encoder), layers=2, width=32, heads=4, ffn=64, seed=3, **LIKE)
        student.set_dropout(0.2)  # which each process draws for itself
        data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), groups=np.stack([np.arange(len(TEXTS))] * 2, axis=1))
        return student, Objective([term("info_nce")], Sizes(32, 32)), data, None

    with pytest.MonkeyPatch.context() as patch:
        whole, broken = run_twice(make, folder, patch)
    (folder / f"resumed-{number}").write_text("alike" if same(whole, broken) else "other weights")


@pytest.fixture(scope="module")
def by_two(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what two processes found in every case."""
    folder = tmp_path_factory.mktemp("two")
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun has it, on a free port
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])  # a new process finds this module by its name
        torch.multiprocessing.spawn(_process, (store.port, tiny_encoder_dir, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_step_of_one(case: str, by_two: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    expected = gradients(case, tiny_encoder_dir, tmp_path)
    for number in (0, 1):
        found = load_file(by_two / f"{case}-{number}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)
    logs = [[line for line in read_metrics(run) if "loss" in line] for run in (tmp_path, by_two / case)]
    for one, two in zip(*logs, strict=True):
        assert (one["step"], one["texts"]) == (two["step"], two["texts"])
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5) and two["terms"] == pytest.approx(one["terms"], abs=1e-5)


def test_a_broken_training_is_taken_up_to_the_same_weights(by_two: Path) -> None:
    assert [(by_two / f"resumed-{number}").read_text() for number in (0, 1)] == ["alike", "alike"]


def test_rows_are_dealt_out_and_count_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rows in ([4], [4, 5], [4, 5, 6, 7], list(range(12))):
        dealt = []
        for number in range(3):
            monkeypatch.setenv("RANK", str(number))
            dealt.append(distributed.shard_rows(rows))
        assert sum(share for _, share in dealt) == pytest.approx(3)
        assert sorted(row for own, share in dealt if share for row in own) == rows
        assert all(own for own, _ in dealt)


def test_a_world_that_nobody_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(PotstillError, match="WORLD_SIZE: is 2, and RANK is not set; start the training with torchrun"):
        distributed.start("cpu")


def test_a_measure_of_each_process_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PotstillError, match=r"crd\.form: nce cannot be trained by several processes"):
        Objective([term("crd", LAYERS, form="nce", count=5)], Sizes(32, 32), Sizes(32, 32), rows=20)
