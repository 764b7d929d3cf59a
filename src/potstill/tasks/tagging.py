"""Your own data, a BIO tag for each word."""

from __future__ import annotations

from potstill.runtime.folder import TAGGING
from potstill.tasks.labelled import OwnTask


class Tagging(OwnTask):
    """F1, precision and recall of whole entities: an entity is right where its words and its type are."""

    kind = TAGGING
    measures = ("f1", "precision", "recall")
