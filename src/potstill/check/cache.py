"""What of the teacher's answers a recipe will keep on disk, told before any work: from the texts' characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.corpus.read import Corpus
from potstill.machine.cache import cache_folder
from potstill.recipe.recipe import Teacher
from potstill.runtime.folder import TAGGING

if TYPE_CHECKING:
    from potstill.models.output import Field

CHARACTERS_A_TOKEN = 4.5  # of English prose in WordPiece
SAMPLE = 50_000  # texts that are looked at, evenly apart; of fewer than twice as many, all


@dataclass(frozen=True)
class CacheEstimate:
    """About how many bytes each field takes: of those that are kept, and of those that the teacher computes in every step."""

    kept: dict[Field, int]
    live: dict[Field, int]

    @property
    def bytes(self) -> int:
        """What the disk must have room for."""
        return sum(self.kept.values())

    def line(self) -> str:
        """Which fields are kept, how much that is, and which are run live."""
        if not self.kept:
            return f"none: about {shown_bytes(sum(self.live.values()))}, above teacher.cache_gb, so the teacher runs in every step"
        line = f"about {shown_bytes(self.bytes)} in {cache_folder()}"
        if not self.live:
            return line
        live = f"{_named(self.live)} (about {shown_bytes(sum(self.live.values()))}, above teacher.cache_gb)"
        return f"{line}: {_named(self.kept)}; run live in every step: {live}"


def estimate_cache(
    settings: Teacher, read: Corpus, copies: int, stages: Sequence[frozenset[Field]], width: int, heads: int, layers: int
) -> CacheEstimate:
    """What the run's own choice, which knows every text's tokens, will come to.

    Args:
        copies: of each text, by augmentation and itself.
        stages: what each stage reads.
        width, heads, layers: of the teacher.
    """
    from types import SimpleNamespace

    import numpy as np

    from potstill.teacher.budget import cache_bytes, kept_fields

    texts = read.texts[:: max(1, len(read.texts) // SAMPLE)]
    characters = np.array([len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts])
    times = copies * len(read.texts) / len(texts)
    lengths = np.minimum(settings.max_length, 3 + (characters / CHARACTERS_A_TOKEN).astype(np.int64))
    model = SimpleNamespace(dimension=width, width=width, heads=heads, labels=read.names)
    sizes = {
        field: round(times * cache_bytes(lengths, field, model, read.kind == TAGGING, settings.cache_half))
        for field in sorted({field for reads in stages for field in reads})
    }
    kept = kept_fields(sizes, settings.cache_gb * 1e9, stages, layers)
    return CacheEstimate(
        {field: size for field, size in sizes.items() if field in kept}, {field: size for field, size in sizes.items() if field not in kept}
    )


def shown_bytes(size: int) -> str:
    """A number of bytes as MB or GB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _named(fields: Iterable[Field]) -> str:
    """`hidden_states 4 8, logits`: a field's layers behind its name."""
    layers: dict[str, list[str]] = {}
    for name, layer in sorted(fields):
        layers.setdefault(name, []).extend([] if layer is None else [str(layer)])
    return ", ".join(" ".join([name, *numbers]) for name, numbers in layers.items())
