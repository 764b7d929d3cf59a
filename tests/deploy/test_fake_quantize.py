from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import potstill.deploy.int8 as int8
from potstill.deploy.calibration import calibrate
from potstill.deploy.fake_quantize import fake_quantized
from potstill.deploy.rounded import roundings
from potstill.models.loading import load_encoder
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, QUANTIZED

TEXTS = [
    f"{a} {b} {c}" for a in ("the river", "the village", "9") for b in ("and", "sees , x", "was") for c in ("rivers", "a.b", "villages 42")
]


def plain(linear: nn.Linear, **changes):
    given = {"scale": np.ones(linear.in_features, dtype=np.float32), "step": 1 / 64, "zero": 128} | changes
    return {"0": (given["scale"], given["step"], given["zero"])}


def test_the_gradient_goes_straight_through_what_is_inside_the_range():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3))
    x = torch.randn(5, 6).clamp(-1.9, 1.9).requires_grad_()
    with fake_quantized(model, plain(model[0]), {}, 127):
        out = model(x)
        exact = nn.functional.linear(x, model[0].weight, model[0].bias)
        assert 0 < float((out - exact).detach().abs().max()) < 0.1
        out.sum().backward()
        got = (x.grad.clone(), model[0].weight.grad.clone())
    steps = (x.detach() * 64).round() / 64
    unit = model[0].weight.detach().abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(got[0], ((model[0].weight / unit).round() * unit).sum(0).expand(5, 6).detach())
    torch.testing.assert_close(got[1], steps.sum(0).expand(3, 6))
    # Far beyond the range an input is cut off, and nothing comes back.
    far = torch.full((1, 6), 50.0, requires_grad=True)
    with fake_quantized(model, plain(model[0]), {}, 127):
        model(far).sum().backward()
    assert not far.grad.any()


def test_a_table_is_rounded_row_by_row_and_its_rows_get_the_whole_gradient():
    model = nn.Sequential(nn.Embedding(4, 8))
    with torch.no_grad():
        model[0].weight[1] *= 1000
    with fake_quantized(model, {}, {"0": "int8"}, 127):
        rows = model(torch.tensor([0, 1, 1]))
        rows.sum().backward()
    assert float((rows[0] - model[0].weight[0]).detach().abs().max()) <= float(model[0].weight[0].detach().abs().max()) / 254 + 1e-6
    assert model[0].weight.grad.sum(1).tolist() == [8.0, 16.0, 0.0, 0.0]


def test_names_and_values_stay_what_they_are_and_the_rounding_ends_with_the_block():
    model = nn.Sequential(nn.Linear(6, 3), nn.Embedding(4, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 6)
    exact = model[0](x)
    with pytest.raises(ZeroDivisionError), fake_quantized(model, plain(model[0]), {"1": "int8"}, 127):
        assert model.state_dict().keys() == before.keys()
        assert not torch.equal(model[0](x), exact)
        raise ZeroDivisionError
    assert torch.equal(model[0](x), exact)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("embed", "int8"),  # all int8
        ("embed", "int4"),
        ("embed", "fp32"),  # three MatMuls and the tables in fp32
        ("classification", "int8"),  # a head that reads pairs
        ("regression", "int8"),  # a model without token types
    ],
)
def test_torch_computes_as_the_int8_file(
    kind, tables, tiny_encoder_dir, tiny_export_dir, tiny_head_dirs, tiny_head_exports, tmp_path, monkeypatch
):
    monkeypatch.setattr(int8, "TABLE", 1)
    monkeypatch.setattr(int8, "LARGE", 1)
    model = load_encoder(tiny_encoder_dir if kind == "embed" else tiny_head_dirs[kind])
    folder = Path(shutil.copytree(tiny_export_dir if kind == "embed" else tiny_head_exports[kind], tmp_path / "onnx"))
    reference = Encoder(folder, precision="fp32")
    calibration = calibrate(folder / MODEL, reference, TEXTS[::2], 127)
    spared = calibration.sensitive()[:3] if tables == "fp32" else []
    int8.write_int8(folder / MODEL, folder / QUANTIZED, calibration, 127, spared=spared, tables=tables)
    found = roundings(folder / MODEL, calibration, 127, "a setting", spared=spared, tables=tables)
    assert found is not None and len(found.inputs) == len(calibration.errors) - len(spared)
    assert list(found.tables.values()) == [tables] * (0 if tables == "fp32" else 3 if kind != "regression" else 2)
    compute = model.encode if kind == "embed" else model.predict
    exact, wanted = np.asarray(reference.run(TEXTS)), np.asarray(Encoder(folder, precision="int8").run(TEXTS))
    with fake_quantized(model, found.inputs, found.tables, found.weight_levels):
        got = np.asarray(compute(TEXTS))
    # A number that lies between two steps may fall either way, and what follows from it differs: hence not nearer.
    assert np.linalg.norm(got - wanted) < 0.3 * np.linalg.norm(exact - wanted)


def test_a_graph_that_says_nothing_of_its_modules_has_no_likeness_in_torch(tiny_export_dir, tmp_path):
    calibration = calibrate(tiny_export_dir / MODEL, Encoder(tiny_export_dir, precision="fp32"), TEXTS, 127)
    graph = onnx.load(str(tiny_export_dir / MODEL))
    for node in graph.graph.node:
        node.name = node.name.rpartition("/")[2]
    onnx.save(graph, str(tmp_path / MODEL))
    assert roundings(tmp_path / MODEL, calibration, 127, "a setting") is None
