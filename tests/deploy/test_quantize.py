from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

import potstill.deploy.int8 as int8
from potstill.deploy.gate import Gate, Limits
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import LADDER, Refused, quantize_int8
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, QUANTIZED
from potstill.student.low_rank import factor

# The tiny encoder is too small to gain speed, and random weights keep less of a vector than trained ones.
EASY = Limits(max_drop=1.0, min_cosine_mean=0.9, min_cosine=0.5, min_invariance=0.999, min_agreement=1.0, max_error=0.0, min_speedup=0.0)


def left(folder):
    return sorted(path.name for path in folder.rglob("*"))


def constants(file):
    return [(entry.data_type, tuple(entry.dims)) for entry in onnx.load(str(file)).graph.initializer]


@pytest.fixture(autouse=True)
def _tables_of_any_size(monkeypatch):
    monkeypatch.setattr(int8, "TABLE", 1)


def test_the_first_setting_that_passes_is_written(exported, texts):
    before = left(exported)
    rows = quantize_int8(exported, texts=texts, score=lambda encoder: 80.0, threads=1, limits=EASY)
    assert [(row["setting"], row["passed"], row["failed"]) for row in rows] == [("all int8", True, [])]
    assert left(exported) == sorted([*before, QUANTIZED])
    assert rows[0]["bytes"] == (exported / QUANTIZED).stat().st_size < (exported / MODEL).stat().st_size
    assert (rows[0]["fp32_score"], rows[0]["drop"]) == (80.0, 0.0)
    large = [dims for kind, dims in constants(exported / QUANTIZED) if kind == onnx.TensorProto.FLOAT and len(dims) == 2 and dims[1] > 1]
    assert large == [], "a weight or table is still fp32"
    fp32, chosen = Encoder(exported, precision="fp32"), Encoder(exported)
    assert chosen.file.name == QUANTIZED
    assert np.diag(chosen.similarity(texts, fp32.encode(texts))).mean() > 0.9


def test_int8_vectors_do_not_depend_on_neighbours(exported, texts):
    quantize_int8(exported, texts=texts, limits=EASY)
    encoder = Encoder(exported)
    np.testing.assert_allclose(encoder.encode(texts, batch_tokens=1 << 20), encoder.encode(texts, batch_tokens=1), atol=1e-4)


def test_a_matmul_that_reads_a_tables_rows_is_rounded_beside_them(tiny_encoder_dir, texts, tmp_path):
    model = load_encoder(tiny_encoder_dir)
    factor(model, embedding=16, ffn=16)
    export_onnx(model, tmp_path / "thin", texts)
    quantize_int8(tmp_path / "thin", texts=texts, limits=EASY)
    names = [node.name for node in onnx.load(str(tmp_path / "thin" / QUANTIZED)).graph.node]
    assert len(set(names)) == len(names)
    fp32, chosen = Encoder(tmp_path / "thin", precision="fp32"), Encoder(tmp_path / "thin")
    assert chosen.file.name == QUANTIZED and np.diag(chosen.similarity(texts, fp32.encode(texts))).mean() > 0.9


def test_it_falls_back_to_the_next_setting(exported, texts):
    ladder = []

    def score(encoder: Encoder) -> float:
        kept = [dims for kind, dims in constants(encoder.file) if kind == onnx.TensorProto.FLOAT and len(dims) == 2 and dims[1] > 1]
        ladder.append(len(kept))
        return 80.0 if len(kept) > 4 else 70.0

    rows = quantize_int8(exported, texts=texts, score=score, limits=EASY)
    assert [row["passed"] for row in rows] == [False] * 3 + [True]
    assert [row["setting"] for row in rows] == [setting.name for setting in LADDER]
    assert rows[0]["failed"] == ["drop 10.00 above 1"]
    # fp32 itself, then: nothing, 4 of 24 MatMuls, 3 tables, both
    assert ladder[1:] == [0, 4, 3, 7]
    assert rows[-1]["bytes"] == (exported / QUANTIZED).stat().st_size > rows[0]["bytes"]


def test_a_stricter_cosine_takes_a_later_setting(exported, texts):
    first = quantize_int8(exported, texts=texts, limits=EASY)[0]
    strict = replace(EASY, min_cosine_mean=first["cosine_mean"] + 1e-6)
    rows = quantize_int8(exported, texts=texts, limits=strict)
    assert len(rows) > 1 and rows[-1]["passed"]
    assert rows[0]["failed"] == [f"cosine_mean {first['cosine_mean']:.5g} below {strict.min_cosine_mean:g}"]


