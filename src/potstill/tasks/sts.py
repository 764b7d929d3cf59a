"""Semantic textual similarity: do cosines of sentence vectors order pairs as people do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.data.files.senteval import ScoredPairs, read_sts_benchmark, read_sts_folder
from potstill.errors import PotstillError, did_you_mean
from potstill.registry import DEV
from potstill.tasks.base import ROUNDING, Encode, Task, evenly, unit_rows

STS = Path("senteval") / "STS"
YEARS = {str(year): STS / f"STS{year}-en-test" for year in range(12, 17)}
BENCHMARK = {"stsb": STS / "STSBenchmark" / "sts-test.csv", f"stsb{DEV}": STS / "STSBenchmark" / "sts-dev.csv"}


class Sts(Task):
    """SimCSE's "all" protocol: one Spearman correlation over the pairs of all subsets together.

    The mean of the subsets' correlations is another number, and published tables mix the two. Only
    the pooled list demands that a cosine mean the same in every subset. Nothing is fitted on top of
    the cosine. Source: Gao et al. 2021, SimCSE, section 6 and appendix B, and its modified SentEval.
    """

    primary = "spearman"

    def __init__(self, name: str, subsets: list[ScoredPairs]) -> None:
        super().__init__(name)
        self.subsets = subsets
        gold = [score for pairs in subsets for score in pairs.scores]
        if np.ptp(gold) == 0:
            raise PotstillError(name, f"all {len(gold)} gold scores are {gold[0]:g}, so no correlation exists", "check the score column")

    @classmethod
    def variants(cls) -> dict[str, str]:
        """The years of SemEval, and the two splits of the STS benchmark."""
        years = {year: f"SemEval STS 20{year}, test" for year in YEARS}
        return years | {"stsb": "STS benchmark, test: for reporting", f"stsb{DEV}": "STS benchmark, dev: for choosing"}

    @classmethod
    def open(cls, variant: str, folder: Path) -> Sts:
        """Read FOLDER/senteval/STS/STS<year>-en-test, or a file of FOLDER/senteval/STS/STSBenchmark.

        Raises:
            PotstillError: there is no such variant, or a file is missing or malformed.
        """
        name = f"sts/{variant}"
        if variant in YEARS:
            return cls(name, read_sts_folder(folder / YEARS[variant]))
        if variant in BENCHMARK:
            return cls(name, [read_sts_benchmark(folder / BENCHMARK[variant])])
        raise PotstillError("tasks", f"unknown task {name!r}", did_you_mean(name, [f"sts/{known}" for known in cls.variants()]))

    def few(self, rows: int) -> Sts:
        """The first subset alone, of `rows` pairs."""
        pairs = self.subsets[0]
        chosen = evenly(len(pairs), rows)
        first, second = ([side[row] for row in chosen] for side in (pairs.first, pairs.second))
        return Sts(self.name, [ScoredPairs(pairs.name, first, second, [pairs.scores[row] for row in chosen])])

    def texts(self) -> list[str]:
        """Of each subset the first sentences, then the second ones."""
        return [text for pairs in self.subsets for side in (pairs.first, pairs.second) for text in side]

    def evaluate(self, encode: Encode) -> dict[str, Any]:
        """Spearman and Pearson correlation ×100 over all pairs, and Spearman of each subset.

        A subset whose Spearman correlation is undefined, because its scores or cosines are all equal,
        gives None.

        Args:
            encode: n texts → (n, d) vectors in the same order.

        Raises:
            PotstillError: a vector is not finite, or all pairs have the same cosine, so that there is no correlation.
        """
        unit = unit_rows(encode(self.texts()), self.name)  # in the order of texts(): each subset's firsts, then its seconds
        cosines, start = [], 0
        for pairs in self.subsets:
            first, second = unit[start : start + len(pairs)], unit[start + len(pairs) : start + 2 * len(pairs)]  # (p, d) each
            cosines.append(np.einsum("pd,pd->p", first, second))
            start += 2 * len(pairs)
        predicted, gold = np.concatenate(cosines), np.concatenate([pairs.scores for pairs in self.subsets])
        spearman = _spearman(predicted, gold)
        if spearman is None:
            raise PotstillError(
                self.name,
                f"all {len(gold)} pairs have the same cosine ({predicted[0]:.4f}), so no Spearman exists",
                "the model gives every text the same vector: look at its training loss, and train again",
            )
        return {
            "spearman": spearman,
            "pearson": float(100 * np.corrcoef(predicted, gold)[0, 1]),
            "pairs": len(gold),
            "subsets": {
                pairs.name: {"spearman": _spearman(part, np.asarray(pairs.scores)), "pairs": len(pairs)}
                for pairs, part in zip(self.subsets, cosines, strict=True)
            },
        }


def _spearman(predicted: NDArray[np.float64], gold: NDArray[np.float64]) -> float | None:
    """Spearman correlation ×100, with average ranks for ties; None where it is undefined."""
    from scipy.stats import spearmanr

    if np.ptp(predicted) <= ROUNDING or np.ptp(gold) == 0:
        return None
    return float(100 * spearmanr(predicted, gold).statistic)
