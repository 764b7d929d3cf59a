"""The int8 file that the gate refuses, tuned under its rounding: through the real command, broken off, taken up, and told of."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from potstill.deploy import quantize
from potstill.models.loading import load_encoder
from potstill.recipe.file import parse_recipe, read_recipe
from potstill.results import read_metrics, read_run
from potstill.run.distil import distil
from potstill.run.folder import UNDISTILLED
from potstill.run.tune import STAGE, TUNED, tune, tuning
from potstill.runtime.encoder import Encoder
from potstill.training import trainer

LEVELS = 3
STRICT = 0.98  # rounding alone keeps .936, tuning reaches .997
STEPS = 40
WORDS = "river village cat owl house tree stone boat".split()


@pytest.fixture(scope="module", autouse=True)
def _coarse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Weights of 3 bits: with 8 the gate would refuse no model as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "WEIGHT_LEVELS", LEVELS)
        patch.setattr(quantize, "REDUCED_LEVELS", LEVELS)
        patch.setenv("POTSTILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def write_recipe(folder: Path, encoder: Path) -> Path:
    """A model whose weights, made larger, are what makes its vectors, so that rounding them is felt; and a recipe with little to learn."""
    model = load_encoder(encoder)
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    model.save(folder / "model")
    (folder / "texts.txt").write_text("".join(f"the {a} sees the {b} and {c}\n" for a in WORDS for b in WORDS for c in WORDS))
    limits = {"max_drop": 100, "min_cosine_mean": STRICT, "min_cosine": -1, "min_invariance": 0.5, "min_speedup": 0}
    content: dict[str, Any] = {
        "name": "tiny",
        "data": {"dir": str(folder), "texts": ["texts.txt"], "held_out": 64},
        "teacher": {"model": str(folder / "model")},
        "student": {"layers": 2, "max_length": 64},
        "training": {"epochs": 0.1, "batch_size": 16, "learning_rate": 1e-5, "evaluations": 1, "precision": "fp32"},
        "stages": [{"name": "only", "terms": [{"loss": "embedding_cosine"}]}],
        "evaluate": [],
        "export": {"int8": limits | {"tune": {"steps": STEPS, "learning_rate": 1e-3}}},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def finished(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and in `run` what it made (read-only)."""
    folder = tmp_path_factory.mktemp("finished")
    distil(write_recipe(folder, tiny_encoder_dir), out=folder / "run")
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_rounding_alone_loses_is_tuned_back(finished):
    folder = finished / "run"
    run = read_run(folder)
    assert [row["setting"] for row in run.gate] == [*(setting.name for setting in quantize.LADDER), "all int8, tuned"]
    assert [row["passed"] for row in run.gate] == [False] * 4 + [True] and [row["tuned"] for row in run.gate] == [False] * 4 + [True]
    assert 1 - run.gate[-1]["cosine_mean"] < 0.2 * (1 - run.gate[0]["cosine_mean"])
    # The student and its fp32 file are as they were taught; the int8 file alone holds what was tuned, and says so.
    texts = ["the river sees the owl", "a boat and the stone"]
    taught, tuned = (load_encoder(folder / name).encode(texts) for name in ("student", "tuned"))
    fp32, int8 = (Encoder(folder, precision=kind).encode(texts) for kind in ("fp32", "int8"))
    np.testing.assert_allclose(fp32, taught, atol=1e-4)
    assert np.abs(taught - tuned).max() > 1e-3 and (int8 * taught).sum(1).min() > STRICT
    assert run.records[-1].name == "student, int8, tuned"
    assert "more\ntraining under int8 rounding" in (folder / "onnx" / "README.md").read_text()
    assert "int8 rounding" not in (folder / "student" / "README.md").read_text()
    assert "all int8, tuned" in (folder / "report.html").read_text()
    assert run.training["best"]["stage"] == "only" and {line["stage"] for line in read_metrics(folder)} == {"only", STAGE}
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle", "metrics.jsonl", "onnx", "recipe.yaml", "report.html", "results.json", "student", "tuned",
    ]  # fmt: skip
    assert not [path for path in folder.rglob(".*")]