def test_nothing_is_left_when_nothing_passes(exported, texts):
    before = left(exported)
    with pytest.raises(PotstillError, match="no int8 setting passes the gate") as caught:
        quantize_int8(exported, texts=texts, limits=replace(EASY, min_cosine_mean=2.0, min_speedup=1e6))
    said = str(caught.value)
    assert all(f"{setting.name} (cosine_mean " in said for setting in LADDER) and said.count("speedup") == 4
    assert left(exported) == before


def test_a_refusal_says_what_to_train_under(exported, texts):
    with pytest.raises(Refused) as caught:
        quantize_int8(exported, texts=texts, limits=replace(EASY, min_cosine_mean=2.0))
    found = caught.value.roundings
    assert [row["setting"] for row in caught.value.rows] == [setting.name for setting in LADDER]
    assert found is not None and found.setting == "all int8" and len(found.inputs) == 24 and len(found.tables) == 3
    with pytest.raises(Refused) as caught:  # no training makes a file faster
        quantize_int8(exported, texts=texts, limits=replace(EASY, min_cosine_mean=2.0, min_speedup=1e6))
    assert caught.value.roundings is None


def test_tuned_weights_are_rounded_and_held_against_the_folder_s_own(exported, tiny_encoder_dir, texts, tmp_path):
    other = load_encoder(tiny_encoder_dir)
    with torch.no_grad():
        other.layers[3].output.dense.weight.mul_(1.5)
    tuned = export_onnx(other, tmp_path / "tuned", texts[:2])
    before = (exported / MODEL).read_bytes()
    rows = quantize_int8(exported, texts=texts, tuned=tuned, limits=replace(EASY, min_cosine_mean=0.5, min_cosine=0.0))
    assert rows[0]["setting"] == "all int8, tuned" and rows[0]["tuned"] and (exported / MODEL).read_bytes() == before
    found, own = (Encoder(folder, precision=kind).encode(texts) for folder, kind in ((exported, "int8"), (tuned, "fp32")))
    measured = texts[1::2]
    fp32 = Encoder(exported, precision="fp32").encode(measured)
    assert np.diag(found @ own.T).mean() > 0.99
    assert rows[0]["cosine_mean"] == pytest.approx((Encoder(exported).encode(measured) * fp32).sum(1).mean(), abs=1e-3)


def test_ctrl_c_leaves_nothing(exported, texts):
    before = left(exported)

    def stop(encoder: Encoder) -> float:
        if encoder.file.name == QUANTIZED:
            raise KeyboardInterrupt
        return 80.0

    with pytest.raises(KeyboardInterrupt):
        quantize_int8(exported, texts=texts, score=stop, limits=EASY)
    assert left(exported) == before


def test_a_score_that_is_no_number_fails(exported, texts):
    encoder = Encoder(exported)
    row = Gate(encoder, texts, lambda _: float("nan"), EASY).measure("same", encoder)
    assert row["failed"] == ["drop nan above 1"] and not row["passed"]


def test_the_gate_finds_nothing_wrong_with_fp32_itself(exported, texts):
    encoder = Encoder(exported)
    same = replace(EASY, max_drop=0.0, min_cosine_mean=0.99999, min_cosine=0.99999, min_invariance=0.99999)
    row = Gate(encoder, texts, None, same).measure("same", encoder)
    assert row["passed"] and row["drop"] is None


def test_seven_bits_where_products_overflow(exported, texts, monkeypatch):
    monkeypatch.setattr("potstill.deploy.quantize.products_overflow", lambda: True)
    quantize_int8(exported, texts=texts, limits=EASY)
    graph = onnx.load(str(exported / QUANTIZED)).graph
    weights = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear" and len(node.attribute)}
    widest = [np.abs(onnx.numpy_helper.to_array(entry)).max() for entry in graph.initializer if entry.name in weights]
    assert len(widest) == 24 and set(widest) == {63}


def test_texts_are_needed(exported):
    with pytest.raises(PotstillError, match="two texts at least and got 0"):
        quantize_int8(exported, texts=[], limits=EASY)
