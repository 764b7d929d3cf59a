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
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.files import read_json
from potstill.models.pooling import POOLINGS, WEIGHTED

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel

# The activations that a Dense module may name, by class name; nothing is imported by a name out of a file.
ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}
TYPES = "sentence_transformers.models"
MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


@dataclass(frozen=True)
class Layout:
    """What a folder says about the way from token vectors to a text's vector; None where it is silent."""

    pooling: str | None = None
    normalize: bool = True
    max_length: int | None = None
    dense: list[nn.Module] = field(default_factory=list)
    layer_weights: Tensor | None = None


def read(folder: Path) -> Layout:
    """Read modules.json and what it names; an empty Layout for a plain transformers folder.

    Raises:
        PotstillError: a module, a pooling or an activation that this package does not know.
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


def write(folder: Path, model: EncoderModel) -> None:
    """Add sentence-transformers' files to a folder that holds a transformers model.

    Means of several layers, and one layer that is not the last, are its WeightedLayerPooling. What
    its own modules cannot say (the greatest value of several layers, layers one after the other) is
    a LayerPooling, for which this package must be installed where the folder is loaded.
    """
    pooling, total = POOLINGS[model.pooling], len(model.layers)
    numbers = pooling.numbers(total)
    dimension = pooling.width(model.width)
    modules: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = []
    first = "Transformer" if total else "StaticEmbedding"
    if not total:
        pass  # its pooling is its own
    elif pooling.reduce == "concat" or (pooling.reduce == "max" and len(numbers) > 1):
        modules.append(("LayerPooling", {"pooling": model.pooling, "embedding_dimension": dimension}, {}))
    else:
        if pooling.layers != "last":
            weights = torch.tensor([float(number in numbers) for number in range(total + 1)])
            own = weights if model.layer_weights is None else model.layer_weights.detach().cpu()
            settings = {"word_embedding_dimension": model.width, "layer_start": 0, "num_hidden_layers": total}
            modules.append(("WeightedLayerPooling", settings, {"layer_weights": own.contiguous()}))
        reduce = "mean" if pooling.reduce == WEIGHTED else pooling.reduce
        modes = {key: mode == reduce for key, mode in MODES.items()}
        modules.append(("Pooling", {"word_embedding_dimension": dimension} | modes, {}))
    modules += [_dense_module(layer, activation) for layer, activation in _dense_pairs(model.dense)]
    if model.normalize:
        modules.append(("Normalize", {}, {}))
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
    if total:
        _write(folder / "sentence_bert_config.json", {"max_seq_length": model.max_length, "do_lower_case": False})


def _dense_pairs(dense: Iterable[nn.Module]) -> list[tuple[nn.Linear, nn.Module]]:
    """Linear layers and the activation behind each."""
    modules = list(dense)
    return [
        (module, modules[number + 1] if number + 1 < len(modules) and not isinstance(modules[number + 1], nn.Linear) else nn.Identity())
        for number, module in enumerate(modules)
        if isinstance(module, nn.Linear)
    ]


def _dense_module(layer: nn.Linear, activation: nn.Module) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
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
    """The pooling that a WeightedLayerPooling and the Pooling behind it make together."""
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
    """(layers + 1,) of a WeightedLayerPooling, 0 for the layers below its first."""
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
