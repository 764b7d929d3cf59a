"""Models that are given as objects: saved as folders, which everything else reads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import PotstillError, shown
from potstill.machine.cache import fingerprint
from potstill.machine.files import write_aside
from potstill.models.source import library_reads
from potstill.results import Run

if TYPE_CHECKING:
    from typing import TypeAlias

    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from potstill.models.encoder import EncoderModel

    Model: TypeAlias = (
        str | Path | Run | EncoderModel | SentenceTransformer | PreTrainedModel | tuple[PreTrainedModel, PreTrainedTokenizerBase]
    )
    """What stands for a model in Python: a path or a name, a run, or a model in memory."""

ACCEPTED = "give a path, a SentenceTransformer, a transformers model with its tokenizer (model, tokenizer), or a run"


@contextmanager
def as_folder(model: Any, place: str = "model") -> Iterator[str]:
    """The name of a model's folder; of a model in memory a temporary one, which is gone after the block.

    Args:
        model: as Model has it.
        place: what it is called in errors.
    """
    named = name_of(model, place)
    if named is not None:
        yield named
        return
    with tempfile.TemporaryDirectory(prefix="potstill-") as folder:
        yield str(save_given(model, Path(folder), place))


def name_of(model: Any, place: str = "model") -> str | None:
    """The path or name of a model that has one; None of a model in memory.

    Args:
        model: as Model has it.
        place: what it is called in errors.

    Raises:
        PotstillError: it is a run that was never written.
    """
    if isinstance(model, (str, os.PathLike)):
        return str(model)
    if isinstance(model, Run):
        if model.folder is None:
            raise PotstillError(place, f"the run {model.name} has no folder", "name its folder")
        return str(model.folder)
    return None


def save_given(model: Any, parent: Path, place: str = "model") -> Path:
    """Save a model in memory as a folder whose name has a digest of its content: the same model is saved at the same place.

    Args:
        model: as Model has it, and not a name.
        parent: the folder to save it in.
        place: what it is called in errors.

    Returns:
        The folder, such as `parent`/model-1a2b3c4d5e6f.

    Raises:
        PotstillError: it is no model, a model without a tokenizer, one that its library cannot save, or one of which a saved
            folder would not say all.
    """
    import hashlib
    import json

    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=parent) as beside:
        saved = Path(beside) / "model"
        _save(model, saved, place)
        digest = hashlib.sha256(json.dumps(fingerprint(saved), sort_keys=True).encode()).hexdigest()[:12]
        target = parent / f"{called(model)}-{digest}"
        if not target.is_dir():
            with write_aside(target) as aside:
                saved.rename(aside)
    return target


def called(model: Any) -> str:
    """What tables call a model in memory: the last part of the name that it was loaded by, as far as it has one."""
    import re

    part = model[0] if isinstance(model, tuple) and model else model
    parts = part.modules() if hasattr(part, "modules") else [getattr(part, "model", part)]  # the network within, or a pipeline's
    found = (getattr(each, "name_or_path", None) for each in parts)
    name = Path(next((each for each in found if isinstance(each, str) and each), "")).name
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip(".-")[:80] or "model"


def _save(model: Any, folder: Path, place: str) -> None:
    """Save a model in memory.

    Raises:
        PotstillError: as `save_given`.
    """
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.disable_progress_bar()
    with library_reads(place, f"{shown(type(model).__name__)[1:-1]}: cannot be saved", "save it to a folder, and name that"):
        kinds, found = _kinds(), model
        if isinstance(model, kinds["SentenceTransformer"]):
            cut = getattr(model, "truncate_dim", None)
            if cut is not None:
                problem = f"cuts its vectors to {cut} numbers (truncate_dim), which its saved folder does not say"
                raise PotstillError(place, problem, "load it without truncate_dim; student.dimensions teaches such a student")
            model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
            return
        if isinstance(model, kinds["EncoderModel"]):
            model.save(folder)
            return
        if isinstance(model, kinds["Pipeline"]):
            found = (model.model, model.tokenizer)
        if isinstance(found, kinds["PreTrainedModel"]):
            found = (found, _own_tokenizer(found, place))
        if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], kinds["PreTrainedModel"]):
            if not isinstance(found[1], kinds["PreTrainedTokenizerBase"]):
                raise PotstillError(place, f"its tokenizer is a {type(found[1]).__name__}", "give one of transformers: (model, tokenizer)")
            _require_rows(*found, place)
            found[0].save_pretrained(str(folder))
            found[1].save_pretrained(str(folder))
            return
    raise PotstillError(place, f"is a {type(model).__name__}, which is no model", ACCEPTED)


def _kinds() -> dict[str, Any]:
    """Name → the classes of what may be given; of a library that nobody has imported nothing can be an instance."""

    def found(module: str, name: str) -> Any:
        return getattr(sys.modules[module], name, ()) if module in sys.modules else ()

    if "transformers" in sys.modules:  # its names are loaded when they are first asked for
        from transformers import Pipeline, PreTrainedModel, PreTrainedTokenizerBase

        of_transformers: dict[str, Any] = {
            "Pipeline": Pipeline,
            "PreTrainedModel": PreTrainedModel,
            "PreTrainedTokenizerBase": PreTrainedTokenizerBase,
        }
    else:
        of_transformers = {"Pipeline": (), "PreTrainedModel": (), "PreTrainedTokenizerBase": ()}
    own = {"EncoderModel": found("potstill.models.encoder", "EncoderModel")}
    return of_transformers | own | {"SentenceTransformer": found("sentence_transformers", "SentenceTransformer")}


def _own_tokenizer(model: Any, place: str) -> Any:
    """The tokenizer of the folder or the name that a transformers model was loaded by.

    Raises:
        PotstillError: it was not loaded by a name that leads to a tokenizer.
    """
    from transformers import AutoTokenizer

    name = str(getattr(model, "name_or_path", "") or "")
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True) if name else _no_name()
    except Exception as error:  # the library raises nearly anything of a name that leads nowhere
        raise PotstillError(place, f"a {type(model).__name__} comes without its tokenizer", "give both: (model, tokenizer)") from error


def _no_name() -> None:
    """Stand for a tokenizer where no name leads to one.

    Raises:
        LookupError: always.
    """
    raise LookupError("the model was made in memory")


def _require_rows(model: Any, tokenizer: Any, place: str) -> None:
    """Check that a model has a row for each piece of its tokenizer.

    Raises:
        PotstillError: it has fewer.
    """
    rows = int(getattr(model.config, "vocab_size", 0) or 0)
    if rows and len(tokenizer) > rows:
        raise PotstillError(place, f"its tokenizer has {len(tokenizer):,} pieces, and the model rows for {rows:,}", "give the model's own")
