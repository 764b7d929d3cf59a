"""OpenVINO in onnxruntime's place: the same answers, its threads and its precision."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.evaluation.evaluate import evaluate
from potstill.runtime import openvino as engine
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL

TEXTS = ["the river and the village", "a", "", "rivers " * 90, "village, 1 village", "the"] * 3


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is there, and computes in fp32 what is not int8, whatever the processor."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(engine, "bf16_is_faster", lambda: False)


def test_fp32_vectors_are_onnxruntime_s(installed, tiny_export_dir):
    expected = Encoder(tiny_export_dir, threads=1).encode(TEXTS)
    encoder = Encoder(tiny_export_dir, threads=1, engine="openvino")
    assert encoder.engine == "openvino" and repr(encoder).endswith("threads=1, engine='openvino')")
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_tokens=1), expected, atol=1e-5)


def test_int8_vectors_are_near_onnxruntime_s(installed, exported):
    from potstill.deploy.gate import Limits
    from potstill.deploy.quantize import quantize_int8

    easy = Limits(max_drop=1, min_cosine_mean=0.5, min_cosine=0.3, min_invariance=0.9, min_agreement=1, max_error=0, min_speedup=0)
    quantize_int8(exported, texts=TEXTS, limits=easy, threads=1)
    one, other = (Encoder(exported, precision="int8", threads=1, engine=name) for name in ("onnxruntime", "openvino"))
    assert np.diag(one.similarity(one.encode(TEXTS), other.encode(TEXTS))).min() > 0.99


def test_logits_are_onnxruntime_s(installed, tiny_head_exports):
    given: dict[str, list[Any]] = {
        "classification": [("the river", "a village"), ("", "x")],
        "regression": ["a river", "1"],
        "tagging": [["the", "rivers"], [], ["9"] * 40],
    }
    for kind, texts in given.items():
        one, other = (Encoder(tiny_head_exports[kind], engine=name).predict(texts) for name in ("onnxruntime", "openvino"))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_several_threads_of_a_program_may_share_one(installed, tiny_export_dir):
    encoder = Encoder(tiny_export_dir, threads=1, engine="openvino")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode, TEXTS * 20))
    np.testing.assert_allclose(found, np.tile(encoder.encode(TEXTS), (20, 1)), atol=1e-5)


@pytest.mark.parametrize(("bf16", "hint"), [(True, "bf16"), (False, "f32")])
def test_its_settings_are_threads_and_what_the_processor_is_faster_in(tiny_export_dir, monkeypatch, bf16, hint):
    told = {}

    class Core:
        def compile_model(self, file, device, settings):
            told.update(settings, device=device)
            raise RuntimeError("Exception from src/core.cpp:1:\nno more\n")

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=Core))
    monkeypatch.setattr(engine, "bf16_is_faster", lambda: bf16)
    with pytest.raises(PotstillError, match=r"model.onnx: cannot be loaded by OpenVINO \('no more'\); export the model again"):
        Encoder(tiny_export_dir, threads=2, engine="openvino")
    assert (told["device"], told["INFERENCE_NUM_THREADS"], told["INFERENCE_PRECISION_HINT"]) == ("CPU", 2, hint)


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_broken_file_is_one_line(installed, exported, content):
    (exported / MODEL).write_bytes(content)
    with pytest.raises(PotstillError, match="model.onnx: cannot be loaded by OpenVINO") as caught:
        Encoder(exported, engine="openvino")
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_there_is_one_line(tiny_export_dir, tiny_encoder_dir, monkeypatch):
    with pytest.raises(PotstillError, match="engine: unknown value 'openvno'; did you mean 'openvino'?"):
        Encoder(tiny_export_dir, engine="openvno")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(PotstillError, match=r"engine: openvino is not installed; pip install .*\[openvino\]"):
        Encoder(tiny_export_dir, engine="openvino")
    with pytest.raises(PotstillError, match="is a torch model, which openvino does not run; export it first"):
        evaluate(tiny_encoder_dir, [], engine="openvino")


def test_the_command_scores_and_times_it(installed, call, tiny_export_dir, tmp_path):
    (tmp_path / "retrieval").mkdir()
    (tmp_path / "retrieval" / "tiny.jsonl").write_text('{"query": "the river", "document": "the river"}\n{"document": "9"}\n')
    folder = shutil.copytree(tiny_export_dir, tmp_path / "tiny")
    status, out, err = call(
        "evaluate", folder, "--tasks", "retrieval/tiny,cost", "--data", tmp_path, "--engine", "openvino", "--threads", 1
    )
    assert (status, err) == (0, "") and "tiny, openvino" in out and "100.00" in out
