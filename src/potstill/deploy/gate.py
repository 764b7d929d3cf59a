"""What an int8 file must keep of the fp32 file's quality, and what it must gain in speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.runtime.encoder import Encoder

Score = Callable[[Encoder], float]

MIXED = 16  # texts of unlike length in a padded batch
TIMED = 256  # texts of one timing
ROUNDS = 5  # timings of each file


@dataclass(frozen=True)
class Limits:
    """Each is met by a figure of at least that much; `max_drop` by one of at most that much.

    Attributes:
        max_drop: points of the task score that may be lost.
        min_cosine_mean: cosine of a text's int8 and fp32 vectors, mean over texts.
        min_cosine: the lowest of them.
        min_invariance: the lowest cosine of a text's int8 vectors alone and in a padded batch.
        min_speedup: texts a second over the fp32 file's, on this machine.
    """

    max_drop: float
    min_cosine_mean: float
    min_cosine: float
    min_invariance: float
    min_speedup: float


class Gate:
    """Compares int8 files with the fp32 file of the same folder; what concerns fp32 is computed once.

    Args:
        reference: the fp32 file.
        texts: on which vectors are compared and speed is measured.
        score: a task, higher is better; None leaves the drop out.
    """

    def __init__(self, reference: Encoder, texts: Sequence[str], score: Score | None, limits: Limits) -> None:
        self.reference, self.texts, self.score, self.limits = reference, list(texts), score, limits
        self._vectors = reference.encode(self.texts)
        self._score = None if score is None else float(score(reference))

    def measure(self, setting: str, candidate: Encoder) -> dict[str, Any]:
        """The figures of one int8 file and the limits that it misses, as results.Run.gate holds them."""
        vectors = candidate.encode(self.texts)
        cosines = _cosines(vectors, self._vectors)
        score = None if self.score is None else float(self.score(candidate))
        row: dict[str, Any] = {
            "setting": setting,
            "cosine_mean": float(cosines.mean()),
            "cosine_min": float(cosines.min()),
            "invariance_min": self._invariance(candidate),
            "fp32_score": self._score,
            "int8_score": score,
            "drop": None if score is None or self._score is None else self._score - score,
            "speedup": self._speedup(candidate),
            "bytes": candidate.file.stat().st_size,
        }
        row["failed"] = self._failed(row)
        row["passed"] = not row["failed"]
        return row

    def _failed(self, row: dict[str, Any]) -> list[str]:
        limits = self.limits
        least = {
            "cosine_mean": limits.min_cosine_mean,
            "cosine_min": limits.min_cosine,
            "invariance_min": limits.min_invariance,
            "speedup": limits.min_speedup,
        }
        # `not >=`: what is not a number fails.
        failed = [f"{name} {row[name]:.5g} below {limit:g}" for name, limit in least.items() if not row[name] >= limit]
        if row["drop"] is not None and not row["drop"] <= limits.max_drop:
            failed.append(f"drop {row['drop']:.2f} above {limits.max_drop:g}")
        return failed

    def _invariance(self, candidate: Encoder) -> float:
        """Lowest cosine between a text alone and the same text among others of any length."""
        alone = candidate.encode(self.texts, batch_tokens=1)
        # A call with few texts and no bound on tokens is one batch, padded to the longest.
        parts = [self.texts[start : start + MIXED] for start in range(0, len(self.texts), MIXED)]
        mixed = np.concatenate([candidate.encode(part, batch_tokens=1 << 40) for part in parts])
        return float(_cosines(alone, mixed).min())

    def _speedup(self, candidate: Encoder) -> float:
        """Texts a second over the fp32 file's: in turn, so that both see the same load, and the best of each."""
        texts = self.texts[:TIMED]
        best = {encoder: float("inf") for encoder in (self.reference, candidate)}
        for _ in range(ROUNDS):
            for encoder in best:
                start = time.perf_counter()
                encoder.encode(texts)
                best[encoder] = min(best[encoder], time.perf_counter() - start)
        return best[self.reference] / best[candidate]


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row: (n, d), (n, d) → (n,)."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return np.asarray((a64 * b64).sum(1) / np.maximum(np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1), 1e-12))
