"""Your own data, a score for each text (or pair of texts)."""

from __future__ import annotations

from potstill.tasks.labelled import OwnTask


class Regression(OwnTask):
    """Both correlations, and the root of the mean squared error in the unit of the scores."""

    kind = "regression"
    measures = ("spearman", "pearson", "rmse")
