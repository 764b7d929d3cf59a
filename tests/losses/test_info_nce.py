"""InfoNCE against loops, the published way of writing it, and the worked examples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.losses.info_nce import InfoNCE


def _batch(views: int, same: list[int]) -> dict[str, Tensor]:
    return {"views": torch.tensor(views), "rows": torch.tensor(same)}


def _two_views(count: int) -> dict[str, Tensor]:
    return _batch(2, [*range(count), *range(count)])


@pytest.mark.parametrize(("temperature", "expected"), [(0.05, 0.00016775945403203237), (0.5, 0.27750070341805827)])
def test_worked_example(temperature: float, expected: float) -> None:
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    assert InfoNCE(temperature)(z, None, _two_views(2)).item() == pytest.approx(expected, rel=1e-6)


def test_equal_texts_are_no_negatives() -> None:
    # The first two texts are equal: counted as negatives the loss would be 2/3 of ln 2.
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64).repeat(2, 1)
    assert InfoNCE()(z, None, _batch(2, [0, 0, 2, 0, 0, 2])).item() == pytest.approx(2.7482040347119132e-09, rel=1e-6)
    assert InfoNCE()(z, None, _two_views(3)).item() == pytest.approx(0.4620981224344504, rel=1e-6)
    # As the formula is printed they are.
    kept = make_loss("info_nce", {"duplicates": "keep"})
    assert kept(z, None, _batch(2, [0, 0, 2, 0, 0, 2])).item() == pytest.approx(0.4620981224344504, rel=1e-6)
    with pytest.raises(PotstillError, match="duplicates"):
        make_loss("info_nce", {"duplicates": "maybe"})


def test_against_loops_with_hard_negatives() -> None:
    torch.manual_seed(0)
    count, weight, temperature = 4, 0.7, 0.1
    z = torch.randn(3 * count, 5, dtype=torch.float64)
    # the negative of text 1 has the words of text 2's positive; text 3 stands twice among the anchors' pairs
    same = [0, 1, 2, 3, 10, 11, 12, 10, 20, 12, 22, 23]
    total = 0.0
    for i in range(count):
        terms = []
        for j in range(2 * count):
            other = count + j
            if j != i and same[other] in (same[i], same[count + i]):
                continue
            cosine = float(torch.nn.functional.cosine_similarity(z[i], z[other], dim=0))
            terms.append((math.exp(cosine / temperature + (weight if j == count + i else 0.0)), j))
        total -= math.log(next(value for value, j in terms if j == i) / sum(value for value, _ in terms))
    found = InfoNCE(temperature, weight)(z, None, _batch(3, same))
    assert found.item() == pytest.approx(total / count, rel=1e-9)


def test_a_view_gets_a_gradient_from_every_text() -> None:
    z = torch.randn(6, 4, requires_grad=True)
    InfoNCE()(z, None, _two_views(3)).backward()
    assert z.grad is not None and (z.grad.abs().sum(-1) > 0).all()


def test_nothing_to_tell_apart() -> None:
    with pytest.raises(PotstillError, match="a batch of 1 has nothing to tell apart"):
        InfoNCE()(torch.randn(2, 4), None, _two_views(1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(PotstillError, match="temperature"):
        make_loss("info_nce", {"temperature": temperature})
