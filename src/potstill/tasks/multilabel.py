"""Your own data, any number of labels a text (or pair of texts)."""

from __future__ import annotations

from potstill.runtime.folder import MULTILABEL
from potstill.tasks.labelled import OwnTask


class Multilabel(OwnTask):
    """Micro F1 and macro F1; a label is predicted where its probability is at least one half."""

    kind = MULTILABEL
    measures = ("micro_f1", "macro_f1")