def test_under_wider_limits_the_student_needs_none_of_it(finished, tmp_path, call):
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    wider = ("--resume", "--set", "export.int8.min_cosine_mean=0.5")
    status, _, err = call("train", finished / "recipe.yaml", "--out", folder, *wider)
    assert status == 0, err
    assert [row["tuned"] for row in read_run(folder).gate] == [False] and not (folder / TUNED).exists()
    assert digest(folder / "student" / "model.safetensors") == digest(finished / "run" / "student" / "model.safetensors")
    assert "int8 rounding" not in (folder / "onnx" / "README.md").read_text()


def test_a_tuning_that_was_stopped_goes_on_to_the_same_weights(finished, tmp_path, call, monkeypatch):
    recipe, whole, folder = finished / "recipe.yaml", finished / "run", tmp_path / "broken"
    compute = trainer.StageTrainer.compute_loss
    done: list[int] = []

    def stopped(self, *arguments: Any, **options: Any) -> Any:
        if self.state.max_steps == STEPS:
            done.append(self.state.global_step)
            if len(done) == 13:
                raise KeyboardInterrupt
        return compute(self, *arguments, **options)

    monkeypatch.setattr(trainer.StageTrainer, "compute_loss", stopped)
    assert call("train", recipe, "--out", folder)[0] == 130 and done[-1] == 12
    assert sorted(path.name for path in folder.iterdir()) == [UNDISTILLED, "checkpoints", "metrics.jsonl", "recipe.yaml", "student"]
    # A strict limit, so that the end is told: the figures of both, and nothing is shipped.
    status, _, err = call("train", recipe, "--out", folder, "--resume", "--set", "export.int8.min_cosine_mean=1.0")
    assert status == 2 and "all int8 (cosine_mean" in err and "all int8, tuned (cosine_mean" in err and f"{folder / 'onnx'}: no int8" in err
    assert done[13:] == list(range(10, STEPS)), "from the last checkpoint on"
    assert digest(folder / TUNED / "model.safetensors") == digest(whole / TUNED / "model.safetensors")
    assert not (folder / "onnx").exists() and not [path for path in folder.rglob(".*") if path.name != UNDISTILLED]
    steps = [[(line["stage"], line["step"]) for line in read_metrics(place)] for place in (folder, whole)]
    assert steps[0] == steps[1]
    tune(read_recipe(str(recipe)), None, folder, True, None)  # type: ignore[arg-type]  # done: not even looked at


def test_check_says_it_and_tune_false_refuses_at_once(finished, tmp_path, call):
    status, out, _ = call("check", finished / "recipe.yaml")
    assert status == 0 and f"where it refuses, {STEPS} steps of quantization-aware fine-tuning at 0.001" in " ".join(out.split())
    status, out, _ = call("check", finished / "recipe.yaml", "--set", "export.int8.tune=false")
    assert status == 0 and "exported only if the quality gate passes" in " ".join(out.split()) and "quantization-aware" not in out
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    status, _, err = call("train", finished / "recipe.yaml", "--out", folder, "--resume", "--set", "export.int8.tune=false")
    assert status == 2 and "all int8 (cosine_mean" in err and "tuned" not in err and not (folder / TUNED).exists()


def test_it_is_tuned_towards_its_own_answers(finished):
    content = yaml.safe_load((finished / "recipe.yaml").read_text())
    del content["export"]
    recipe = tuning(parse_recipe(content), finished / "run")
    (stage,) = recipe.stages
    assert (stage.steps, recipe.training.learning_rate, stage.terms[0].loss, recipe.select) == (200, 1e-5, "embedding_cosine", "agreement")
    assert recipe.teacher is not None and recipe.teacher.model == str(finished / "run" / "student")
    content["data"], content["task"], content["stages"][0]["terms"] = {"dir": "."}, "sst2", [{"loss": "hard_label"}]
    head = tuning(parse_recipe(content), finished / "run")
    assert (head.stages[0].terms[0].loss, head.select) == ("logit_mse", "sst2-dev")
