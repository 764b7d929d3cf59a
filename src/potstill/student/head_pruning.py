"""A BERT with fewer attention heads in each layer: those stay that add most to what the layer gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.compact import require_bert
from potstill.models.encoder import EncoderModel
from potstill.models.output import Field
from potstill.runtime.tokens import TokenizedTexts
from potstill.student.reshape import reshaped


def head_importance(model: EncoderModel, tokens: TokenizedTexts) -> Tensor:
    """What each head adds to its layer: the mean over real tokens of ‖W_O^h · c_h‖.

    c_h: (d_k,) is the mean of the values weighted by head h's attention, W_O^h: (d, d_k) its columns of the output
    matrix; a layer's attention is the sum of these over its heads. Michel et al. 2019 measure how much the loss on
    labels would change without the head. This needs texts alone: it is the norm of a weighted vector of Kobayashi et
    al. 2020 ("Attention is not only a weight"), taken of a head as a whole. Only heads of one layer are
    compared.

    A PotstillError from `require_bert` comes through: another network than BERT.

    Args:
        model: a BERT.
        tokens: texts in its pieces.

    Returns:
        (layers, heads) in fp64.
    """
    require_bert(str(model.backbone.config.model_type), "student.keep_heads")
    total = torch.zeros(len(model.layers), model.heads, dtype=torch.float64)
    with _attended(model) as seen:
        for _, output in model.run(tokens, [Field("mean_states", len(model.layers))], hooked=True):
            real = output.mask.bool()  # type: ignore[union-attr]  # states have a mask
            for number, attended in seen.items():
                heads = attended[real].unflatten(-1, (model.heads, -1))  # (real tokens, heads, d_k)
                columns = _output(model, number).weight.unflatten(-1, (model.heads, -1))  # (d, heads, d_k)
                added = torch.einsum("thk,dhk->thd", heads, columns)
                total[number] += added.norm(dim=-1).double().sum(0).cpu()
    return total / len(tokens.ids)


def prune_heads(model: EncoderModel, keep: int, tokens: TokenizedTexts) -> None:
    """Keep the most important heads of each layer of a BERT, in their order; of equally important ones the first.

    The matrices of queries, keys and values lose the rows of the other heads, the output matrix their columns.

    Args:
        model: it is changed in place.
        keep: heads of each layer that stay.
        tokens: texts in its pieces, which importance is measured on.

    Raises:
        PotstillError: more heads than there are; one from `require_bert` comes through: another network than BERT.
    """
    network: Any = model.network
    importance, heads = head_importance(model, tokens), model.heads
    if keep > heads:
        raise PotstillError("student.keep_heads", f"{keep} heads asked of layers that have {heads}", f"ask for {heads} at most")
    own, weights = network.state_dict(), dict[str, Tensor]()
    prefix = "" if network is network.base_model else f"{network.base_model_prefix}."
    for number in range(len(model.layers)):
        kept = importance[number].sort(descending=True, stable=True).indices[:keep].sort().values.to(network.device)
        attention = f"{prefix}encoder.layer.{number}.attention"
        for part in ("query", "key", "value"):
            for name in (f"{attention}.self.{part}.weight", f"{attention}.self.{part}.bias"):
                weights[name] = own[name].unflatten(0, (heads, -1))[kept].flatten(0, 1)
        name = f"{attention}.output.dense.weight"
        weights[name] = own[name].unflatten(1, (heads, -1))[:, kept].flatten(1, 2)
    model.network = reshaped(network, weights, num_attention_heads=keep)


@contextmanager
def _attended(model: EncoderModel) -> Iterator[dict[int, Tensor]]:
    """Within the block each forward pass leaves what the layers' output matrices read, heads side by side: number → (b, l, heads · d_k)."""
    seen: dict[int, Tensor] = {}

    def watch(number: int) -> Any:
        return _output(model, number).register_forward_pre_hook(lambda module, inputs: seen.__setitem__(number, inputs[0]))

    hooks = [watch(number) for number in range(len(model.layers))]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _output(model: EncoderModel, number: int) -> Any:
    layer: Any = model.layers[number]
    return layer.attention.output.dense
