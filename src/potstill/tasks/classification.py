"""Your own data, one label a text (or pair of texts)."""

from __future__ import annotations

from potstill.tasks.labelled import OwnTask


class Classification(OwnTask):
    """Accuracy, and F1 averaged over the labels, which a rare label moves as much as a common one."""

    kind = "classification"
    measures = ("accuracy", "macro_f1")
