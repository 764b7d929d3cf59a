"""The int8 file that the gate refuses, tuned under its rounding: through the real command, broken off, taken up, and told of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from potstill import recipe_file
from potstill.deploy import quantize
from potstill.models.loading import load_encoder
from potstill.results import read_metrics, read_run
from potstill.runtime.encoder import Encoder
from potstill.training import trainer
from potstill.tune import STAGE, tuning

LEVELS = 7
STRICT = 0.988  # between what rounding alone keeps here, .981 at best, and what tuning reaches, .993
WORDS = "river village cat owl house tree stone boat".split()


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights of 4 bits: with 8 the gate would refuse no model as small as these."""
    monkeypatch.setattr(quantize, "WEIGHT_LEVELS", LEVELS)
    monkeypatch.setattr(quantize, "REDUCED_LEVELS", LEVELS)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def loud(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with larger weights, which are what makes its vectors: rounding them is felt."""
    model = load_encoder(tiny_encoder_dir)
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    folder = tmp_path_factory.mktemp("loud") / "model"
    model.save(folder)
    return folder


def write_recipe(folder: Path, model: Path, terms: Any = ({"loss": "embedding_cosine", "weight": 8},), **int8: Any) -> Path:
    """Nothing to learn at first: all layers of the teacher, so that the int8 file is all that is wrong."""
    (folder / "texts.txt").write_text("".join(f"the {a} sees the {b} and {c}\n" for a in WORDS for b in WORDS for c in WORDS))
    limits = {"max_drop": 100, "min_cosine_mean": STRICT, "min_cosine": -1, "min_invariance": 0.5, "min_speedup": 0}
    content: dict[str, Any] = {
        "name": "tiny",
        "data": {"dir": str(folder), "texts": ["texts.txt"], "held_out": 64},
        "teacher": {"model": str(model)},
        "student": {"layers": 4, "max_length": 64},
        "training": {"epochs": 0.1, "batch_size": 16, "learning_rate": 1e-5, "evaluations": 1, "precision": "fp32", "dropout": 0.0},
        "stages": [{"name": "only", "terms": list(terms)}],
        "evaluate": [],
        "export": {"int8": limits | {"tune": {"steps": 60, "learning_rate": 1e-3}} | int8},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "runs" / "tiny"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stages(folder: Path) -> list[tuple[str, int]]:
    return [(line["stage"], line["step"]) for line in read_metrics(folder)]


def test_what_rounding_alone_loses_is_tuned_back(loud, tmp_path, call):
    folder = write_recipe(tmp_path, loud)
    status, out, _ = call("check", "recipe.yaml")
    assert status == 0 and "where it refuses, 60 steps under the rounding at 0.001" in " ".join(out.split())
    status, _, err = call("train", "recipe.yaml")
    assert status == 0, err
    run = read_run(folder)
    assert [row["setting"] for row in run.gate] == [*(setting.name for setting in quantize.LADDER), "all int8, tuned"]
    assert [row["passed"] for row in run.gate] == [False] * 4 + [True] and [row["tuned"] for row in run.gate] == [False] * 4 + [True]
    assert 1 - run.gate[-1]["cosine_mean"] < 0.6 * (1 - run.gate[0]["cosine_mean"])
    # The student and its fp32 file are as they were taught; the int8 file alone holds what was tuned, and says so.
    texts = ["the river sees the owl", "a boat and the stone"]
    taught, tuned = (load_encoder(folder / name).encode(texts) for name in ("student", "tuned"))
    fp32, int8 = (Encoder(folder, precision=kind).encode(texts) for kind in ("fp32", "int8"))
    np.testing.assert_allclose(fp32, taught, atol=1e-4)
    assert np.abs(taught - tuned).max() > 1e-3 and np.abs(int8 - tuned).max() < 0.1
    assert [record.name for record in run.records][-1] == "student, int8, tuned"
    assert "more\ntraining under int8 rounding" in (folder / "onnx" / "README.md").read_text()
    assert "int8 rounding" not in (folder / "student" / "README.md").read_text()
    assert "all int8, tuned" in (folder / "report.html").read_text()
    assert run.training["best"]["stage"] == "only" and {stage for stage, _ in stages(folder)} == {"only", STAGE}
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.jsonl", "onnx", "recipe.yaml", "report.html", "results.json", "student", "tuned",
    ]  # fmt: skip
    assert not [path for path in folder.rglob(".*")]
    # Under wider limits the student needs none of it.
    before = digest(folder / "student" / "model.safetensors")
    status, _, err = call("train", "recipe.yaml", "--resume", "--set", "export.int8.min_cosine_mean=0.9")
    assert status == 0, err
    assert [row["tuned"] for row in read_run(folder).gate] == [False] and not (folder / "tuned").exists()
    assert digest(folder / "student" / "model.safetensors") == before
    assert "int8 rounding" not in (folder / "onnx" / "README.md").read_text()


def test_a_tuning_that_broke_goes_on_and_one_that_is_done_is_not_repeated(loud, tmp_path, call, monkeypatch):
    folder = write_recipe(tmp_path, loud, tune={"steps": 20, "learning_rate": 1e-3}, min_cosine_mean=1.0)
    status, _, err = call("train", "recipe.yaml", "--out", "whole")
    assert status == 2 and "all int8 (cosine_mean" in err and "all int8, tuned (cosine_mean" in err
    whole = tmp_path / "whole"
    assert (whole / "tuned").is_dir() and not (whole / "onnx").exists() and not [path for path in whole.rglob(".*")]
    compute = trainer.StageTrainer.compute_loss

    def break_at_12(self, *arguments: Any, **options: Any) -> Any:
        if self.state.max_steps == 20 and self.state.global_step == 12:
            raise KeyboardInterrupt
        return compute(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.StageTrainer, "compute_loss", break_at_12)
        assert call("train", "recipe.yaml")[0] == 130
    assert not (folder / "tuned").exists() and (folder / "student").is_dir() and not (folder / "onnx").exists()
    begun: list[int] = []

    def count(self, *arguments: Any, **options: Any) -> Any:
        begun.append(self.state.global_step)
        return compute(self, *arguments, **options)

    monkeypatch.setattr(trainer.StageTrainer, "compute_loss", count)
    assert call("train", "recipe.yaml", "--resume")[0] == 2 and begun == list(range(10, 20))
    assert digest(folder / "tuned" / "model.safetensors") == digest(whole / "tuned" / "model.safetensors")
    assert stages(folder) == stages(whole)
    # Other limits: the same tuned weights. Another tuning: others.
    begun.clear()
    status, _, err = call("train", "recipe.yaml", "--resume", "--set", "export.int8.min_cosine_mean=0.983")
    assert status == 0 and not begun and read_run(folder).gate[-1]["tuned"], err
    assert call("train", "recipe.yaml", "--out", "whole", "--resume", "--set", "export.int8.tune.steps=5")[0] == 2 and len(begun) == 5
    begun.clear()
    status, _, err = call("train", "recipe.yaml", "--out", "whole", "--resume", "--set", "export.int8.tune=false")
    assert status == 2 and not begun and "tuned (" not in err


def test_it_is_tuned_towards_its_own_answers(loud, tmp_path):
    write_recipe(tmp_path, loud)
    content = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    del content["export"]
    recipe = tuning(recipe_file.check(content), tmp_path)
    (stage,) = recipe.stages
    assert (stage.steps, recipe.training.learning_rate, stage.terms[0].loss, recipe.select) == (200, 1e-5, "embedding_cosine", "agreement")
    assert recipe.teacher is not None and recipe.teacher.model == str(tmp_path / "student")
    content["data"], content["task"], content["stages"][0]["terms"] = {"dir": str(tmp_path)}, "sst2", [{"loss": "hard_label"}]
    head = tuning(recipe_file.check(content), tmp_path)
    assert (head.stages[0].terms[0].loss, head.select) == ("logit_mse", "sst2-dev")
