"""Encoders: loaded from and saved to folders that the other libraries read alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.errors import PotstillError
from potstill.models.encoder import load_encoder
from potstill.models.pooling import POOLINGS, pooling_function

TEXTS = ["the river", "a", "villages and rivers, singing of the things that were there before; " * 9, "", "the end"]


def test_transformers_and_sentence_transformers_give_the_same_vectors(tiny_encoder_dir, tmp_path):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    model = load_encoder(tiny_encoder_dir)
    ours = model.encode(TEXTS)
    assert ours.shape == (5, 32) and ours.dtype == np.float32
    np.testing.assert_allclose(SentenceTransformer(str(tiny_encoder_dir)).encode(TEXTS), ours, atol=1e-5)

    backbone, tokenizer = AutoModel.from_pretrained(tiny_encoder_dir).eval(), AutoTokenizer.from_pretrained(tiny_encoder_dir)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == model.max_length  # the length limit travels
    with torch.no_grad():
        tokens = backbone(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (tokens * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(torch.nn.functional.normalize(mean, dim=-1).numpy(), ours, atol=1e-5)


def test_real_weights_agree_with_sentence_transformers(minilm_dir):
    from sentence_transformers import SentenceTransformer

    texts = ["A man is playing a guitar.", "Word", "The quick brown fox. " * 40]
    theirs = SentenceTransformer(str(minilm_dir), local_files_only=True).encode(texts)
    np.testing.assert_allclose(load_encoder(minilm_dir).encode(texts), theirs, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_survives_saving_and_sentence_transformers_agrees(tiny_encoder_dir, tmp_path, pooling):
    from sentence_transformers import SentenceTransformer

    model = load_encoder(tiny_encoder_dir, pooling=pooling, normalize=False)
    model.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    assert (again.pooling, again.normalize, again.max_length) == (pooling, False, model.max_length)
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
    np.testing.assert_allclose(SentenceTransformer(str(tmp_path / "saved")).encode(TEXTS), model.encode(TEXTS), atol=1e-5)


def test_order_and_padding_change_nothing(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS, batch_tokens=100_000), alone, atol=1e-6)
    assert model.encode([]).shape == (0, 32)


def test_a_dense_module_is_read_and_applied(tiny_encoder_dir, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "dense"
    shutil.copytree(tiny_encoder_dir, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"idx": 9, "name": "9", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    config = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    save_file({"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}, folder / "2_Dense" / "model.safetensors")
    model = load_encoder(folder)
    assert model.dimension == 8
    np.testing.assert_allclose(model.encode(TEXTS), SentenceTransformer(str(folder)).encode(TEXTS), atol=1e-5)
    with pytest.raises(PotstillError, match="dense layers"):
        model.save(tmp_path / "saved")


def test_poolings_against_plain_loops_and_the_specification():
    torch.manual_seed(0)
    tokens, mask = torch.randn(3, 4, 2) - 5, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    for b in range(3):
        real = [tokens[b, i] for i in range(4) if mask[b, i]]
        torch.testing.assert_close(POOLINGS["mean"](tokens, mask)[b], sum(real) / len(real))
        torch.testing.assert_close(POOLINGS["max"](tokens, mask)[b], torch.tensor([max(float(t[d]) for t in real) for d in range(2)]))
        torch.testing.assert_close(POOLINGS["cls"](tokens, mask)[b], real[0])
    # METHODS.md, EX-POOL: two real tokens and one of padding, all nines
    last, real = torch.tensor([[[1.0, 1], [5, 3], [9, 9]]]), torch.tensor([[1, 1, 0]])
    assert POOLINGS["mean"](last, real).tolist() == [[3, 2]] and POOLINGS["max"](last, real).tolist() == [[5, 3]]
    with pytest.raises(PotstillError, match="did you mean 'mean'"):
        pooling_function("maen")


def test_parameters_leave_out_what_no_vector_reads(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    tables, rest = model.parameter_counts()
    by_hand = {name: p.numel() for name, p in model.named_parameters()}
    pooler = sum(n for name, n in by_hand.items() if "pooler" in name)
    assert pooler == 32 * 32 + 32 and tables + rest == sum(by_hand.values()) - pooler
    assert tables == sum(n for name, n in by_hand.items() if "embeddings.weight" in name)


def broken(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


def test_folders_that_cannot_be_loaded_say_why(tiny_encoder_dir, tmp_path):
    without_tokenizer = broken(tiny_encoder_dir, tmp_path / "a")
    (without_tokenizer / "tokenizer.json").unlink()
    pickled = broken(tiny_encoder_dir, tmp_path / "b")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    cut_off = broken(tiny_encoder_dir, tmp_path / "c")
    (cut_off / "model.safetensors").write_bytes((cut_off / "model.safetensors").read_bytes()[:1000])
    unknown = broken(tiny_encoder_dir, tmp_path / "d")
    (unknown / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.CNN", "path": ""}]))
    (tmp_path / "e").mkdir()
    for folder, words in [
        (without_tokenizer, "no tokenizer"),
        (pickled, "only pickled weights"),
        (cut_off, "cannot be loaded"),
        (unknown, "'CNN' is not supported"),
        (tmp_path / "e", "no config.json"),
        (tmp_path / "nowhere", "no such folder"),
    ]:
        with pytest.raises(PotstillError, match=words) as caught:
            load_encoder(folder)
        assert len(str(caught.value).splitlines()) == 1


def test_a_hub_name_without_a_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PotstillError, match="the hub cannot be reached"):
        load_encoder("nobody/such-a-model-exists")


def test_without_dropout_training_mode_changes_nothing(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir).train()
    batch = {"input_ids": torch.tensor([[2, 10, 11, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    assert not torch.equal(model(**batch).embedding, model(**batch).embedding)
    model.set_dropout(0.0)
    assert torch.equal(model(**batch).embedding, model(**batch).embedding)
    assert model.backbone.config.hidden_dropout_prob == 0.1
