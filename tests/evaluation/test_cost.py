from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.evaluation import cost as cost_module
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.probe import FEW, POOLS, measure, peak_memory
from potstill.evaluation.subject import open_subject


def test_cost_of_a_torch_model(tiny_encoder_dir: Path) -> None:
    cost = measure_cost(tiny_encoder_dir, threads=1)
    assert cost.threads == 1
    assert cost.parameters == cost.embedding_parameters + cost.encoder_parameters > cost.encoder_parameters > 0
    assert cost.bytes == (tiny_encoder_dir / "model.safetensors").stat().st_size
    assert 0 < cost.latency_p50_ms <= cost.latency_p95_ms
    assert cost.sentences_per_second > 1000 / cost.latency_p95_ms  # batches beat one at a time
    assert 100 < cost.peak_memory_mb < 3000


def test_a_brief_cost_reads_few_sentences(tiny_onnx_dir: Path) -> None:
    assert measure_cost(tiny_onnx_dir, "fp32", threads=1, brief=True).sentences_per_second > 0
    read = []
    subject = open_subject(tiny_onnx_dir, "fp32", 1)
    measure(replace(subject, run=lambda texts: (read.append(len(texts)), subject.run(texts))[1]), 1, brief=True)
    assert sum(read) == 4 * FEW - 3  # at first all, five of them to warm up, each alone, and all once more


def test_onnx_probe_never_loads_torch(tiny_onnx_dir: Path) -> None:
    cost = measure_cost(tiny_onnx_dir, "fp32", threads=1)
    assert cost.bytes == (tiny_onnx_dir / "model.onnx").stat().st_size
    assert cost.peak_memory_mb < 150


def test_cost_of_a_tagger(tiny_head_exports: dict[str, Path]) -> None:
    cost = measure_cost(tiny_head_exports["tagging"], threads=1)
    assert cost.bytes == (tiny_head_exports["tagging"] / "model.onnx").stat().st_size
    assert 0 < cost.latency_p50_ms and cost.sentences_per_second > 0


def test_what_is_timed_is_what_is_scored(tiny_encoder_dir: Path) -> None:
    """The probe opens the model as evaluation does: with another pooling it has other parameters, and a wrong one is refused."""
    with pytest.raises(PotstillError, match="its cost cannot be measured: .*unknown pooling"):
        measure_cost(tiny_encoder_dir, threads=1, pooling="none-such")
    with pytest.raises(PotstillError, match="its cost cannot be measured: .*2 leaves no room"):
        measure_cost(tiny_encoder_dir, threads=1, max_length=2)


def test_memory_of_the_caller_is_not_counted() -> None:
    ballast = bytearray(b"x") * 300_000_000
    code = "from potstill.evaluation.probe import peak_memory; print(peak_memory())"
    found = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert found < 100e6 < len(ballast) < peak_memory()


def test_threads_are_pinned_before_anything_heavy_is_imported() -> None:
    code = """
import os, sys
from potstill.evaluation.probe import POOLS, pin
assert not {"numpy", "torch", "onnxruntime", "tokenizers"} & set(sys.modules), "imported too early"
pin(1)
import torch
print(torch.get_num_threads(), {os.environ[pool] for pool in POOLS})
"""
    free = {name: value for name, value in os.environ.items() if name not in POOLS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=free)
    assert done.stdout.split() == ["1", "{'1'}"]
    assert "OMP_NUM_THREADS" in POOLS


def test_what_the_probe_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="its cost cannot be measured: .*holds no model"):
        measure_cost(tmp_path, threads=1)


def test_probe_that_hangs_is_stopped(tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "TIME_LIMIT", 0.05)
    with pytest.raises(PotstillError, match="more than 0.05 s"):
        measure_cost(tiny_encoder_dir, threads=1)
