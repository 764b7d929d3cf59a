"""The int8 gate's table: every setting that was tried, its figures, and why it was not taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.report.numbers import fixed, shown_number
from potstill.report.scores import finite

FIGURES: list[tuple[str, str, str, Callable[[float], str]]] = [
    ("cosine_mean", "mean", "cosine", fixed(4)),
    ("cosine_min", "lowest", "cosine", fixed(4)),
    ("invariance_min", "padding", "cosine", fixed(4)),
    ("fp32_score", "fp32", "score", fixed(2)),
    ("int8_score", "int8", "score", fixed(2)),
    ("drop", "drop", "points", fixed(2)),
    ("speedup", "speed-up", "×", fixed(2)),
    ("bytes", "weights", "MB", lambda value: f"{value / 1e6:.1f}"),
]
"""Key in a gate row, heading, unit, form."""


@dataclass(frozen=True)
class GateRow:
    setting: str
    cells: list[tuple[str, bool]]
    """Text, and whether this figure is why the setting failed."""
    passed: bool
    why: str


def gate_rows(gate: Sequence[Mapping[str, Any]]) -> list[GateRow]:
    """The rows as text. What failed is marked in its cell where the reason names a figure, and told in words."""
    rows = []
    for row in gate:
        failed = [str(reason) for reason in row.get("failed") or []]
        cells = [
            (shown_number(finite(row.get(key)), form), any(reason.split(" ")[0].rstrip(":") == key for reason in failed))
            for key, _, _, form in FIGURES
        ]
        why = ", ".join(reason.replace("_", " ") for reason in failed)
        rows.append(GateRow(str(row.get("setting", "")), cells, bool(row.get("passed")), why))
    return rows
