"""A sentence-transformers folder, written by hand in the form that its oldest releases read.

The library itself would write class paths that only its newest major version knows. What asks for more than the oldest
release all the same stands in sentence_format.RELEASES.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from potstill.models.layout import Layout, Normalize, ResidualDense, width_behind
from potstill.models.pooling import MODES, SEVERAL, WEIGHTED, pooling_named
from potstill.models.sentence_format import (
    ACTIVATIONS,
    CONFIG,
    MODULES,
    ON_TOKENS,
    OWN_TYPES,
    POOLING_KEYS,
    SETTINGS,
    TRANSFORMER_FILES,
    TYPES,
    WEIGHTS,
)
from potstill.runtime.folder import COSINE

Module = tuple[str, dict[str, Any], dict[str, Tensor]]  # the library's class, its configuration, its weights


def write(folder: Path, layout: Layout, layers: int, width: int) -> None:
    """Add sentence-transformers' files to a folder that holds a transformers model.

    Args:
        folder: of the model.
        layout: with a pooling and a `max_length`.
        layers: of the network; one without any is written as a StaticEmbedding.
        width: of its hidden states.
    """
    modules: list[Module] = []
    if layers:  # a StaticEmbedding's pooling is its own
        pooled = width_behind(layout.token_steps, width, folder)
        modules = _weighted_module(layout, layers, width) + _step_modules(layout.token_steps, ON_TOKENS)
        modules.append(_pooling_module(layout, layers, pooled))
    modules += _step_modules(layout.dense, {})
    first = "Transformer" if layers else "StaticEmbedding"
    rows = [{"idx": 0, "name": "0", "path": "", "type": f"{TYPES}.{first}"}]
    for number, (kind, settings, tensors) in enumerate(modules, start=1):
        place = folder / f"{number}_{kind}"
        place.mkdir()
        if settings:
            _write(place / CONFIG, settings)
        if tensors:
            save_file(tensors, place / WEIGHTS)
        types = OWN_TYPES if kind == "LayerPooling" else TYPES
        rows.append({"idx": number, "name": str(number), "path": place.name, "type": f"{types}.{kind}"})
    _write(folder / MODULES, rows)
    if layers:
        _write(folder / TRANSFORMER_FILES[0], {"max_seq_length": layout.max_length, "do_lower_case": layout.lower_case})
    if layout.prompts or layout.truncated or layout.similarity != COSINE:
        said = {"prompts": dict(layout.prompts), "default_prompt_name": layout.default_prompt_name, "similarity_fn_name": layout.similarity}
        _write(folder / SETTINGS, said | ({"truncate_dim": layout.truncated} if layout.truncated else {}))


def _weighted_module(layout: Layout, layers: int, width: int) -> list[Module]:
    """The module before all others that makes one hidden state of several, or takes one that is not the last; none where it is not needed.

    What the library's own modules cannot say (the greatest value of several layers, layers one after the other) is a
    LayerPooling, for which this package must be installed where the folder is loaded.
    """
    pooling = pooling_named(layout.pooling or "")
    if _of_own_kind(layout, layers) or (pooling.layers == "last" and layout.layer_weights is None):
        return []
    weights = layout.layer_weights
    if weights is None:
        weights = torch.tensor([float(number in pooling.numbers(layers)) for number in range(layers + 1)])
    settings = {"word_embedding_dimension": width, "layer_start": 0, "num_hidden_layers": layers}
    return [("WeightedLayerPooling", settings, {"layer_weights": weights.detach().cpu().contiguous()})]


def _pooling_module(layout: Layout, layers: int, width: int) -> Module:
    """The pooling of token vectors of `width`."""
    pooling = pooling_named(layout.pooling or "")
    if _of_own_kind(layout, layers):
        return "LayerPooling", {"pooling": layout.pooling, "embedding_dimension": pooling.width(width)}, {}
    chosen = ["mean"] if pooling.reduce == WEIGHTED else pooling.reduce.split(SEVERAL)
    settings: dict[str, Any] = {key: mode in chosen for key, mode in POOLING_KEYS.items()}
    if chosen != [mode for mode in MODES if mode in chosen]:  # an order that only newer releases can be told
        settings = {"pooling_mode": chosen}
    return "Pooling", {"word_embedding_dimension": width} | settings | ({} if layout.include_prompt else {"include_prompt": False}), {}


def _of_own_kind(layout: Layout, layers: int) -> bool:
    """Whether the pooling is one that sentence-transformers has no module for."""
    pooling = pooling_named(layout.pooling or "")
    return pooling.reduce == "concat" or (pooling.reduce == "max" and len(pooling.numbers(layers)) > 1)


def _step_modules(steps: Sequence[nn.Module], told: Mapping[str, Any]) -> list[Module]:
    """Steps as the library's modules.

    Args:
        steps: of a Layout; what follows a linear layer and is no module of its own is its activation.
        told: what each has to be told of what it reads and writes.
    """
    found: list[Module] = []
    for step, behind in zip(steps, [*steps[1:], None]):
        write_step = next((WRITERS[kind] for kind in WRITERS if isinstance(step, kind)), None)
        if write_step is not None:
            kind, settings, tensors = write_step(step, behind)
            found.append((kind, settings | dict(told), {name: value.detach().cpu().contiguous() for name, value in tensors.items()}))
    return found


def _write_dense(step: Any, behind: nn.Module | None) -> Module:
    own = isinstance(step, ResidualDense)
    activation: nn.Module = step.activation if own else behind if type(behind).__name__ in ACTIVATIONS and behind else nn.Identity()
    settings = {
        "in_features": step.in_features,
        "out_features": step.out_features,
        "bias": step.bias is not None,
        "activation_function": f"{type(activation).__module__}.{type(activation).__name__}",
    }
    tensors = {name if name.startswith("residual.") else f"linear.{name}": value for name, value in step.state_dict().items()}
    return "Dense", settings | ({"use_residual": True} if own else {}), tensors


def _write_layer_norm(step: Any, behind: nn.Module | None) -> Module:
    return "LayerNorm", {"dimension": step.normalized_shape[0]}, {f"norm.{name}": value for name, value in step.state_dict().items()}


def _write_normalize(step: nn.Module, behind: nn.Module | None) -> Module:
    return "Normalize", {}, {}


# Kind of step → (the step, the one behind it) as a module. An activation is part of the Dense before it.
WRITERS: dict[type[nn.Module], Callable[[Any, nn.Module | None], Module]] = {
    nn.Linear: _write_dense,
    nn.LayerNorm: _write_layer_norm,
    Normalize: _write_normalize,
}


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
