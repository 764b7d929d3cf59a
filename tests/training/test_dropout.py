"""Masks out of few bits are what dropout asks for, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from potstill.training.dropout import MASKS, draws_quick, quick_masks


def drawn(p: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.nn.functional.dropout(torch.ones(300, 401, dtype=dtype), p, training=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_numbers_fall_as_are_asked_for_and_the_others_grow(p: float, dtype: torch.dtype) -> None:
    with quick_masks():
        found = drawn(p, dtype).float()
    fallen = found == 0
    assert float(fallen.float().mean()) == pytest.approx(p, abs=0.005)
    assert found[~fallen].unique().tolist() == pytest.approx([1 / (1 - p)], rel=0.01)  # bf16 has 8 bits
    # Neighbours and columns are independent: both fall as often as chance has it.
    for pair in (fallen[:, 1:] & fallen[:, :-1], fallen[1:] & fallen[:-1], fallen[:, 4:] & fallen[:, :-4]):
        assert float(pair.float().mean()) == pytest.approx(p * p, abs=0.01)


def test_a_seed_gives_its_masks_again_and_another_one_others() -> None:
    with quick_masks():
        first, again, other = drawn(0.1), drawn(0.1), drawn(0.1, seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_gradient_passes_where_the_number_stood() -> None:
    values = torch.ones(50, 7).t().requires_grad_()  # not contiguous
    with quick_masks():
        kept = torch.nn.functional.dropout(values, 0.5, training=True)
        kept.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, kept.detach())


@pytest.mark.parametrize(("p", "left"), [(0.0, 1), (1e-9, 1), (1.0, 0)])
def test_the_ends_of_the_scale(p: float, left: int) -> None:
    with quick_masks():
        found = drawn(p)
    assert float(found.mean()) == pytest.approx(left, abs=1e-4)


def test_nothing_is_drawn_in_evaluation() -> None:
    state = torch.get_rng_state()
    with quick_masks():
        assert torch.equal(torch.nn.functional.dropout(torch.ones(9), 0.5, training=False), torch.ones(9))
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_and_attention_of_transformers_draw_them() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=9)
    model = BertModel(config, add_pooling_layer=False).train()
    model.set_attn_implementation("eager")
    called = []
    with quick_masks():
        quick = torch.nn.functional.dropout
        torch.nn.functional.dropout = lambda *given, **named: called.append(1) or quick(*given, **named)
        model(torch.ones(2, 5, dtype=torch.int64))
    assert len(called) == 4  # behind the embeddings, in attention, and behind each half of the layer


def test_a_run_goes_on_with_the_masks_that_its_checkpoints_were_made_with(tmp_path: Path) -> None:
    assert draws_quick(tmp_path / "checkpoints")  # a run that begins
    for place in ("0-first/checkpoint-8", "0-first/checkpoint-12", "1-second/checkpoint-4"):
        (tmp_path / place).mkdir(parents=True)
    assert not draws_quick(tmp_path)
    (tmp_path / place / MASKS).touch()
    assert draws_quick(tmp_path)  # the others are half removed


def test_behind_the_block_torch_draws_as_before() -> None:
    before = drawn(0.1)
    with pytest.raises(KeyError), quick_masks():
        assert not torch.equal(drawn(0.1), before)
        raise KeyError
    assert torch.equal(drawn(0.1), before)
    with quick_masks(False):
        assert torch.equal(drawn(0.1), before)
