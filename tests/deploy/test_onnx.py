from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
import torch

import potstill.deploy.onnx as deploy
from potstill.deploy.gate import Limits
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import quantize_int8
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, read_config


def test_the_folder_is_whole_and_the_model_as_it_was(tiny_encoder_dir, tmp_path, texts, capfd, recwarn):
    model = load_encoder(tiny_encoder_dir).train()
    attention = model.backbone.config._attn_implementation
    folder = export_onnx(model, tmp_path / "out", texts, teacher="a-teacher")
    capture = capfd.readouterr()
    assert (capture.out, capture.err, len(recwarn)) == ("", "", 0)
    assert model.training and model.backbone.config._attn_implementation == attention
    assert {path.name for path in folder.iterdir()} >= {MODEL, "tokenizer.json", "tokenizer_config.json", "config.json", "potstill.json"}
    graph = onnx.load(str(folder / MODEL))
    shapes = {
        entry.name: [size.dim_param or size.dim_value for size in entry.type.tensor_type.shape.dim]
        for entry in [*graph.graph.input, *graph.graph.output]
    }
    assert shapes == {
        "input_ids": ["batch", "length"],
        "attention_mask": ["batch", "length"],
        "sentence_embedding": ["batch", 32],
        "last_hidden_state": ["batch", "length", 32],
    }
    assert {entry.domain for entry in graph.opset_import} == {""}, "standard operators only"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] and settings["model_max_length"] == 64
    written = read_config(folder)
    assert (written.teacher, written.max_length, written.parameters) == ("a-teacher", 64, sum(model.parameter_counts()))
    np.testing.assert_allclose(Encoder(folder).encode(texts), model.encode(texts), atol=1e-5)


def test_greatest_value_without_unit_length(tiny_encoder_dir, tmp_path, texts):
    model = load_encoder(tiny_encoder_dir, pooling="max", normalize=False)
    encoder = Encoder(export_onnx(model, tmp_path / "out", texts))
    np.testing.assert_allclose(encoder.encode(texts), model.encode(texts), atol=1e-4)


def test_mpnet_counts_positions_by_its_padding(tiny_encoder_dir, tmp_path, texts):
    from transformers import MPNetConfig, MPNetModel

    from potstill.models.encoder import EncoderModel

    bert = load_encoder(tiny_encoder_dir)
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=80,
        pad_token_id=1,
    )
    model = EncoderModel(MPNetModel(config), bert.hf_tokenizer, pooling="cls", max_length=48).eval()
    folder = export_onnx(model, tmp_path / "out", texts)
    assert read_config(folder).pad_id == 1
    np.testing.assert_allclose(Encoder(folder).encode(texts, batch_tokens=1 << 20), model.encode(texts), atol=1e-4)


def test_other_vectors_than_torch_are_refused(tiny_encoder_dir, tmp_path, texts, monkeypatch):
    monkeypatch.setattr(deploy, "TOLERANCE", 0.0)
    with pytest.raises(PotstillError, match=r"texts in batches differ by \d\.\de-\d\d between torch and onnxruntime"):
        export_onnx(load_encoder(tiny_encoder_dir), tmp_path / "out", texts)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_replaced(tiny_encoder_dir, tmp_path, texts):
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(PotstillError, match="exists and is no exported folder"):
        export_onnx(load_encoder(tiny_encoder_dir), tmp_path, texts)
    assert (tmp_path / "letter.txt").read_text() == "dear reader"


def test_an_earlier_export_is_replaced(tiny_encoder_dir, exported, texts):
    (exported / "model_quantized.onnx").write_bytes(b"of the earlier model")
    export_onnx(load_encoder(tiny_encoder_dir), exported, texts)
    assert not (exported / "model_quantized.onnx").exists()


def test_what_cannot_be_exported_is_one_line(tiny_encoder_dir, tmp_path, texts):
    model = load_encoder(tiny_encoder_dir)
    model._pool = lambda tokens, mask: tokens[:, int(mask.sum()) % 2]
    with pytest.raises(PotstillError, match="a BertModel cannot be exported by torch.onnx") as caught:
        export_onnx(model, tmp_path / "out", texts)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def minilm_export(minilm_dir, tmp_path_factory):
    # The six layers take longer than all else here; three show the same.
    model = load_encoder(minilm_dir)
    model.backbone.encoder.layer = model.backbone.encoder.layer[::2]
    model.backbone.config.num_hidden_layers = 3
    return model, export_onnx(model, tmp_path_factory.mktemp("minilm") / "onnx", PROSE)


PROSE = [
    "A man is playing a guitar.",
    "Snow",
    "The committee has put the decision off until the spring, because two of its members were abroad and a third fell ill.",
    "Where can I find a list of all the exceptions that the standard library raises?",
    "Two dogs run along the beach while a child throws a red ball into the waves again and again.",
    "Prices rose by 3.4 per cent in March, the largest rise in eleven years, and are expected to rise further.",
    "It's raining!",
    "She opened the letter, read the first line twice, and laid it face down on the table without a word.",
] * 8


def test_real_weights_agree(minilm_export):
    model, folder = minilm_export
    texts = [*PROSE, "word", " ".join(PROSE)]
    np.testing.assert_allclose(Encoder(folder).encode(texts), model.encode(texts), atol=1e-5)
    assert (folder / MODEL).stat().st_size < 70e6


def test_real_weights_pass_the_int8_gate(minilm_export, tmp_path):
    folder = shutil.copytree(minilm_export[1], tmp_path / "onnx")
    # Speed is no test's business on a machine that others use too.
    limits = Limits(
        max_drop=0.0, min_cosine_mean=0.99, min_cosine=0.98, min_invariance=0.9999, min_agreement=1.0, max_error=0.0, min_speedup=0.0
    )
    rows = quantize_int8(folder, texts=PROSE, limits=limits)
    assert [row["setting"] for row in rows] == ["all int8"]
    assert rows[0]["bytes"] == (folder / "model_quantized.onnx").stat().st_size <= 18e6
