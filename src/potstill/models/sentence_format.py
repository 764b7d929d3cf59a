"""sentence-transformers' folder format: reading what a folder says, writing what ours says.

Written by hand in the form that every release since 2 reads: the library itself would write
class paths that only its newest major version knows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from potstill.errors import PotstillError

# The activations that a Dense module may name, by class name; nothing is imported by a name out of a file.
ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}
MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


@dataclass(frozen=True)
class Layout:
    """What a folder says about the way from token vectors to a text's vector; None where it is silent."""

    pooling: str | None = None
    normalize: bool = True
    max_length: int | None = None
    dense: list[nn.Module] = field(default_factory=list)


def read(folder: Path) -> Layout:
    """Read modules.json and what it names; an empty Layout for a plain transformers folder.

    Raises:
        PotstillError: a module, a pooling or an activation that this package does not know.
    """
    if not (folder / "modules.json").is_file():
        return Layout()
    pooling, normalize, dense = None, False, []
    for module in _json(folder / "modules.json"):
        kind, path = str(module.get("type", "")).rpartition(".")[2], folder / str(module.get("path", ""))
        if kind == "Pooling":
            pooling = _pooling(path)
        elif kind == "Dense":
            dense += _dense(path)
        elif kind == "Normalize":
            normalize = True
        elif kind not in ("Transformer", "Dropout"):
            raise PotstillError(
                folder / "modules.json", f"a module of kind {kind!r} is not supported", "known: Transformer, Pooling, Dense, Normalize"
            )
    settings = folder / "sentence_bert_config.json"
    length = _json(settings).get("max_seq_length") if settings.is_file() else None
    if length is None and (folder / "tokenizer_config.json").is_file():
        length = _json(folder / "tokenizer_config.json").get("model_max_length")
    return Layout(pooling, normalize, int(length) if length and length < 1 << 20 else None, dense)


def write(folder: Path, dimension: int, pooling: str, normalize: bool, max_length: int) -> None:
    """Add sentence-transformers' files to a folder that holds a transformers model."""
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")] + ([("Normalize", "2_Normalize")] if normalize else [])
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (kind, path) in enumerate(modules)
    ]
    _write(folder / "modules.json", rows)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": dimension} | {key: mode == pooling for key, mode in MODES.items()},
    )
    if normalize:
        (folder / "2_Normalize").mkdir()


def _pooling(folder: Path) -> str:
    config = _json(folder / "config.json")
    chosen = [str(config["pooling_mode"])] if "pooling_mode" in config else []
    chosen = chosen or [MODES.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in MODES.values():
        raise PotstillError(
            folder / "config.json", f"pooling {'+'.join(chosen) or 'none'} is not supported", f"known: {', '.join(MODES.values())}"
        )
    return chosen[0]


def _dense(folder: Path) -> list[nn.Module]:
    config = _json(folder / "config.json")
    activation = str(config.get("activation_function", "Identity")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise PotstillError(folder / "config.json", f"activation {activation!r} is not supported", f"known: {', '.join(ACTIVATIONS)}")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise PotstillError(folder, "has no model.safetensors", "save the dense module with safetensors")
    layer = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    layer.load_state_dict({key.removeprefix("linear."): value.float() for key, value in load_file(weights).items()})
    return [layer, ACTIVATIONS[activation]()]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PotstillError(path, f"cannot be read ({error})", "the model folder is not whole: fetch or save it again") from error


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
