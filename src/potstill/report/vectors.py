"""The table of vectors that cost less: what those of the file that ships score, cut and rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.report.numbers import fixed, shown_number
from potstill.report.scores import finite, mean_over, summed_up

MILLION = 1_000_000


@dataclass(frozen=True)
class VectorTable:
    """A row for each number of dimensions; of each precision its score and what a million vectors take."""

    title: str
    """Of the score."""
    precisions: list[str]
    rows: list[tuple[int, list[tuple[str, str]]]]
    """Dimensions, and for each precision score and megabytes of a million vectors; "" where there are none."""


def vector_table(vectors: Sequence[Mapping[str, Any]], metrics: Mapping[str, str]) -> VectorTable | None:
    """The table, None where nothing was measured.

    Args:
        vectors: results.Run.vectors.
        metrics: task → name of its primary metric, as `task_metrics` gives it.
    """
    tasks = {task: metric for task, metric in metrics.items() if any(task in row["scores"] for row in vectors)}
    if not tasks:
        return None
    title, counted = summed_up(tasks)
    precisions = list(dict.fromkeys(row["precision"] for row in vectors))
    cells: dict[tuple[int, str], tuple[str, str]] = {}
    for row in vectors:
        score = mean_over(counted, {task: finite(row["scores"].get(task)) for task in counted})
        megabytes = fixed(0)(row["bytes"] * MILLION / 1e6)
        cells[row["dimensions"], row["precision"]] = (shown_number(score, fixed(2)), f"{megabytes} MB")
    dimensions = dict.fromkeys(row["dimensions"] for row in vectors)
    return VectorTable(
        "mean score" if title == "mean" else title,
        precisions,
        [(count, [cells.get((count, precision), ("", "")) for precision in precisions]) for count in dimensions],
    )
