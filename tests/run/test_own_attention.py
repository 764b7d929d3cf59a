"""MPNet and DeBERTa, which compute attention by themselves, teach by what happens inside it, and are cut into students that show it."""

from __future__ import annotations

import pytest

from helpers.families import save_family
from potstill.results import read_metrics
from potstill.run.distil import distil

WORDS = "river village cat owl house tree stone boat".split()


@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_relations_and_scores_are_taught(family, tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    teacher = save_family(family, tmp_path / "teacher")
    (tmp_path / "texts.txt").write_text("\n".join(f"the {a} and the {b}" for a in WORDS for b in WORDS) + "\n")
    terms = [
        {"loss": "attention_mse", "layers": "final"},
        *({"loss": "relation", "of": of, "layers": "final", "heads": 2} for of in ("queries", "values")),
    ]
    recipe = {
        "name": "inside",
        "data": {"dir": str(tmp_path), "texts": ["texts.txt"]},
        "teacher": {"model": str(teacher), "max_length": 16},
        "student": {"layers": [1], "max_length": 16},
        "training": {"batch_size": 8, "learning_rate": 1e-3, "select": "last", "precision": "fp32", "evaluations": 1},
        "stages": [{"name": "inside", "steps": 2, "terms": terms}],
        "evaluate": [],
        "export": {"onnx": False},
    }
    run = distil(recipe, out=tmp_path / "run")
    assert run.training["steps"] == 2
    losses = [line["terms"] for line in read_metrics(tmp_path / "run") if "terms" in line]
    assert losses and all(0 < value < 1e6 for line in losses for value in line.values())
