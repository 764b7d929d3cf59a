"""Your own data, a score for each text (or pair of texts)."""

from __future__ import annotations

from potstill.runtime.folder import REGRESSION
from potstill.tasks.labelled import OwnTask


class Regression(OwnTask):
    """Spearman and Pearson correlation, and the root mean squared error in the unit of the scores."""

    kind = REGRESSION
    measures = ("spearman", "pearson", "rmse")
