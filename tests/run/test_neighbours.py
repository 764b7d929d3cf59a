"""Batches of neighbours in whole small runs: by vectors out of the cache or computed, and the same ones after a stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file
from torch import Tensor

from potstill.models.output import EMBEDDING, EncoderOutput
from potstill.recipe.recipe import Training
from potstill.results import read_run
from potstill.run.distil import distil
from potstill.run.neighbours import FILE, find_neighbours
from potstill.runtime.tokens import TokenizedTexts
from potstill.teacher.answers import Teacher
from potstill.training.training_set import TrainingSet

WORDS = "river village cat owl house tree stone boat".split()


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path) -> str:
    """A recipe of half an epoch, in a working folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    Path("texts.txt").write_text("".join(f"the {a} sees the {b} and {c}\n" for a in WORDS for b in WORDS for c in WORDS[:3]))
    content: dict[str, Any] = {
        "name": "near",
        "data": {"texts": ["texts.txt"], "held_out": 16},
        "teacher": {"model": str(tiny_encoder_dir)},
        "student": {"layers": 2, "max_length": 32},
        "training": {"epochs": 0.5, "batch_size": 16, "learning_rate": 1e-3, "dropout": 0, "evaluations": 1, "precision": "fp32"},
        "stages": [{"name": "only", "terms": [{"loss": "hidden_mse", "layers": "final"}]}],  # which reads no vectors of texts
        "evaluate": [],
        "export": {"onnx": False},
    }
    Path("near.yaml").write_text(yaml.safe_dump(content))
    return "near.yaml"


def test_vectors_from_disk_and_computed_ones_make_the_same_batches(recipe: str) -> None:
    weights = {}
    for name, settings in {
        "random": [],
        "cached": ["training.batches=neighbours"],
        "live": ["training.batches={group: 8, share: 1}", "teacher.cache=false"],
    }.items():
        distil(recipe, out=name, overrides=[*settings, "training.select=last"])
        weights[name] = load_file(Path(name, "student", "model.safetensors"))
        assert not Path(name, "checkpoints").exists()
    assert {path.name for path in Path("cache").glob("teacher/*/*")} >= {"embedding"}
    assert max(abs(weights["cached"][name] - weights["live"][name]).max() for name in weights["live"]) < 1e-5
    assert max(abs(weights["cached"][name] - weights["random"][name]).max() for name in weights["live"]) > 1e-4
    assert read_run("cached").training["steps"] == read_run("random").training["steps"]


class Drawn(Teacher):
    """Vectors at random, other ones each time."""

    reads = frozenset({EMBEDDING})

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """(b, 4)."""
        vectors = torch.from_numpy(self.random.normal(size=(len(rows), 4)))
        return EncoderOutput(torch.ones(len(rows), 1), {EMBEDDING: vectors})


def test_a_run_that_goes_on_has_the_neighbours_that_it_began_with(tmp_path: Path) -> None:
    data = TrainingSet(TokenizedTexts(np.zeros(200, dtype=np.int32), np.arange(0, 201, 5)))
    training, cpu = Training(batches="neighbours"), torch.device("cpu")
    first, again = (find_neighbours(training, data, Drawn(), tmp_path, cpu) for _ in range(2))
    assert first is not None and again is not None and first.near.shape == (40, 28)
    np.testing.assert_array_equal(first.near, again.near)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:90])  # damaged: found anew
    assert find_neighbours(training, data, Drawn(), tmp_path, cpu) is not None
    assert np.load(tmp_path / FILE).shape == (40, 28)
    assert find_neighbours(Training(), data, Drawn(), tmp_path, cpu) is None
