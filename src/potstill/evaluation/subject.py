"""The model under evaluation: whatever its name names, seen through one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, did_you_mean, install, shown
from potstill.machine.files import kind_of_place
from potstill.machine.hardware import require_threads
from potstill.machine.places import place_of_model
from potstill.results import RESULTS_FILE, Role
from potstill.runtime.folder import (
    BUNDLE,
    CONFIG,
    COSINE,
    EMBED,
    MODEL,
    ONNX,
    ONNXRUNTIME,
    QUANTIZED,
    STUDENT,
    TAGGING,
    read_config,
    require_engine,
    require_whole,
)
from potstill.tasks.base import Predictor
from potstill.tasks.labelled.matching import label_order

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from potstill.models.encoder import EncoderModel

TORCH_INT8: Role = "torch-int8"
PRECISIONS = ("auto", "fp32", "int8", TORCH_INT8)
DENSE = "[0-9]*_*/*.safetensors"  # layers behind the pooling, as sentence-transformers saves them


@dataclass(frozen=True)
class Subject:
    """A model that is open: it can encode, or with a head predict.

    Attributes:
        name: what a table calls it.
        path: the folder that holds its weights.
        role: as results.Record has it.
        head: "embed" for none, or what it does.
        labels: names in the order of the logits; none for "embed" and "regression".
        encode: (texts, title of the progress bar) → float32 (n, dimension), in the order of the texts.
            With a head it raises a PotstillError.
        run: (texts, title) → what the model is for: vectors, or logits as `Predictor` has them.
        files: weights, by name → bytes.
        parameters: all, of which `embedding_parameters` are in the embedding tables.
        dimension: width of a vector.
        unit: whether vectors are of unit length.
        similarity: how they are to be compared: one of runtime.folder.SIMILARITIES.
        tokenizer: that every text goes through, as the model was told to read texts.
    """

    name: str
    path: Path
    format: Literal["torch", "onnx"]
    role: Role
    head: str
    labels: list[str]
    encode: Callable[..., NDArray[np.float32]]
    run: Callable[..., Any]
    files: dict[str, int]
    parameters: int
    embedding_parameters: int
    dimension: int
    unit: bool
    tokenizer: Tokenizer
    similarity: str = COSINE

    @property
    def predict(self) -> Predictor | None:
        """The head, None of a model without one."""
        return None if self.head == EMBED else Predictor(self.labels, self.head, self.run)


def open_subject(
    name: str | Path,
    precision: str = "auto",
    threads: int | None = None,
    *,
    pooling: str | None = None,
    max_length: int | None = None,
    engine: str = ONNXRUNTIME,
    device: str = "cpu",
) -> Subject:
    """Open a model for evaluation; an ONNX one without importing torch.

    Args:
        name: an exported ONNX folder or a bundle; a run folder, of which the file that ships is taken: its
            onnx/, else its student/; a folder of transformers or sentence-transformers; one in POTSTILL_MODELS; a hub name.
        precision: the ONNX file: "int8", "fp32", or "auto", which is int8 where there is one. "torch-int8":
            the torch model (of a run, its student), quantised by torch while it is opened.
        threads: of torch (for the whole process) or the engine; default theirs.
        pooling, max_length: of a torch model, instead of what its folder says.
        engine: of an ONNX file: "onnxruntime" or "openvino".
        device: that a torch model runs on, as torch names it.

    Raises:
        PotstillError: nothing of that name, a bundle without its potstill.json, no weights in it, weights that cannot be loaded, a
            pooling or a length for an exported file, which has its own, or another engine for a torch model.
    """
    require_threads(threads)
    require_engine(engine)
    if precision not in PRECISIONS:
        raise PotstillError("precision", f"unknown value {shown(precision)}", did_you_mean(precision, PRECISIONS))
    folder = place_of_model(name)
    kind = kind_of_place(folder)
    if kind != "a folder":
        if kind is not None:
            raise PotstillError(name, f"is {kind}", "name the folder that holds the model")
        # A hub name, or the error about it.
        return _open_torch(str(name), str(name), "model", precision, threads, engine, pooling, max_length, device)
    own = {"pooling": pooling, "max_length": max_length}
    of_torch = precision == TORCH_INT8 or pooling is not None or max_length is not None
    if of_torch and (folder / STUDENT).is_dir():
        folder = folder / STUDENT
    if _is_exported(folder) and not (of_torch and any(folder.glob("*.safetensors"))):  # a bundle holds both
        if precision == TORCH_INT8:
            raise PotstillError(name, "holds no torch model for torch to quantise", "name the run or the model that it was exported from")
        for key, value in own.items():
            if value is not None:
                problem = f"is exported with a {key.replace('_', ' ')} of its own, and {value} is asked"
                raise PotstillError(name, problem, "name the run or the model that it was exported from")
        return _open_onnx(folder, _folder_name(folder), precision, threads, engine)
    if not of_torch:
        require_whole(folder)
    # A hub folder too may hold onnx/, in a form of its own; its config.json tells it from a run.
    if (folder / "config.json").is_file():
        role: Literal["model", "student"] = "student" if folder.name == STUDENT else "model"
        return _open_torch(str(folder), _folder_name(folder), role, precision, threads, engine, pooling, max_length, device)
    if _is_exported(folder / ONNX):
        return _open_onnx(folder / ONNX, _folder_name(folder), precision, threads, engine)
    if (folder / STUDENT).is_dir():
        return _open_torch(str(folder / STUDENT), _folder_name(folder), "student", precision, threads, engine, device=device)
    if (folder / RESULTS_FILE).is_file():
        raise PotstillError(name, f"is a run folder without {ONNX}/ and {STUDENT}/", "train it again, or name its model's folder")
    raise PotstillError(name, "holds no model: neither config.json nor model.onnx", "name a run, model or exported ONNX folder")


def _open_onnx(folder: Path, name: str, precision: str, threads: int | None, engine: str) -> Subject:
    from potstill.runtime.encoder import Encoder

    encoder = Encoder(folder, precision=precision, threads=threads, engine=engine)  # type: ignore[arg-type]
    config = read_config(folder)

    def encode(texts: Sequence[str], title: str = "") -> NDArray[np.float32]:
        return encoder.encode(texts, title=title)

    def run(texts: Sequence[Any], title: str = "") -> Any:
        return encoder.run(texts, title=title)

    return Subject(
        name=name if engine == ONNXRUNTIME else f"{name}, {engine}",
        path=folder,
        format="onnx",
        role="int8" if encoder.file.name == QUANTIZED else "onnx",
        head=encoder.head,
        labels=encoder.labels,
        encode=encode,
        run=run,
        files=_sizes(encoder.file.parent, [f"{encoder.file.name}*"]),  # *: weights beyond 2 GB lie beside the graph
        parameters=config.parameters,
        embedding_parameters=config.embedding_parameters,
        dimension=encoder.dimension,
        unit=config.normalize,
        similarity=config.similarity,
        tokenizer=encoder.tokenizer,
    )


def _open_torch(
    source: str,
    name: str,
    role: Literal["model", "student"],
    precision: str,
    threads: int | None,
    engine: str,
    pooling: str | None = None,
    max_length: int | None = None,
    device: str = "cpu",
) -> Subject:
    if engine != ONNXRUNTIME:
        raise PotstillError(source, f"is a torch model, which {engine} does not run", "export it first: potstill export MODEL --out DIR")
    if precision == "int8":
        raise PotstillError(
            source, "has no int8 file: it is no exported ONNX folder", "export it first: potstill export MODEL --out DIR --int8"
        )
    from potstill.models.source import model_folder

    folder = model_folder(source)  # before torch: a wrong name is told at once
    try:
        import torch
    except ImportError as error:
        raise PotstillError(source, "is a torch model, and torch is not installed", install("train")) from error
    from potstill.models.loading import load_encoder

    if threads:
        torch.set_num_threads(threads)
    model = load_encoder(folder, pooling=pooling, max_length=max_length).to(device)
    if pooling is not None and model.head != EMBED:
        raise PotstillError(source, "has a head, which reads what its own architecture gives it", "leave the pooling out")
    return torch_subject(model, folder, name, role, quantised=precision == TORCH_INT8)


def torch_subject(model: EncoderModel, folder: Path, name: str, role: Role = "model", quantised: bool = False) -> Subject:
    """A torch model that is loaded, opened for evaluation.

    Args:
        folder: where its weights lie.
        name, role: as Subject has them.
        quantised: whether torch is to quantise its linear layers now, in place.
    """

    def encode(texts: Sequence[str], title: str = "") -> NDArray[np.float32]:
        return model.encode(texts, title=title)

    def predict(texts: Sequence[Any], title: str = "") -> Any:
        return model.predict(texts, title=title)

    embedding, encoder = model.parameter_counts()
    files = _sizes(folder, ["*.safetensors", DENSE])
    if quantised:
        from potstill.evaluation.torch_int8 import quantize_linears, stored_bytes

        saved = model.backbone if model.head == EMBED else model.network
        files = {"model.safetensors, int8": stored_bytes(saved)} | _sizes(folder, [DENSE])
        quantize_linears(model)
    return Subject(
        name=name,
        path=folder,
        format="torch",
        role=TORCH_INT8 if quantised else role,
        head=model.head,
        labels=model.labels,
        encode=encode,
        run=encode if model.head == EMBED else predict,
        files=files,
        parameters=embedding + encoder,
        embedding_parameters=embedding,
        dimension=model.dimension,
        unit=model.head == EMBED and model.normalize,
        similarity=model.layout.similarity,
        tokenizer=model.tokenizer,
    )


def averaged(subjects: Sequence[Subject], name: str) -> Subject:
    """Several open models as one, whose vectors or logits are the mean of theirs.

    Args:
        subjects: with vectors of one width, or with heads for the same labels in any order.
        name: as Subject has it.
    """
    first = subjects[0]

    def run(texts: Sequence[Any], title: str = "") -> Any:
        found = [subject.run(texts, title) for subject in subjects]
        orders = [label_order(first.labels, subject.labels, subject.name) or slice(None) for subject in subjects]
        if first.head == TAGGING:
            return [np.mean([rows[:, order] for rows, order in zip(own, orders)], axis=0) for own in zip(*found, strict=True)]
        return np.mean([rows[:, order] for rows, order in zip(found, orders)], axis=0)

    return replace(
        first,
        name=name,
        encode=run if first.head == EMBED else first.encode,
        run=run,
        files={f"{number} {file}": size for number, subject in enumerate(subjects, start=1) for file, size in subject.files.items()},
        parameters=sum(subject.parameters for subject in subjects),
        embedding_parameters=sum(subject.embedding_parameters for subject in subjects),
    )


def _is_exported(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (CONFIG, MODEL, QUANTIZED))


def _folder_name(folder: Path) -> str:
    """The folder's name, with its run's where the name alone says nothing."""
    folder = folder.absolute()
    return f"{folder.parent.name}/{folder.name}" if folder.name in (ONNX, STUDENT, BUNDLE) else folder.name


def _sizes(folder: Path, patterns: Sequence[str]) -> dict[str, int]:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(paths)}
