"""torch's dynamic int8: the published integers, the size of what would be stored, and vectors near fp32's."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from potstill.errors import PotstillError
from potstill.evaluation.subject import open_subject
from potstill.evaluation.torch_int8 import SCALE, quantize_linears, stored_bytes
from potstill.models.loading import load_encoder

TEXTS = ["the river", "a village and the river, again and again", "9"]
FP32, INT8 = False, True


class Network(nn.Module):
    """What `quantize_linears` asks of a model."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers)


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def quantized(*layers: nn.Module) -> nn.Sequential:
    return quantize_linears(Network(*layers)).network  # type: ignore[arg-type]


def test_weights_of_the_worked_example() -> None:
    """Against the formula of dynamic quantisation, written out."""
    weight = quantized(linear([[-0.9, 0.5, 0.25, 1.0]]))[0].weight()
    assert weight.int_repr().tolist() == [[-115, 64, 32, 127]]
    assert weight.q_scale() == pytest.approx(0.0078431, abs=1e-7) and weight.q_zero_point() == 0
    assert float((weight.dequantize() - torch.tensor([[-0.9, 0.5, 0.25, 1.0]])).abs().max()) == pytest.approx(0.0039216, abs=1e-7)


def test_inputs_of_the_worked_example() -> None:
    """The inputs as the kernel sees them, by a unit matrix, whose ones are stored as 127 / 127.5."""
    seen = quantized(linear(torch.eye(4).tolist()))[0](torch.tensor([[-1.0, 0.0, 1.0, 2.0]])) * 127.5 / 127
    full, reduced = [[-1.0, 0.0, 1.0, 2.0]], [[-0.992126, 0.0, 0.992126, 2.007874]]
    expected = full if torch.backends.quantized.engine == "qnnpack" else reduced
    torch.testing.assert_close(seen, torch.tensor(expected), atol=1e-5, rtol=0)


def test_stored_bytes_are_those_of_the_file(tiny_encoder_dir: Path) -> None:
    model = load_encoder(tiny_encoder_dir)
    expected, plain = stored_bytes(model.network), stored_bytes(model.network, FP32)
    assert plain == len(save(dict(model.network.state_dict()), metadata={"format": "pt"}))
    quantize_linears(model)
    state = {name: tensor for name, tensor in model.network.state_dict().items() if isinstance(tensor, torch.Tensor)}
    state = {name: tensor for name, tensor in state.items() if not name.endswith((".scale", ".zero_point"))}
    for name, module in model.network.named_modules():
        if isinstance(module, torch.ao.nn.quantized.dynamic.Linear):
            weight = module.weight()
            state |= {f"{name}.weight": weight.int_repr(), f"{name}.weight{SCALE}": torch.tensor(weight.q_scale())}
            state |= {f"{name}.bias": module.bias().detach()}
    assert expected == len(save(state, metadata={"format": "pt"}))
    assert 0.25 * plain < expected < plain


def test_a_tied_table_is_stored_once_and_its_linear_in_int8() -> None:
    table = nn.Embedding(1000, 64)
    tied = nn.Linear(64, 1000, bias=False)
    tied.weight = table.weight
    network = nn.Sequential(table, tied)
    assert 256_000 < stored_bytes(network, FP32) < 257_000
    assert 256_000 + 64_000 < stored_bytes(network) < 321_000


@pytest.mark.parametrize(
    ("name", "parameters", "int8", "published"),
    [("bert", 108_891_648, FP32, 435_650), ("distilbert", 66_362_880, FP32, 265_489), ("distilbert", 66_362_880, INT8, 138_116)],
)
def test_sizes_of_the_distilface_report(name: str, parameters: int, int8: bool, published: int) -> None:
    """Within 0.1 % of its table 3, KB of 1000 bytes; nothing is filled: names and shapes make the size."""
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    with torch.device("meta"):
        network = BertModel(BertConfig(), add_pooling_layer=False) if name == "bert" else DistilBertModel(DistilBertConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert stored_bytes(network, int8) / 1000 == pytest.approx(published, rel=1e-3)


def test_vectors_stay_near_and_nothing_is_said(tiny_encoder_dir: Path) -> None:
    model = load_encoder(tiny_encoder_dir)
    with torch.no_grad():  # as drawn, the layers add next to nothing to the embeddings
        for module in model.network.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(8)
    before = model.encode(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize_linears(model)
    assert not any(isinstance(module, nn.Linear) for module in model.network.modules())
    cosines = (model.encode(TEXTS) * before).sum(1)
    assert cosines.min() > 0.99 and cosines.max() < 0.99999


def test_subject(tiny_encoder_dir: Path, tiny_head_dirs: dict[str, Path], tiny_export_dir: Path, tmp_path: Path) -> None:
    fp32, int8 = open_subject(tiny_encoder_dir), open_subject(tiny_encoder_dir, "torch-int8")
    assert (int8.role, int8.format, int8.parameters) == ("torch-int8", "torch", fp32.parameters)
    assert list(int8.files) == ["model.safetensors, int8"] and sum(int8.files.values()) < sum(fp32.files.values())
    assert not np.array_equal(int8.encode(TEXTS), fp32.encode(TEXTS))
    headed = open_subject(tiny_head_dirs["classification"], "torch-int8")
    plain = open_subject(tiny_head_dirs["classification"])
    np.testing.assert_allclose(headed.run(TEXTS), plain.run(TEXTS), atol=0.2)

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "student").symlink_to(tiny_encoder_dir)
    (tmp_path / "run" / "onnx").symlink_to(tiny_export_dir)
    assert open_subject(tmp_path / "run", "torch-int8").role == "torch-int8"
    with pytest.raises(PotstillError, match="holds no torch model for torch to quantise"):
        open_subject(tiny_export_dir, "torch-int8")
    with pytest.raises(PotstillError, match="did you mean 'torch-int8'"):
        open_subject(tiny_encoder_dir, "torch-int4")


def test_a_torch_that_has_lost_it(tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(PotstillError, match="has no dynamic int8 any more; use int8, the ONNX file"):
        quantize_linears(load_encoder(tiny_encoder_dir))


def test_stsb_of_minilm(minilm_dir: Path, data_dir: Path) -> None:
    """81.11 on x86 (82.03 in fp32), 58.6 MB (90.9)."""
    from potstill.evaluation.evaluate import evaluate

    record = evaluate(minilm_dir, ["sts/stsb"], data_dir, precision="torch-int8")
    assert record.scores["sts/stsb"]["spearman"] == pytest.approx(82.03, abs=1.5)
    assert sum(record.files.values()) == pytest.approx(58.58e6, rel=1e-3)
