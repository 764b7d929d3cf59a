"""Your own data, any number of labels a text (or pair of texts)."""

from __future__ import annotations

from potstill.tasks.labelled import OwnTask


class Multilabel(OwnTask):
    """F1 over all labels together, and averaged over the labels; a label is given where its probability is one half at least."""

    kind = "multilabel"
    measures = ("micro_f1", "macro_f1")
