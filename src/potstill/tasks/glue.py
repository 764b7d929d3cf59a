"""GLUE's nine: acceptability, sentiment, paraphrase, similarity and inference, each with its own measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from potstill.data.glue import SETS, glue_data
from potstill.data.splits import LabelledData
from potstill.errors import PotstillError, did_you_mean
from potstill.tasks.labelled import DEV, LabelledTask


class Glue(LabelledTask):
    """GLUE, scored on what has labels: MRPC's test where its authors' files are there, else GLUE's dev.

    Dev figures are not those of GLUE's test server: the two do not belong in one table. The rows to
    choose by come out of train (data.splits), and SST-2's train holds phrases of one sentence many
    times over: its `-dev` orders models, and says little of their accuracy.
    Of STS-B's two correlations Spearman is the primary, as it is for the sts tasks.
    Source of the measures: Wang et al. 2019, GLUE, section 3.
    """

    def choice(self, scores: Mapping[str, Any]) -> float:
        """The mean of a set's measures, as GLUE itself sums up MRPC, QQP and STS-B.

        F1 alone would choose a model that says yes to everything: on MRPC that has 80, with two thirds right.
        """
        return float(sum(scores[measure] for measure in self.measures) / len(self.measures))

    @classmethod
    def variants(cls) -> dict[str, str]:
        reported = {variant: f"{known.folder}: {known.title}" for variant, known in SETS.items()}
        return reported | {variant + DEV: f"{known.folder}, rows to choose by" for variant, known in SETS.items()}

    @classmethod
    def source(cls, variant: str, folder: Path) -> tuple[LabelledData, tuple[str, ...]]:
        if variant not in SETS:
            name = f"glue/{variant}"
            raise PotstillError("tasks", f"unknown task {name!r}", did_you_mean(name, [f"glue/{known}" for known in SETS]))
        return glue_data(variant, folder), SETS[variant].measures
