"""What an int8 file must keep of the fp32 file's quality, and what it must gain in speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.registry import OUTSIDE
from potstill.runtime.encoder import Encoder, Logits
from potstill.runtime.folder import EMBED, MULTILABEL, REGRESSION, TAGGING
from potstill.runtime.tokens import Text

Score = Callable[[Encoder], float]

MIXED = 16  # texts of unlike length in a padded batch
TIMED = 256  # texts of one timing
ROUNDS = 5  # timings of each file


@dataclass(frozen=True)
class Limits:
    """What an int8 file must reach: at least each `min`, at most each `max`. Defaults stand in a recipe's Int8 alone.

    Attributes:
        max_drop: points of the task score that may be lost against fp32.
        min_cosine_mean: mean over texts of the cosine between a text's int8 and fp32 embeddings.
        min_cosine: the lowest of these cosines.
        min_invariance: the lowest cosine between a text's int8 embeddings alone and in a padded batch; of a head that
            names labels, the agreement between the two.
        min_agreement: of a head that names labels, the `agreement` between int8 and fp32.
        max_error: of a regression, the `error` of int8 against fp32, and that of a padded batch against single texts.
        min_speedup: texts a second divided by the fp32 file's, on this machine.
    """

    max_drop: float
    min_cosine_mean: float
    min_cosine: float
    min_invariance: float
    min_agreement: float
    max_error: float
    min_speedup: float


class Gate:
    """Compares int8 files with the fp32 file of the same model, whose outputs are computed once.

    Args:
        reference: the fp32 file.
        texts: those on which outputs are compared and speed is measured.
        score: a task's score of an encoder, higher is better; None leaves the drop out.
        limits: what an int8 file must reach.
    """

    def __init__(self, reference: Encoder, texts: Sequence[Text], score: Score | None, limits: Limits) -> None:
        self.reference, self.texts, self.score, self.limits = reference, list(texts), score, limits
        self._outputs = reference.run(self.texts)
        self._score = None if score is None else float(score(reference))

    def measure(self, setting: str, candidate: Encoder) -> dict[str, Any]:
        """The figures of one int8 file, and the limits that it misses.

        Args:
            setting: name of what was quantised how.
            candidate: the int8 file.

        Returns:
            A row of results.Run.gate.
        """
        score = None if self.score is None else float(self.score(candidate))
        row: dict[str, Any] = {
            "setting": setting,
            **self._kept(candidate),
            "fp32_score": self._score,
            "int8_score": score,
            "drop": None if score is None or self._score is None else self._score - score,
            "speedup": self._speedup(candidate),
            "bytes": candidate.file.stat().st_size,
        }
        row["failed"] = self._failed(row)
        row["passed"] = not row["failed"]
        return row

    def _kept(self, candidate: Encoder) -> dict[str, float]:
        """How near the int8 file's outputs are to those of fp32, and those in a padded batch to those of single texts.

        Logits are not compared by their cosine: of one or two numbers it is near 1 or -1 whatever they are.
        """
        kind, labels = candidate.head, candidate.labels
        outputs, alone, mixed = candidate.run(self.texts), candidate.run(self.texts, batch_tokens=1), self._mixed(candidate)
        if kind == EMBED:
            cosines = _cosines(np.asarray(outputs), np.asarray(self._outputs))
            apart = _cosines(np.asarray(alone), np.asarray(mixed))
            return {"cosine_mean": float(cosines.mean()), "cosine_min": float(cosines.min()), "invariance_min": float(apart.min())}
        if kind == REGRESSION:
            return {"error": error(outputs, self._outputs), "invariance_error": error(mixed, alone)}
        return {"agreement": agreement(outputs, self._outputs, kind, labels), "invariance": agreement(alone, mixed, kind, labels)}

    def _failed(self, row: dict[str, Any]) -> list[str]:
        limits = self.limits
        least = {
            "cosine_mean": limits.min_cosine_mean,
            "cosine_min": limits.min_cosine,
            "invariance_min": limits.min_invariance,
            "agreement": limits.min_agreement,
            "invariance": limits.min_invariance,
            "speedup": limits.min_speedup,
        }
        most = {"error": limits.max_error, "invariance_error": limits.max_error}
        # `not >=`: what is not a number fails.
        failed = [f"{name} {row[name]:.5g} below {limit:g}" for name, limit in least.items() if name in row and not row[name] >= limit]
        failed += [f"{name} {row[name]:.5g} above {limit:g}" for name, limit in most.items() if name in row and not row[name] <= limit]
        if row["drop"] is not None and not row["drop"] <= limits.max_drop:
            failed.append(f"drop {row['drop']:.2f} above {limits.max_drop:g}")
        return failed

    def _mixed(self, candidate: Encoder) -> Logits:
        """Outputs of texts in padded batches with others of any length."""
        # A call with few texts and no bound on tokens is one batch, padded to the longest.
        parts = [candidate.run(self.texts[start : start + MIXED], batch_tokens=1 << 40) for start in range(0, len(self.texts), MIXED)]
        return [rows for part in parts for rows in part] if candidate.head == TAGGING else np.concatenate(parts)

    def _speedup(self, candidate: Encoder) -> float:
        """Texts a second divided by the fp32 file's. They are timed in turn, under the same load, and the best time of each counts."""
        texts = self.texts[:TIMED]
        best = {encoder: float("inf") for encoder in (self.reference, candidate)}
        for _ in range(ROUNDS):
            for encoder in best:
                start = time.perf_counter()
                encoder.run(texts)
                best[encoder] = min(best[encoder], time.perf_counter() - start)
        return best[self.reference] / best[candidate]


def agreement(a: Logits, b: Logits, kind: str, labels: Sequence[str]) -> float:
    """Share of equal answers.

    Args:
        a: logits, as Encoder.run gives them.
        b: logits for the same texts.
        kind: the head. MULTILABEL: a text counts where all its labels are equal. TAGGING: words are counted, without
            those that both leave outside every entity, which are the most and the easiest.
        labels: names in the order of the logits.

    Returns:
        0 … 1; 1 where no word counts.
    """
    if kind == MULTILABEL:
        return float(((np.asarray(a) >= 0) == (np.asarray(b) >= 0)).all(1).mean())
    if kind != TAGGING:
        return float((np.asarray(a).argmax(1) == np.asarray(b).argmax(1)).mean())
    first, second = (np.concatenate([rows.argmax(1) for rows in side]) for side in (a, b))
    outside = labels.index(OUTSIDE) if OUTSIDE in labels else -1
    counted = (first != outside) | (second != outside)
    return float((first == second)[counted].mean()) if counted.any() else 1.0


def error(found: Logits, expected: Logits) -> float:
    """Root mean square of the difference, in standard deviations of what is expected.

    Of two standardised scores it relates to their correlation r as √(2 (1 - r)): 0.2 is as far apart as a cosine of 0.98.
    """
    right = np.asarray(expected, dtype=np.float64)
    return float(np.sqrt(np.mean((np.asarray(found, dtype=np.float64) - right) ** 2)) / max(float(right.std()), 1e-12))


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each row of a with the same row of b: (n, d), (n, d) → (n,)."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return np.asarray((a64 * b64).sum(1) / np.maximum(np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1), 1e-12))
