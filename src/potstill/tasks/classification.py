"""Your own data, one label a text (or pair of texts)."""

from __future__ import annotations

from potstill.runtime.folder import CLASSIFICATION
from potstill.tasks.labelled import OwnTask


class Classification(OwnTask):
    """Accuracy, and macro F1, in which a rare label counts as much as a common one."""

    kind = CLASSIFICATION
    measures = ("accuracy", "macro_f1")
