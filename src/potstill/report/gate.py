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
    ("agreement", "same answers", "%", lambda value: f"{100 * value:.2f}"),
    ("invariance", "padding", "% same", lambda value: f"{100 * value:.2f}"),
    ("error", "error", "std", fixed(4)),
    ("invariance_error", "padding", "std", fixed(4)),
    ("fp32_score", "fp32", "score", fixed(2)),
    ("int8_score", "int8", "score", fixed(2)),
    ("drop", "drop", "points", fixed(2)),
    ("speedup", "speed-up", "×", fixed(2)),
    ("bytes", "weights", "MB", lambda value: f"{value / 1e6:.1f}"),
]
"""Key in a gate row, heading, unit, form. Embeddings, labels and regression scores are each judged by figures of their own."""


@dataclass(frozen=True)
class GateRow:
    """One setting that was tried."""

    setting: str
    cells: list[tuple[str, bool]]
    """Text, and whether this figure is why the setting failed."""
    passed: bool
    why: str


@dataclass(frozen=True)
class GateTable:
    """Every setting that the gate measured, as text."""

    columns: list[tuple[str, str]]
    """Heading and unit."""
    rows: list[GateRow]
    tuned: bool
    """Whether settings were tried again with weights that were trained under the rounding."""


def gate_table(gate: Sequence[Mapping[str, Any]]) -> GateTable:
    """The gate's rows as text, in the columns that any row fills.

    A figure that failed is marked in its cell, and the reasons are told in words.

    Args:
        gate: results.Run.gate.
    """
    figures = [figure for figure in FIGURES if any(finite(row.get(figure[0])) is not None for row in gate)]
    rows = []
    for row in gate:
        failed = [str(reason) for reason in row.get("failed") or []]
        cells = [
            (shown_number(finite(row.get(key)), form), any(reason.split(" ")[0].rstrip(":") == key for reason in failed))
            for key, _, _, form in figures
        ]
        why = ", ".join(reason.replace("_", " ") for reason in failed)
        rows.append(GateRow(str(row.get("setting", "")), cells, bool(row.get("passed")), why))
    return GateTable([(title, unit) for _, title, unit, _ in figures], rows, any(row.get("tuned") for row in gate))
