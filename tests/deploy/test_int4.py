"""Embedding tables of 16 levels: the numbers, the bytes, the operators, and the setting of the gate that has them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import onnx.reference
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from potstill.deploy import int4, int8
from potstill.deploy.gate import Limits
from potstill.deploy.quantize import LADDER, quantize_int8
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, QUANTIZED

EASY = Limits(max_drop=1.0, min_cosine_mean=0.9, min_cosine=0.5, min_invariance=0.999, min_agreement=1.0, max_error=0.0, min_speedup=0.0)


@pytest.fixture(autouse=True)
def _tables_of_any_size(monkeypatch):
    monkeypatch.setattr(int8, "TABLE", 1)
    monkeypatch.setattr(int8, "LARGE", 1)


def table(rows: int = 40, width: int = 24) -> np.ndarray:
    """Rows of unlike length; one is zero, one has an outlier, and one is all of one number."""
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32) * np.logspace(-3, 2, rows, dtype=np.float32)[:, None]
    values[3], values[4], values[5, 0] = 0, 1, 90
    return values


def restored(numbers: np.ndarray, units: np.ndarray) -> np.ndarray:
    return (numbers.astype(np.float32) - 7.5) * units


def test_rows_are_rounded_as_a_plain_loop_would_round_them():
    values = table()
    numbers, units = int4.round_rows(values)
    for row, found, unit in zip(values.astype(np.float64), numbers, units[:, 0]):
        widest, best = max(abs(row).max(), 1e-12) / 8, np.inf
        for fraction in np.arange(6, 21) / 20:
            error = sum(
                (min(max(round(x / (widest * fraction) + 7.5), 0), 15) * widest * fraction - 7.5 * widest * fraction - x) ** 2 for x in row
            )
            best = min(best, error)
        assert np.square(restored(found, unit) - row).sum() == pytest.approx(best, rel=1e-3, abs=1e-20)


def test_sixteen_levels_of_normal_rows_lose_what_max_found():
    # Max 1960, table II: 16 equal steps of a normal distribution have a mean squared error of 0.01154; a unit a row does a bit better.
    values = np.random.default_rng(1).normal(size=(200, 384)).astype(np.float32)
    lost = np.square(restored(*int4.round_rows(values)) - values).mean()
    assert 0.0105 < lost < 0.0120


def test_the_operators_unpack_what_was_packed():
    values = table()
    numbers, units = int4.round_rows(values)
    packed = int4.pack(numbers)
    assert packed.shape == (40, 12) and packed.dtype == np.uint8
    nodes = int4.unpacking("rows", "units", "out", ("all", "middle"))
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in (("all", int4.LEVELS), ("middle", int4.MIDDLE))]
    given = [
        helper.make_tensor_value_info("rows", TensorProto.UINT8, [40, 12]),
        helper.make_tensor_value_info("units", TensorProto.FLOAT, [40, 1]),
    ]
    graph = helper.make_graph(nodes, "unpack", given, [helper.make_tensor_value_info("out", TensorProto.FLOAT, [40, 24])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    (out,) = onnx.reference.ReferenceEvaluator(model).run(None, {"rows": packed, "units": units})
    np.testing.assert_array_equal(out, restored(numbers, units))


def test_int4_is_tried_first_and_int8_where_the_gate_refuses_it(exported, texts):
    before = (exported / MODEL).stat().st_size
    (row,) = quantize_int8(exported, texts=texts, limits=EASY, tables="int4")
    assert (row["setting"], row["passed"]) == ("int8, embedding int4", True)
    tables = {
        entry.name: entry.data_type for entry in onnx.load(str(exported / QUANTIZED)).graph.initializer if entry.name.endswith("_int4")
    }
    assert len(tables) == 3 and set(tables.values()) == {TensorProto.UINT8}
    assert row["bytes"] < before
    found, exact = Encoder(exported, precision="int8").encode(texts), Encoder(exported, precision="fp32").encode(texts)
    assert 0.9 < (found * exact).sum(1).mean() < 1 - 1e-6
    rows = quantize_int8(
        exported, texts=texts, score=lambda encoder: 70.0 if b"_int4" in encoder.file.read_bytes() else 80.0, limits=EASY, tables="int4"
    )
    assert [row["setting"] for row in rows] == ["int8, embedding int4", LADDER[0].name] and rows[0]["failed"] == ["drop 10.00 above 1"]
    assert rows[1]["bytes"] > rows[0]["bytes"]


def test_the_command_and_a_recipe_take_tables_of_four_bits(call, tiny_encoder_dir, tmp_path, monkeypatch):
    def lax(folder, *, texts, tables, **_):
        return quantize_int8(folder, texts=texts, limits=EASY, tables=tables)

    monkeypatch.setattr("potstill.deploy.quantize.quantize_int8", lax)
    monkeypatch.setattr("potstill.run.export.SAMPLE", 20)
    status, out, err = call("export", tiny_encoder_dir, "--out", tmp_path / "x", "--int8", "--only", "onnx", "--tables", "int4")
    assert status == 0, err
    (row,) = json.loads((tmp_path / "x" / "gate.json").read_text())
    assert row["setting"] == "int8, embedding int4" and "int8, embedding int4 passed" in " ".join(out.split())

    run = tmp_path / "run"  # what its recipe says counts where the command says nothing
    shutil.copytree(tiny_encoder_dir, run / "student")
    export = {"int8": {"tables": "int4"}}
    recipe = {
        "name": "mine",
        "student": {"model": str(tiny_encoder_dir)},
        "stages": [{"name": "one", "terms": [{"loss": "info_nce"}]}],
        "export": export,
    }
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"data": {"texts": ["texts.txt"]}}))
    for options, setting in (([], "int8, embedding int4"), (["--tables", "int8"], LADDER[0].name)):
        status, _, err = call("export", run, "--out", tmp_path / f"of-run-{len(options)}", "--int8", "--only", "onnx", *options)
        assert status == 0, err
        (row,) = json.loads((tmp_path / f"of-run-{len(options)}" / "gate.json").read_text())
        assert row["setting"] == setting

    status, _, err = call("export", tiny_encoder_dir, "--out", tmp_path / "y", "--int8", "--tables", "int3")
    assert (status, err) == (2, "error: tables: unknown value 'int3'; give int8 or int4\n")
    status, _, err = call("export", tiny_encoder_dir, "--out", tmp_path / "y", "--tables", "int4")
    assert status == 2 and err.startswith("error: tables: says what becomes of an int8 file's tables") and not (tmp_path / "y").exists()
