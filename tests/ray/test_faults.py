"""The head of a cluster is lost: the command ends in one line before Ray ends it without one, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import potstill
from potstill.models.loading import load_encoder

WORDS = "river village cat owl house tree stone boat night snow ship lamp".split()
COMMAND = """
from potstill.cli import main
from potstill.ray import connect

if __name__ == "__main__":
    connect.LOOK, connect.HEAD_TIME = 0.5, 2.0
    main()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)  # torch starts in several processes, maybe beside other work
def test_a_training_whose_cluster_lost_its_head_goes_on_without_it(mortal, call, tiny_encoder_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", "cache")
    Path("texts.txt").write_text("".join(f"the {a} sees the {b}\n" for a in WORDS for b in WORDS))
    Path("command.py").write_text(COMMAND)
    content: dict[str, Any] = {
        "name": "tiny",
        "data": {"dir": ".", "texts": ["texts.txt"], "held_out": 16},
        "teacher": {"model": str(tiny_encoder_dir)},
        "student": {"layers": 2, "max_length": 32},
        "training": {"batch_size": 16, "evaluations": 40, "precision": "fp32", "device": "cpu"},
        "stages": [{"name": "vectors", "steps": 400, "terms": [{"loss": "embedding_mse"}]}],
        "evaluate": [],
        "export": {"onnx": False},
    }
    Path("recipe.json").write_text(json.dumps(content))  # JSON is YAML
    line = [sys.executable, "command.py", "train", "recipe.json", "--out", "run", "--ray", mortal.address]
    path = str(Path(potstill.__file__).resolve().parents[1])
    command = subprocess.Popen(line, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(Path("run").glob("checkpoints/*/checkpoint-*")):
        assert command.poll() is None, command.stderr.read()
        time.sleep(0.05)
    mortal.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    mortal.head_node = None
    out, said = command.communicate(timeout=120)
    assert command.returncode == 2 and out == "", said
    errors = [each for each in said.splitlines() if not each.startswith("warning:")]
    assert len(errors) == 1 and errors[0].startswith("error: --ray: the head of the cluster at 127.0.0.")
    assert "start it again; the same command goes on" in errors[0]

    assert call("train", "recipe.json", "--out", "run", "--resume")[0] == 0  # here without Ray
    assert call("train", "recipe.json", "--out", "unbroken")[0] == 0
    weights = [load_encoder(Path(name)).state_dict() for name in ("run", "unbroken")]
    for name, value in weights[0].items():
        if "key.bias" not in name:  # without a gradient but rounding, of which Adam makes steps
            assert (weights[1][name] - value).abs().max() < 1e-5, name
