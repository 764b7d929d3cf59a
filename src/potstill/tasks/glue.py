"""GLUE's nine: acceptability, sentiment, paraphrase, similarity and inference, each with its own measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.data.files.glue import SETS, glue_data
from potstill.data.splits import LabelledData
from potstill.errors import PotstillError, did_you_mean
from potstill.registry import DEV
from potstill.tasks.labelled import LabelledTask


class Glue(LabelledTask):
    """GLUE, scored on splits with labels: MRPC's test split where its original files are there, else GLUE's dev split.

    Scores on a dev split are not those of GLUE's test server: the two do not belong in one table. The
    rows to choose by are drawn from train (data.splits). Of STS-B's two
    correlations Spearman is the primary one, as for the sts tasks.
    Source of the measures: Wang et al. 2019, GLUE, section 3.
    """

    def choice(self, scores: Mapping[str, Any]) -> float:
        """The mean of the data set's measures, which is GLUE's own score for MRPC, QQP and STS-B.

        F1 alone would choose a model that always says yes: on MRPC its F1 is 80 and its accuracy 66.

        Args:
            scores: a result of `evaluate`.
        """
        return float(sum(scores[measure] for measure in self.measures) / len(self.measures))

    @classmethod
    def variants(cls) -> dict[str, str]:
        """Each data set, and its rows to choose by under the name with DEV."""
        reported = {variant: f"{known.folder}: {known.title}" for variant, known in SETS.items()}
        return reported | {variant + DEV: f"{known.folder}, rows to choose by" for variant, known in SETS.items()}

    @classmethod
    def source(cls, variant: str, folder: Path, numbered: Sequence[str] = ()) -> tuple[LabelledData, tuple[str, ...]]:
        """One of SETS; see `glue_data` for where its files lie.

        Raises:
            PotstillError: there is no such variant, neither a folder nor a hub, or `numbered` are other names than the labels'.
        """
        if variant not in SETS:
            name = f"glue/{variant}"
            raise PotstillError("tasks", f"unknown task {name!r}", did_you_mean(name, [f"glue/{known}" for known in SETS]))
        return glue_data(variant, folder, numbered), SETS[variant].measures
