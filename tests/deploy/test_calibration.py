from __future__ import annotations

import numpy as np
import onnx
import pytest

from potstill.deploy.calibration import Input, calibrate, output_error, round_weights, rounding, shared_inputs
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL


def test_smoothing_changes_nothing_in_fp32():
    rng = np.random.default_rng(0)
    values, matrix = rng.normal(size=(50, 8)).astype(np.float32) * [1, 1, 1, 40, 1, 1, 1, 1], rng.normal(size=(8, 5)).astype(np.float32)
    entry = rounding(values.min(0), values.max(0), [matrix])
    np.testing.assert_allclose((values / entry.scale) @ (matrix * entry.scale[:, None]), values @ matrix, rtol=1e-4, atol=1e-4)
    assert np.exp(np.log(entry.scale).mean()) == pytest.approx(1, abs=1e-5)
    assert entry.scale.argmax() == 3


def test_rounding_by_hand():
    # One channel, so nothing to smooth: -1 … 4 in 255 steps, and zero is one of them.
    entry = rounding(np.array([-1.0], np.float32), np.array([4.0], np.float32), [np.array([[2.0]], np.float32)])
    assert entry.scale.tolist() == [1.0] and entry.step == pytest.approx(5 / 255) and entry.zero == 51
    weights, unit = round_weights(np.array([[2.0, -0.5], [1.0, 0.25]], np.float32), np.ones(2, np.float32), 127)
    assert weights.tolist() == [[127, -127], [64, 64]]
    np.testing.assert_allclose(unit, [2 / 127, 0.5 / 127], rtol=1e-6)


def test_error_by_plain_loops():
    rng = np.random.default_rng(1)
    values, matrix = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    entry = Input(np.ones(4, np.float32), 0.03, 128)
    total = 0.0
    for row in values:
        wrong = exact = 0.0
        for column in matrix.T:
            unit = max(abs(w) for w in column) / 127
            kept = sum(row[k] * column[k] for k in range(4))
            got = sum(min(max(round(row[k] / 0.03), -128), 127) * 0.03 * round(column[k] / unit) * unit for k in range(4))
            wrong, exact = wrong + (got - kept) ** 2, exact + kept**2
        total += (wrong / exact) ** 0.5 / 6
    assert output_error(values, matrix, entry, 127) == pytest.approx(total, rel=1e-4)


def test_smoothing_pays_where_one_channel_is_wide():
    rng = np.random.default_rng(2)
    values = (rng.normal(size=(400, 32)) * np.where(np.arange(32) == 5, 60, 1)).astype(np.float32)
    matrix = rng.normal(size=(32, 16)).astype(np.float32)
    matrix[5] /= 60
    smooth = rounding(values.min(0), values.max(0), [matrix])
    low = float(values.min())
    step = (float(values.max()) - low) / 255
    plain = Input(np.ones(32, np.float32), step, round(-low / step))
    assert output_error(values, matrix, smooth, 127) < 0.3 * output_error(values, matrix, plain, 127)


def test_every_matmul_of_the_graph_is_ranked(exported, texts):
    groups = shared_inputs(onnx.load(str(exported / MODEL)))
    # 4 layers: query, key and value share an input; then the attention's output and two of the feed-forward part.
    assert sorted(len(nodes) for nodes in groups.values()) == [1] * 12 + [3] * 4
    found = calibrate(exported / MODEL, Encoder(exported), texts, 127)
    assert len(found.errors) == 24 and found.inputs.keys() == groups.keys()
    errors = [found.errors[name] for name in found.sensitive()]
    assert errors == sorted(errors, reverse=True) and 0 < errors[-1] <= errors[0] < 0.2
