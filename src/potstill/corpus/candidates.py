"""Words that a masked language model predicts in the place of a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from potstill.corpus.words import replaceable, whole_words
from potstill.errors import PotstillError
from potstill.machine.progress import progress
from potstill.models.encoder import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS
from potstill.runtime.batching import length_batches
from potstill.runtime.folder import ATTENTION_MASK, INPUT_IDS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CHUNK = 256  # texts whose masked copies are batched together: enough of like length, and little memory


@torch.inference_mode()
def masked_candidates(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    k: int = 15,
    *,
    max_length: int = 256,
    batch_tokens: int | None = None,
    title: str = "",
) -> list[list[list[str]]]:
    """The k most likely words in the place of each replaceable word of each text.

    The model reads `[CLS] text with the word masked [SEP] text [SEP]`. The second copy shows it the
    word, so that it predicts words of similar meaning and not any word that fits. Only whole words
    are candidates, and never the word itself, which would mostly be the most likely one. A word of
    several pieces, or one that was cut off, has no candidates.

    Args:
        network: from AutoModelForMaskedLM, on the device where it runs; it is in eval mode during the call.
        tokenizer: its fast tokenizer.
        texts: n texts.
        k: candidates of a word.
        max_length: the most tokens of both copies together; each copy is cut to half of it.
        batch_tokens: tokens of a batch with its padding; default: by the device.
        title: what the progress bar says.

    Returns:
        For each text, for each word that `replaceable` finds in it, the candidates, the most likely
        first.

    Raises:
        PotstillError: the tokenizer has no mask token, no piece of it is a whole word, or the network has no head over the
            vocabulary.
    """
    if tokenizer.mask_token_id is None:
        raise PotstillError("augment", "the model's tokenizer has no mask token", "take neighbours in the embedding table instead")
    if network.get_output_embeddings() is None:
        raise PotstillError("augment", "the model has no masked-language-model head", "take neighbours in the embedding table instead")
    device = next(network.parameters()).device
    batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS)
    words = whole_words(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    if not words:
        raise PotstillError("augment", "no piece of the model's vocabulary is a whole word", "leave augmentation out")
    allowed = torch.tensor(list(words), device=device)
    names = list(words.values())
    found: list[list[list[str]]] = []
    was_training = network.training
    network.eval()
    try:
        with progress(title, len(texts)) as advance:
            for start in range(0, len(texts), CHUNK):
                chunk = texts[start : start + CHUNK]
                found += _chunk(network, tokenizer, chunk, k, max_length, batch_tokens, allowed, names)
                advance(len(chunk))
    finally:
        network.train(was_training)
    return found


def _chunk(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    k: int,
    max_length: int,
    batch_tokens: int,
    allowed: torch.Tensor,
    names: list[str],
) -> list[list[list[str]]]:
    spans = [replaceable(text) for text in texts]
    found: list[list[list[str]]] = [[[] for _ in row] for row in spans]
    encoded = tokenizer(
        list(texts), list(texts), truncation="longest_first", max_length=max_length, return_offsets_mapping=True, return_attention_mask=True
    )
    places = [  # (text, number of the word in it, its token), one for each word of a single piece
        (number, order, token)
        for number, row in enumerate(spans)
        for order, token in enumerate(_single_pieces(texts[number], row, encoded["offset_mapping"][number], encoded.sequence_ids(number)))
        if token is not None
    ]
    for rows in length_batches([len(encoded["input_ids"][number]) for number, _, _ in places], batch_tokens):
        batch = [places[row] for row in rows]
        keys = [key for key in dict.fromkeys([*tokenizer.model_input_names, ATTENTION_MASK]) if key in encoded]
        # By hand, and at the right: a tokenizer may pad at the left, where tokens have other places, or name no padding piece.
        padding = dict.fromkeys(keys, 0) | {INPUT_IDS: tokenizer.pad_token_id or network.config.pad_token_id or 0}
        inputs = {key: pad_sequence([torch.tensor(encoded[key][number]) for number, _, _ in batch], True, padding[key]) for key in keys}
        at = (torch.arange(len(batch)), torch.tensor([token for _, _, token in batch]))
        inputs[INPUT_IDS][at] = tokenizer.mask_token_id
        scores = _logits_at(network, {key: value.to(allowed.device) for key, value in inputs.items()}, at)[:, allowed].float()
        # Room for the word itself in small and large letters.
        best = scores.topk(min(k + 3, len(names)), dim=-1).indices.cpu().numpy()
        for (number, order, _), row in zip(batch, best):
            start, end = spans[number][order]
            found[number][order] = _others(row, names, texts[number][start:end])[:k]
    return found


def _logits_at(network: PreTrainedModel, inputs: dict[str, torch.Tensor], at: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Logits (b, V) of one token of each row. The decoder reads that token alone: over all tokens it costs more than a small encoder."""

    def pick(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0][at][:, None], *args[1:])  # (b, l, d) → (b, 1, d)

    hook = network.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        return network(**inputs).logits[:, 0]
    finally:
        hook.remove()


def _others(best: np.ndarray, names: list[str], word: str) -> list[str]:
    return [names[number] for number in best if names[number].lower() != word.lower()]


def _single_pieces(
    text: str, spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]], sides: Sequence[int | None]
) -> list[int | None]:
    """The token of the first copy that each word is, or None where it is several or was cut off."""
    tokens: dict[tuple[int, int], int] = {}
    for token, ((start, end), side) in enumerate(zip(offsets, sides)):
        if side == 0:
            # SentencePiece counts the space before a word in.
            tokens[(start + text[start:end].startswith(" "), end)] = token
    return [tokens.get(span) for span in spans]
