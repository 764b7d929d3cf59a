"""Where a model's files are: a folder, or a name on the hub. Checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from potstill.errors import PotstillError
from potstill.runtime.folder import STUDENT

# What a model needs to load; a hub download fetches nothing else (no pickles, no ONNX, no TensorFlow).
NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json", "*/*.safetensors"]


def model_folder(name: str) -> Path:
    """The local folder of a model: `name` itself, the student of a run folder, or the hub's snapshot.

    Args:
        name: a folder, relative to the working folder, or a name on the hub.

    Raises:
        PotstillError: no such folder and no such model in reach; no configuration; no tokenizer;
            or only pickled weights (which can run code when they are opened, so they are refused).
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(name)
    if not (folder / "config.json").is_file() and (folder / STUDENT).is_dir():
        folder = folder / STUDENT  # a run folder: its student teaches, or starts, the next one
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
    return folder


def _download(name: str) -> Path:
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_local:
        raise PotstillError(name, "no such folder", "check the path, which is relative to the working folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=NEEDED))
    except RepositoryNotFoundError as error:
        raise PotstillError(name, "no such folder, and no such model on the hub", "check the name, or log in if it is private") from error
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise PotstillError(
            name, "no such folder, and the hub cannot be reached to look for a model of that name", "name a local folder, or connect"
        ) from error
