"""Dynamic masking for masked-language-model training: a text is masked differently in every epoch."""

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
    """Mask some tokens of a batch, as BERT does.

    Every token that is not special is chosen with the same probability. Of the chosen tokens 80 %
    become the mask token, 10 % become a random ordinary token, and 10 % stay, so that the model
    cannot rely on a token that it reads. At least one token is chosen, because the mean over no token
    is NaN. Only where a batch holds nothing but special tokens are all labels IGNORED.
    Source: Devlin et al. 2019, BERT, section 3.1 and appendix A.1.

    Args:
        input_ids: (b, l) int64; it is not changed.
        special: ids that are never chosen and never put in: padding, [CLS], [SEP], the mask token.
        mask_id: id of the mask token.
        vocab_size: random tokens are drawn below it.
        rng: of the run's seed and the batch's number in the run's plan. Then a text is masked
            differently in every epoch, and a resumed run draws the masks of an unbroken one.
        probability: that a token is chosen.

    Returns:
        The ids to read and the labels to predict, both (b, l) int64; the label of a token that is not
        chosen is IGNORED.
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
