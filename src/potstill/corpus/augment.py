"""More rows of a labelled task: words replaced by others that may stand there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.corpus.read import Corpus
from potstill.machine.cache import cached_json
from potstill.models.source import model_folder
from potstill.recipe.recipe import Augment
from potstill.registry import MLM

if TYPE_CHECKING:
    import torch

    from potstill.models.encoder import EncoderModel


def augmented(corpus: Corpus, wanted: Augment, teacher: EncoderModel, folder: Path, seed: int, device: torch.device) -> Corpus:
    """More rows of a labelled task: words replaced by others that may stand there, the label kept.

    What may replace a word is kept in the cache: it is slow to find and serves every student.

    Args:
        teacher: whose embedding table says which words are neighbours, unless a language model is asked.
        folder: the teacher's.
        seed: of what is replaced by what.
        device: that a language model runs on.
    """
    import numpy as np

    from potstill.corpus.replace import augment

    if wanted.model is None:
        settings = {"augment": "neighbours", "candidates": wanted.candidates}
        candidates: Any = cached_json("neighbours.json", folder, [], settings, lambda: _neighbours(teacher, wanted.candidates))
    else:
        sides = list(dict.fromkeys(side for text in corpus.texts for side in ([text] if isinstance(text, str) else text)))
        model = model_folder(wanted.model)
        settings = {"augment": "masked", "candidates": wanted.candidates}
        found = cached_json("masked.json", model, sides, settings, lambda: _masked(model, sides, wanted.candidates, device))
        candidates = dict(zip(sides, found, strict=True)).__getitem__
    rows = list(augment(corpus.texts, candidates, probability=wanted.probability, copies=wanted.copies, seed=seed))
    numbers = np.array([number for number, _ in rows])
    labels = corpus.labels[numbers]  # of an array: words that are tagged are never replaced
    has_label = np.diff(numbers, prepend=-1) > 0  # a row comes before its variants
    if corpus.has_label is not None:
        has_label &= corpus.has_label[numbers]
    return replace(corpus, texts=[text for _, text in rows], labels=labels, has_label=has_label)


def _neighbours(teacher: EncoderModel, count: int) -> dict[str, list[str]]:
    from potstill.corpus.replace import embedding_neighbours

    pieces = teacher.hf_tokenizer.convert_ids_to_tokens(list(range(len(teacher.hf_tokenizer))))
    weight: Any = teacher.backbone.get_input_embeddings().weight
    return embedding_neighbours(weight.detach().float().cpu().numpy()[: len(pieces)], pieces, count, "neighbours")


def _masked(folder: Path, texts: Sequence[str], count: int, device: Any) -> list[list[list[str]]]:
    from potstill.corpus.candidates import masked_candidates
    from potstill.models.loading import load_encoder

    model = load_encoder(folder, head=MLM).to(device)
    return masked_candidates(model.network, model.hf_tokenizer, texts, count, title="words in place")
