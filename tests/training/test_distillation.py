"""One pass of student and objective: gradient caching, logits of the labelled tokens alone, vectors of texts without masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.stages import spec
from potstill.data.masking import mask_tokens
from potstill.losses.base import make_loss
from potstill.losses.mlm import MLM
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes, TermSpec
from potstill.runtime.tokens import tokenize
from potstill.training.distillation import Distillation
from potstill.training.training_set import TrainingSet

WORDS = "river village cat owl house tree stone boat night snow ship lamp door hill road song".split()
TEXTS = [f"the {a} sees {'the old ' * (number % 3)}{b}" for number, a in enumerate(WORDS) for b in WORDS[:6]]


def gradients(folder: Path, cached_tokens: int | None, dropout: float) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss, gradients, and the most that autograd held for the backward pass, in numbers."""
    torch.manual_seed(5)
    student = load_encoder(folder, normalize=False)
    student.set_dropout(dropout)
    objective = Objective([TermSpec("info_nce", make_loss("info_nce", {"temperature": 0.5}), project="mlp")], Sizes(32, 32))
    model = Distillation(student, objective, None, cached_tokens).train()
    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), groups=np.repeat(np.arange(len(TEXTS))[:, None], 2, axis=1))
    batch = {name: torch.from_numpy(value) for name, value in data.batch(np.arange(24), student.pad_id, 1).items()}
    held = 0

    def keep(value: torch.Tensor) -> torch.Tensor:
        nonlocal held
        held += value.numel()
        return value

    torch.manual_seed(6)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss, _ = model(batch, None)
    kept = held
    loss.backward()
    return loss.item(), {name: value.grad for name, value in model.named_parameters() if value.grad is not None}, kept


def test_gradient_caching_gives_the_gradient_of_the_plain_batch(tiny_encoder_dir: Path) -> None:
    whole, expected, plain = gradients(tiny_encoder_dir, None, 0.0)
    for tokens in (200, 500):
        loss, found, kept = gradients(tiny_encoder_dir, tokens, 0.0)
        assert loss == pytest.approx(whole, abs=1e-6)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)
        assert kept < plain / 10  # the pieces' activations are not there any more


def test_gradient_caching_makes_the_same_dropout_again(tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, found, _ = gradients(tiny_encoder_dir, 200, 0.3)
    # The same pieces with their activations kept: nothing is made again.
    monkeypatch.setattr("potstill.training.distillation.checkpoint", lambda function, values, use_reentrant: function(values))
    whole, expected, _ = gradients(tiny_encoder_dir, 200, 0.3)
    assert loss == pytest.approx(whole, abs=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4)


def test_the_vectors_are_of_the_texts_without_masks(tiny_encoder_dir: Path) -> None:
    student = load_encoder(tiny_encoder_dir, lm_head=True, normalize=False)
    terms = [TermSpec("info_nce", make_loss("info_nce", {})), TermSpec("mlm", make_loss("mlm", {}))]
    model = Distillation(student, Objective(terms, Sizes(32, 32, 76)), None)
    tokens = tokenize(student.tokenizer, TEXTS, 64)
    groups = np.repeat(np.arange(4)[:, None], 2, axis=1)

    def hide(ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return mask_tokens(ids, [0, 1, 2, 3, 4], 4, 76, rng, probability=0.5)

    parts = []
    for seed in (1, 2):
        batch = TrainingSet(tokens, masking=hide, masked_beside=True, groups=groups).batch(np.arange(4), 0, seed)
        assert (batch["masked_ids"] != batch["input_ids"]).any()
        parts.append(model({name: torch.from_numpy(value) for name, value in batch.items()}, None)[1])
    assert parts[0]["info_nce"] == parts[1]["info_nce"]
    assert parts[0]["mlm"] != parts[1]["mlm"]


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("cached_tokens", [None, 40])
def test_logits_of_masked_tokens_alone_give_the_same_gradients(tiny_encoder_dir, monkeypatch, beside, cached_tokens):
    """Alone, and beside vectors of the texts without holes; in one piece, and in several."""
    found = []
    for labelled in (True, False):
        monkeypatch.setattr(MLM, "labelled_tokens", labelled)
        torch.manual_seed(2)
        student = load_encoder(tiny_encoder_dir, head="embed" if beside else "mlm", lm_head=beside, seed=1)
        masking = lambda ids, rng: mask_tokens(ids, [0, 1, 2, 3, 4], 4, 100, rng)  # noqa: E731
        data = TrainingSet(tokenize(student.tokenizer, TEXTS[:8], 64), masking=masking, masked_beside=beside)
        batch = {name: torch.from_numpy(value) for name, value in data.batch(np.arange(8), student.pad_id, 0).items()}
        terms = [spec("mlm")] + [spec("info_nce")] * beside
        objective = Objective(terms, Sizes(32, 32, int(student.network.config.vocab_size)))
        student.set_dropout(0.0)
        if beside:
            batch["views"] = torch.tensor(2)  # the second half are the first one's pairs
        model = Distillation(student, objective, None, cached_tokens).train()
        loss, _ = model(batch, None)
        loss.backward()
        found.append((loss.item(), {name: value.grad for name, value in student.named_parameters() if value.grad is not None}))
    (one, ours), (other, theirs) = found
    assert one == pytest.approx(other, rel=1e-5) and ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6)
