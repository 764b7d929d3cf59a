"""Your own data, a BIO tag for each word."""

from __future__ import annotations

from potstill.tasks.labelled import OwnTask


class Tagging(OwnTask):
    """F1, precision and recall of whole entities: words and type must both be right."""

    kind = "tagging"
    measures = ("f1", "precision", "recall")
