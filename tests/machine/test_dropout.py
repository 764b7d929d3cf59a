"""Masks out of few bits are what dropout asks for, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import dropout

from potstill.machine.dropout import quick_masks


def drawn(p: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(300, 401, dtype=dtype), p, training=True)


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
        assert float(pair.float().mean()) == pytest.approx(p * p, abs=0.004)


def test_a_seed_gives_its_masks_again_and_another_one_others() -> None:
    with quick_masks():
        first, again, other = drawn(0.1), drawn(0.1), drawn(0.1, seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_gradient_passes_where_the_number_stood() -> None:
    values = torch.ones(50, 7).t().requires_grad_()  # not contiguous
    with quick_masks():
        kept = dropout(values, 0.5, training=True)
        kept.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, kept.detach())


@pytest.mark.parametrize("p", [0.0, 1.0, 0.99999999])
def test_the_ends_of_the_scale(p: float) -> None:
    mask = torch.empty(1000)
    with quick_masks():
        assert float(mask.bernoulli_(p).mean()) == (0.0 if p == 0 else 1.0)


def test_behind_the_block_torch_draws_as_before() -> None:
    before = drawn(0.1)
    with pytest.raises(KeyError), quick_masks():
        assert not torch.equal(drawn(0.1), before)
        raise KeyError
    assert torch.equal(drawn(0.1), before)
    with quick_masks():  # and once more
        pass
    assert torch.equal(drawn(0.1), before)
