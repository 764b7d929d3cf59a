"""The gate's table: the figures of vectors, of labels and of numbers, each without empty columns."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.samples import GATE
from potstill.report.gate import gate_table

SPEED = [("speed-up", "×"), ("weights", "MB")]
SCORES = [("fp32", "score"), ("int8", "score"), ("drop", "points")]


def row(**figures: Any) -> dict[str, Any]:
    return {"setting": "all int8", **figures, "speedup": 1.9, "bytes": 17_000_000, "passed": True, "failed": []}


def test_vectors() -> None:
    table = gate_table(GATE)
    assert table.columns == [("mean", "cosine"), ("lowest", "cosine"), ("padding", "cosine"), *SCORES, *SPEED]
    assert table.rows[0].cells[1] == ("0.8871", True) and table.rows[1].passed


@pytest.mark.parametrize(
    ("figures", "columns", "cells"),
    [
        # labels
        ({"agreement": 0.9412, "invariance": 0.99514}, [("same answers", "%"), ("padding", "% same")], ["94.12", "99.51"]),
        # a regression
        ({"error": 0.0312, "invariance_error": 0.004}, [("error", "std"), ("padding", "std")], ["0.0312", "0.0040"]),
    ],
)
def test_heads_have_figures_of_their_own(figures: dict[str, float], columns: list[tuple[str, str]], cells: list[str]) -> None:
    table = gate_table([row(**figures, fp32_score=88.0, int8_score=87.8, drop=0.2), row(**figures)])
    assert table.columns == [*columns, *SCORES, *SPEED]
    assert [text for text, _ in table.rows[0].cells] == [*cells, "88.00", "87.80", "0.20", "1.90", "17.0"]
    assert [text for text, _ in table.rows[1].cells[2:5]] == ["–", "–", "–"]


def test_without_a_score_its_columns_are_not_there() -> None:
    empty = row(agreement=0.99, invariance=1.0, fp32_score=None, int8_score=None, drop=None)
    assert gate_table([empty]).columns == [("same answers", "%"), ("padding", "% same"), *SPEED]


def test_what_failed_is_marked_and_said() -> None:
    failed = {**row(agreement=0.9412, invariance=1.0), "passed": False, "failed": ["agreement 0.9412 below 0.95", "drop 1.20 above 1"]}
    (only,) = gate_table([failed]).rows
    assert [marked for _, marked in only.cells] == [True, False, False, False]
    assert only.why == "agreement 0.9412 below 0.95, drop 1.20 above 1"
