"""Loading: folders of other libraries, their length limits, and what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.errors import PotstillError
from potstill.models.loading import load_encoder, position_limit

TEXTS = ["the river", "a", "villages and rivers, singing of the things that were there before; " * 9, "", "the end"]


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
    model.save(tmp_path / "saved")
    np.testing.assert_allclose(load_encoder(tmp_path / "saved").encode(TEXTS), model.encode(TEXTS), atol=1e-6)


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


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Bert", 40),  # every row of the table is a position
        ("Roberta", 38),  # positions count from padding's number + 1
        ("MPNet", 38),  # likewise
    ],
)
def test_positions_that_padding_takes_are_no_positions(kind, expected):
    import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20}
    config = getattr(transformers, f"{kind}Config")(**sizes, max_position_embeddings=40, pad_token_id=1)
    network = transformers.AutoModel.from_config(config).eval()
    assert position_limit(network) == expected
    with torch.no_grad():
        network(input_ids=torch.full((1, expected), 5))
    with pytest.raises((IndexError, RuntimeError)):
        network(input_ids=torch.full((1, expected + 1), 5))
