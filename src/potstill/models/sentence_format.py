"""sentence-transformers' folder format: reading what a folder says, writing what ours says.

Written by hand in the form that every release since 2 reads: the library itself would write
class paths that only its newest major version knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.machine.files import read_json
from potstill.models.pooling import POOLINGS, WEIGHTED

# The activations that a Dense module may name, by class name; nothing is imported by a name out of a file.
ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}
TYPES = "sentence_transformers.models"
Module = tuple[str, dict[str, Any], dict[str, Tensor]]  # the library's class, its configuration, its weights
MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


@dataclass(frozen=True)
class Layout:
    """The way from token vectors to a text's vector, as a folder says it.

    Attributes:
        pooling: a name of models/pooling.py; None where the folder is silent.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to; None where the folder is silent.
        dense: layers between pooling and normalisation, each linear one with its activation behind it.
        layer_weights: (layers + 1,) of the pooling "weighted"; None of another.
    """

    pooling: str | None = None
    normalize: bool = True
    max_length: int | None = None
    dense: list[nn.Module] = field(default_factory=list)
    layer_weights: Tensor | None = None


def read(folder: Path) -> Layout:
    """Read modules.json and what it names; an empty Layout for a plain transformers folder.

    Raises:
        PotstillError: a module, a pooling or an activation that this package does not know; a file that cannot be read;
            weights that are not in safetensors.
    """
    if not (folder / "modules.json").is_file():
        return Layout()
    pooling, normalize, dense = None, False, []
    weights: Tensor | None = None
    for module in read_json(folder / "modules.json"):
        kind, path = str(module.get("type", "")).rpartition(".")[2], folder / str(module.get("path", ""))
        if kind == "Pooling":
            pooling = _pooling(path)
        elif kind == "WeightedLayerPooling":
            weights = _layer_weights(path)
        elif kind == "StaticEmbedding":
            pooling = "mean"
        elif kind == "LayerPooling":
            pooling = str(read_json(path / "config.json").get("pooling"))
        elif kind == "Dense":
            dense += _dense(path)
        elif kind == "Normalize":
            normalize = True
        elif kind not in ("Transformer", "Dropout"):
            known = "Transformer, StaticEmbedding, Pooling, WeightedLayerPooling, Dense, Normalize"
            raise PotstillError(folder / "modules.json", f"a module of kind {kind!r} is not supported", f"known: {known}")
    if weights is not None:
        pooling = _layers_named(folder, pooling, weights)
    settings = folder / "sentence_bert_config.json"
    length = read_json(settings).get("max_seq_length") if settings.is_file() else None
    if length is None and (folder / "tokenizer_config.json").is_file():
        length = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return Layout(pooling, normalize, int(length) if length and length < 1 << 20 else None, dense, weights)


def write(folder: Path, layout: Layout, layers: int, width: int) -> None:
    """Add sentence-transformers' files to a folder that holds a transformers model.

    Args:
        folder: of the model.
        layout: with a pooling and a `max_length`.
        layers: of the network; one without any is written as a StaticEmbedding.
        width: of its hidden states.
    """
    modules = _pooling_modules(layout, layers, width) if layers else []  # a StaticEmbedding's pooling is its own
    modules += [_dense_module(layer, activation) for layer, activation in _dense_pairs(layout.dense)]
    if layout.normalize:
        modules.append(("Normalize", {}, {}))
    first = "Transformer" if layers else "StaticEmbedding"
    rows = [{"idx": 0, "name": "0", "path": "", "type": f"{TYPES}.{first}"}]
    for number, (kind, settings, tensors) in enumerate(modules, start=1):
        place = folder / f"{number}_{kind}"
        place.mkdir()
        if settings:
            _write(place / "config.json", settings)
        if tensors:
            save_file(tensors, place / "model.safetensors")
        types = f"{__package__}.layer_pooling" if kind == "LayerPooling" else TYPES
        rows.append({"idx": number, "name": str(number), "path": place.name, "type": f"{types}.{kind}"})
    _write(folder / "modules.json", rows)
    if layers:
        _write(folder / "sentence_bert_config.json", {"max_seq_length": layout.max_length, "do_lower_case": False})


def _pooling_modules(layout: Layout, layers: int, width: int) -> list[Module]:
    """The modules that pool hidden states as the layout says.

    Means of several layers, and one layer that is not the last, are a WeightedLayerPooling before the Pooling. What the
    library's own modules cannot say (the greatest value of several layers, layers one after the other) is a
    LayerPooling, for which this package must be installed where the folder is loaded.
    """
    assert layout.pooling is not None
    pooling = POOLINGS[layout.pooling]
    numbers, dimension = pooling.numbers(layers), pooling.width(width)
    if pooling.reduce == "concat" or (pooling.reduce == "max" and len(numbers) > 1):
        return [("LayerPooling", {"pooling": layout.pooling, "embedding_dimension": dimension}, {})]
    modules: list[Module] = []
    if pooling.layers != "last":
        weights = torch.tensor([float(number in numbers) for number in range(layers + 1)])
        own = weights if layout.layer_weights is None else layout.layer_weights.detach().cpu()
        settings = {"word_embedding_dimension": width, "layer_start": 0, "num_hidden_layers": layers}
        modules.append(("WeightedLayerPooling", settings, {"layer_weights": own.contiguous()}))
    reduce = "mean" if pooling.reduce == WEIGHTED else pooling.reduce
    modes = {key: mode == reduce for key, mode in MODES.items()}
    return [*modules, ("Pooling", {"word_embedding_dimension": dimension} | modes, {})]


def _dense_pairs(dense: Iterable[nn.Module]) -> list[tuple[nn.Linear, nn.Module]]:
    """Linear layers and the activation behind each."""
    modules = list(dense)
    return [
        (module, modules[number + 1] if number + 1 < len(modules) and not isinstance(modules[number + 1], nn.Linear) else nn.Identity())
        for number, module in enumerate(modules)
        if isinstance(module, nn.Linear)
    ]


def _dense_module(layer: nn.Linear, activation: nn.Module) -> Module:
    kind = type(activation)
    module = "torch.nn.modules.linear" if kind is nn.Identity else "torch.nn.modules.activation"
    settings = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "bias": layer.bias is not None,
        "activation_function": f"{module}.{kind.__name__}",
    }
    return "Dense", settings, {f"linear.{name}": value.detach().cpu().contiguous() for name, value in layer.state_dict().items()}


def _layers_named(folder: Path, reduce: str | None, weights: Tensor) -> str:
    """The pooling that a WeightedLayerPooling and the Pooling behind it make together.

    Raises:
        PotstillError: they make none that this package has.
    """
    chosen = torch.nonzero(weights).flatten().tolist()
    if bool((weights[chosen] == weights[chosen[0]]).all()):
        for name in (name for name, pooling in POOLINGS.items() if pooling.reduce == reduce):
            with suppress(PotstillError):  # a name that asks for more layers than there are
                if POOLINGS[name].numbers(len(weights) - 1) == chosen:
                    return name
    if reduce != "mean":
        raise PotstillError(
            folder / "modules.json", f"WeightedLayerPooling with pooling {reduce} is not supported", "pool the mean, or one layer"
        )
    return WEIGHTED


def _layer_weights(folder: Path) -> Tensor:
    """(layers + 1,) of a WeightedLayerPooling, 0 for the layers below its first.

    Raises:
        PotstillError: its weights are not in safetensors.
    """
    config, file = read_json(folder / "config.json"), folder / "model.safetensors"
    if not file.is_file():
        raise PotstillError(folder, "has no model.safetensors", "save the module with safetensors")
    weights = load_file(file)["layer_weights"].float()
    return torch.cat([torch.zeros(int(config.get("layer_start", 4))), weights])


def _pooling(folder: Path) -> str:
    config = read_json(folder / "config.json")
    chosen = [str(config["pooling_mode"])] if "pooling_mode" in config else []
    chosen = chosen or [MODES.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in MODES.values():
        raise PotstillError(
            folder / "config.json", f"pooling {'+'.join(chosen) or 'none'} is not supported", f"known: {', '.join(MODES.values())}"
        )
    return chosen[0]


def _dense(folder: Path) -> list[nn.Module]:
    config = read_json(folder / "config.json")
    activation = str(config.get("activation_function", "Identity")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise PotstillError(folder / "config.json", f"activation {activation!r} is not supported", f"known: {', '.join(ACTIVATIONS)}")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise PotstillError(folder, "has no model.safetensors", "save the dense module with safetensors")
    layer = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    layer.load_state_dict({key.removeprefix("linear."): value.float() for key, value in load_file(weights).items()})
    return [layer, ACTIVATIONS[activation]()]


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
