"""The model under evaluation: whatever its name names, seen through one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, did_you_mean, shown
from potstill.results import RESULTS_FILE
from potstill.runtime.folder import CARD, EMBED, MODEL, ONNX, QUANTIZED, STUDENT, read_card
from potstill.tasks.base import Predictor

TORCH_INT8: Literal["torch-int8"] = "torch-int8"
PRECISIONS = ("auto", "fp32", "int8", TORCH_INT8)
DENSE = "[0-9]*_*/*.safetensors"  # layers behind the pooling, as sentence-transformers saves them


@dataclass(frozen=True)
class Subject:
    """A model that is open: it can encode, or with a head predict.

    Attributes:
        name: what a table calls it.
        path: the folder that holds its weights.
        role: as results.Record has it.
        kind: "embed", or what its head does.
        labels: names in the order of the logits; none for "embed" and "regression".
        encode: (texts, title of the progress bar) → float32 (n, dimension), in the order of the texts.
            With a head it raises a PotstillError.
        run: (texts, title) → what the model is for: vectors, or logits as `Predictor` has them.
        files: weights, by name → bytes.
        parameters: all, of which `embedding_parameters` are in the embedding tables.
    """

    name: str
    path: Path
    format: Literal["torch", "onnx"]
    role: Literal["model", "student", "onnx", "int8", "torch-int8"]
    kind: str
    labels: list[str]
    encode: Callable[..., NDArray[np.float32]]
    run: Callable[..., Any]
    files: dict[str, int]
    parameters: int
    embedding_parameters: int
    dimension: int

    @property
    def predict(self) -> Predictor | None:
        """The head, None of a model without one."""
        return None if self.kind == EMBED else Predictor(self.labels, self.kind, self.run)


def open_subject(
    name: str | Path, precision: str = "auto", threads: int | None = None, *, pooling: str | None = None, max_length: int | None = None
) -> Subject:
    """Open a model for evaluation; an ONNX one without importing torch.

    Args:
        name: an exported ONNX folder; a run folder, of which the file that ships is taken: its
            onnx/, else its student/; a folder of transformers or sentence-transformers; a hub name.
        precision: the ONNX file: "int8", "fp32", or "auto", which is int8 where there is one. "torch-int8":
            the torch model (of a run, its student), quantised by torch while it is opened.
        threads: of torch (for the whole process) or onnxruntime; default theirs.
        pooling, max_length: of a torch model, instead of what its folder says.

    Raises:
        PotstillError: nothing of that name, no weights in it, weights that cannot be loaded, or a
            pooling for an exported file, whose graph has its own.
    """
    if precision not in PRECISIONS:
        raise PotstillError("precision", f"unknown value {shown(precision)}", did_you_mean(precision, PRECISIONS))
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise PotstillError(name, "is a file", "name the folder that holds the model")
        return _open_torch(str(name), str(name), "model", precision, threads, pooling, max_length)  # a hub name, or the error about it
    if (precision == TORCH_INT8 or pooling is not None) and (folder / STUDENT).is_dir():
        folder = folder / STUDENT
    if _is_exported(folder):
        if precision == TORCH_INT8:
            raise PotstillError(name, "holds no torch model for torch to quantise", "name the run or the model that it was exported from")
        if pooling is not None:
            raise PotstillError(name, "is exported, its pooling inside", "name the run or the model that it was exported from")
        return _open_onnx(folder, _folder_name(folder), precision, threads)
    # A hub folder too may hold onnx/, in a form of its own; its config.json tells it from a run.
    if (folder / "config.json").is_file():
        role: Literal["model", "student"] = "student" if folder.name == STUDENT else "model"
        return _open_torch(str(folder), _folder_name(folder), role, precision, threads, pooling, max_length)
    if _is_exported(folder / ONNX):
        return _open_onnx(folder / ONNX, _folder_name(folder), precision, threads)
    if (folder / STUDENT).is_dir():
        return _open_torch(str(folder / STUDENT), _folder_name(folder), "student", precision, threads)
    if (folder / RESULTS_FILE).is_file():
        raise PotstillError(name, f"is a run folder without {ONNX}/ and {STUDENT}/", "train it again, or name its model's folder")
    raise PotstillError(name, "holds no model: neither config.json nor model.onnx", "name a run, model or exported ONNX folder")


def _open_onnx(folder: Path, name: str, precision: str, threads: int | None) -> Subject:
    from potstill.runtime.encoder import Encoder

    encoder = Encoder(folder, precision=precision, threads=threads)  # type: ignore[arg-type]
    card = read_card(folder)

    def encode(texts: Sequence[str], title: str = "") -> NDArray[np.float32]:
        return encoder.encode(texts, title=title)

    def run(texts: Sequence[Any], title: str = "") -> Any:
        return encoder.run(texts, title=title)

    return Subject(
        name=name,
        path=folder,
        format="onnx",
        role="int8" if encoder.file.name == QUANTIZED else "onnx",
        kind=encoder.kind,
        labels=encoder.labels,
        encode=encode,
        run=run,
        files=_sizes(folder, [f"{encoder.file.name}*"]),  # *: weights beyond 2 GB lie beside the graph
        parameters=card.parameters,
        embedding_parameters=card.embedding_parameters,
        dimension=encoder.dimension,
    )


def _open_torch(
    source: str,
    name: str,
    role: Literal["model", "student"],
    precision: str,
    threads: int | None,
    pooling: str | None = None,
    max_length: int | None = None,
) -> Subject:
    if precision == "int8":
        raise PotstillError(
            source, "has no int8 file: it is no exported ONNX folder", "export it first: potstill export MODEL --out DIR --int8"
        )
    from potstill.models.source import model_folder

    folder = model_folder(source)  # before torch: a wrong name is told at once
    try:
        import torch
    except ImportError as error:
        raise PotstillError(source, "is a torch model, and torch is not installed", "pip install 'potstill[train]'") from error
    from potstill.models.loading import load_encoder

    if threads:
        torch.set_num_threads(threads)
    model = load_encoder(folder, pooling=pooling, max_length=max_length)
    if pooling is not None and model.kind != EMBED:
        raise PotstillError(source, "has a head, which reads what its own architecture gives it", "leave the pooling out")

    def encode(texts: Sequence[str], title: str = "") -> NDArray[np.float32]:
        return model.encode(texts, title=title)

    def predict(texts: Sequence[Any], title: str = "") -> Any:
        return model.predict(texts, title=title)

    embedding, encoder = model.parameter_counts()
    files = _sizes(folder, ["*.safetensors", DENSE])
    if precision == TORCH_INT8:
        from potstill.models.torch_dynamic import quantize_linears, stored_bytes

        saved = model.backbone if model.kind == EMBED else model.network
        files = {"model.safetensors, int8": stored_bytes(saved)} | _sizes(folder, [DENSE])
        quantize_linears(model)
    return Subject(
        name=name,
        path=folder,
        format="torch",
        role=TORCH_INT8 if precision == TORCH_INT8 else role,
        kind=model.kind,
        labels=model.labels,
        encode=encode,
        run=encode if model.kind == EMBED else predict,
        files=files,
        parameters=embedding + encoder,
        embedding_parameters=embedding,
        dimension=model.dimension,
    )


def _is_exported(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (CARD, MODEL, QUANTIZED))


def _folder_name(folder: Path) -> str:
    """The folder's name, with its run's where the name alone says nothing."""
    folder = folder.absolute()
    return f"{folder.parent.name}/{folder.name}" if folder.name in (ONNX, STUDENT) else folder.name


def _sizes(folder: Path, patterns: Sequence[str]) -> dict[str, int]:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(paths)}
