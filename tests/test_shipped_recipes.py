"""Every recipe that ships, for two tiny steps: its own terms and settings, a tiny teacher and a few texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from potstill import recipe_file
from potstill.pipeline import distil
from potstill.results import read_metrics


@pytest.mark.parametrize("name", recipe_file.shipped())
def test_two_steps(name: str, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "retrieval").mkdir()
    rows = [{"query": f"query {n}", "document": f"document {n}"} for n in range(6)]
    (tmp_path / "retrieval" / "tiny.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "texts.txt").write_text("".join(f"text number {n}\n" for n in range(48)))
    shipped = recipe_file.read(name)
    content = shipped.model_dump(mode="json")
    content["data"] |= {"dir": str(tmp_path), "texts": ["texts.txt"], "held_out": 8}
    content["teacher"]["model"] = str(tiny_encoder_dir)
    content["student"] |= {"model": None, "layers": [1, 3]}
    content["training"] |= {"epochs": 1, "batch_size": 20, "select": "agreement"}
    content |= {"evaluate": ["retrieval/tiny"], "export": {"onnx": False}}
    run = distil(recipe_file.check(yaml.safe_load(yaml.safe_dump(content))), out=tmp_path / "run")
    assert run.training["steps"] == 2 * len(shipped.stages) and run.training["texts"] == 40
    logged = [line for line in read_metrics(tmp_path / "run") if "terms" in line]
    assert [set(line["terms"]) for line in logged][-1] == {term.loss for term in shipped.stages[-1].terms}
    assert [record.role for record in run.records] == ["teacher", "undistilled", "student"]
