"""Where a model's files are: a folder, or a name on the hub. Checked before anything is loaded."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from potstill.data.files.formats import POINTER, remedy_for, what_begins
from potstill.errors import PotstillError
from potstill.machine.files import kind_of_place
from potstill.machine.places import is_text, place_of_model, refuse_model
from potstill.runtime.folder import STUDENT

# What a model needs to load; a hub download fetches nothing else (no pickles, no ONNX, no TensorFlow).
NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json", "*/*.safetensors"]


ADAPTER = "adapter_config.json"  # of PEFT: LoRA and its like

# Errors of the machine and not of the folder that is read.
SHORT = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
SHORT_WORDS = ("can't start new thread", "can't allocate memory", "not enough memory")


@contextmanager
def library_reads(
    place: str | Path, problem: str = "cannot be read", remedy: str = "check that it is an encoder, saved whole"
) -> Iterator[None]:
    """Turn whatever a library raises of a model folder into one line. For calls into libraries alone.

    Of a folder that is not what they expect, transformers, tokenizers and safetensors raise nearly anything. What the
    machine is short of (memory, threads, room, open files) comes through as it is, as does a PotstillError.

    Args:
        place: what is read: the folder, or the file where it is one alone.
        problem: what went wrong then; the library's first words are put behind it.
        remedy: what to do.

    Raises:
        PotstillError: the library raised something.
    """
    try:
        yield
    except BaseException as error:
        # Neither a panic of a library written in Rust nor Ctrl-C is an Exception.
        panic = type(error).__name__ == "PanicException"
        if isinstance(error, PotstillError) or not (isinstance(error, Exception) or panic) or _of_the_machine(error):
            raise
        raise PotstillError(place, f"{problem} ({first_words(error)})", remedy) from error


def first_words(error: BaseException, limit: int = 200) -> str:
    """What kind of error it is, and the beginning of its text, on one line; of the error that it comes of, where it has such."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    whole = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return whole if len(whole) <= limit else f"{whole[: limit - 1]}…"


def _of_the_machine(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in SHORT
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_WORDS)


def model_folder(name: str) -> Path:
    """The local folder of a model: `name` itself, the student of a run folder, one of POTSTILL_MODELS, or the hub's snapshot.

    Args:
        name: a folder, relative to the working folder or to POTSTILL_MODELS, or a name on the hub.

    Raises:
        PotstillError: no such folder and no such model in reach; no configuration; no tokenizer;
            or only pickled weights (which can run code when they are opened, so they are refused).
    """
    folder = place_of_model(name)
    if kind_of_place(folder) != "a folder":
        folder = _download(name)
    if not (folder / "config.json").is_file() and (folder / STUDENT).is_dir():
        folder = folder / STUDENT  # a run folder: its student teaches, or starts, the next one
    if not (folder / "config.json").is_file() and (folder / ADAPTER).is_file():
        raise PotstillError(
            name, f"is an adapter ({ADAPTER}), which is no model without the one it changes", "merge it (merge_and_unload) and save that"
        )
    if not (folder / "config.json").is_file():
        raise PotstillError(name, "is not a model folder: it has no config.json", "name a folder that save_pretrained wrote")
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in sorted(folder.glob(pattern))]
        if pickles:
            raise PotstillError(
                name, f"has only pickled weights ({pickles[0]}), which can run code", "save it again with safe_serialization=True"
            )
        raise PotstillError(name, "has no model.safetensors", "name a folder with weights")
    if not any(
        (folder / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
    ):
        raise PotstillError(name, "has no tokenizer (tokenizer.json)", "save the model's tokenizer into the same folder")
    _require_content(folder)
    return folder


def _require_content(folder: Path) -> None:
    """Check that a model's files are not placeholders, as Git leaves them where Git LFS was missing.

    Raises:
        PotstillError: one is.
    """
    for pattern in NEEDED:
        for file in sorted(folder.glob(pattern)):
            if file.is_file() and file.stat().st_size < 1024:
                with file.open("rb") as stream:
                    if what_begins(stream.read(32)) == POINTER:
                        raise PotstillError(file, f"is {POINTER}", remedy_for(POINTER))


def _download(name: str) -> Path:
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_local or is_text(name):
        refuse_model(name, "no such folder", "check the path, which is relative to the working folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=NEEDED))
    except RepositoryNotFoundError:
        refuse_model(name, "no such folder, and no such model on the hub", "check the name, or log in if it is private")
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError):
        problem = "no such folder, and the hub cannot be reached to look for a model of that name"
        refuse_model(name, problem, "name a local folder, or connect")
