"""Dynamic masking for masked-language-model training: other tokens at every step."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

IGNORED = -100  # the label of a token that no loss reads
MASKED, RANDOM = 0.8, 0.1  # shares of the chosen tokens that become the mask, or any token; the rest stay as they are


def mask_tokens(
    input_ids: np.ndarray,
    special: Collection[int] | np.ndarray,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    probability: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide some tokens of a batch: (ids to read, labels to guess), both (b, l) int64.

    Every token that is not special is chosen alike. Of the chosen 80 % become the mask, 10 % a
    random ordinary token, and 10 % stay, so that the model cannot trust what it reads.
    At least one token is chosen, because a mean over none is NaN; only where a batch holds
    nothing but special tokens are all labels IGNORED.

    Args:
        input_ids: (b, l) int64; not changed.
        special: ids never chosen and never put in: padding, [CLS], [SEP], the mask itself.
        mask_id: id of the mask token.
        vocab_size: random tokens are drawn below it.
        rng: make it of (seed, step), `np.random.default_rng([seed, step])`: then a resumed run masks as the first did.
        probability: of a token to be chosen.
    """
    ordinary = np.ones(max(vocab_size, int(input_ids.max(initial=0)) + 1), dtype=bool)
    ordinary[[number for number in special if number < len(ordinary)]] = False
    allowed = ordinary[input_ids]  # (b, l)
    chosen = (rng.random(input_ids.shape) < probability) & allowed
    if not chosen.any() and allowed.any():
        chosen.flat[rng.choice(np.flatnonzero(allowed))] = True
    labels = np.where(chosen, input_ids, IGNORED)
    fate = rng.random(input_ids.shape)
    words = np.flatnonzero(ordinary[:vocab_size])
    masked = np.where(chosen & (fate < MASKED), mask_id, input_ids)
    replaced = chosen & (fate >= MASKED) & (fate < MASKED + RANDOM)
    masked[replaced] = rng.choice(words, size=int(replaced.sum()))
    return masked, labels
