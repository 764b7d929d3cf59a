"""The folder of what is kept between runs, and where in it something lies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.machine.files import sha256_of, write_text

FORMAT = 3


def cache_place(teacher: Path, texts: Iterable[str | Sequence[str]], settings: dict[str, Any]) -> Path:
    """The folder of something that was computed of a model and texts; it need not exist.

    Args:
        teacher: folder of the model, whose files count and not its path.
        texts: single texts, pairs (tuples) or texts as words (lists).
        settings: whatever else decides the result, as JSON.

    Returns:
        A path below `cache_folder`, named by a digest of all of it.
    """
    key = {"format": FORMAT, "teacher": fingerprint(teacher), "texts": digest_of(texts), "settings": settings}
    return named_place("teacher", key)


def named_place(kind: str, key: Any) -> Path:
    """The folder below `cache_folder` of something of a kind; it need not exist.

    Args:
        kind: a folder's name.
        key: whatever decides it, as JSON.
    """
    return cache_folder() / kind / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def digest_of(texts: Iterable[str | Sequence[str]]) -> str:
    """SHA-256 of texts in hexadecimal.

    Args:
        texts: as in `cache_place`; those that know their `digest`, as data.stored.StoredTexts does, are not read again.
    """
    if (known := getattr(texts, "digest", None)) is not None:
        return str(known)
    content = hashlib.sha256()
    for text in texts:
        parts = [text] if isinstance(text, str) else list(text)
        content.update(type(text).__name__.encode())  # the same words as a pair and as words to tag are other tokens
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            content.update(len(raw).to_bytes(8, "little") + raw)
        content.update(len(parts).to_bytes(8, "little"))
    return content.hexdigest()


def fingerprint(folder: Path) -> dict[str, str]:
    """Digests of every file that decides a model's answers: weights, configuration, tokenizer.

    Args:
        folder: of the model.

    Returns:
        Path within the folder → SHA-256 in hexadecimal.
    """
    patterns = ("*.safetensors", "*.json", "vocab.txt", "merges.txt", "*.model", "*/config.json", "*/*.safetensors")
    return {
        path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted({p for pattern in patterns for p in folder.glob(pattern)})
    }


def cache_folder() -> Path:
    """`POTSTILL_CACHE`, else potstill's folder in the user's cache folder.

    Raises:
        PotstillError: neither a variable of the environment nor the system says where that is.
    """
    if named := os.environ.get("POTSTILL_CACHE"):
        return expanded(named, "POTSTILL_CACHE")
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "potstill"
    try:
        return Path.home() / ".cache" / "potstill"
    except RuntimeError as error:  # no HOME, and a user that the system has no entry for, as in a container
        raise PotstillError("cache", f"the home folder is not known ({error})", "set POTSTILL_CACHE to a folder") from error


def expanded(path: str | Path, place: object = None) -> Path:
    """A path with `~` and `~name` at its beginning replaced by that user's home folder.

    Args:
        path: as the user wrote it.
        place: where it stands, for the error; default the path itself.

    Raises:
        PotstillError: the home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        where, problem = (path, "") if place is None else (place, f"{path}: ")
        raise PotstillError(where, f"{problem}the home folder is not known", "name the folder without ~") from error


def cached_json(name: str, folder: Path, texts: Sequence[str], settings: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """A computed value, out of the cache where it was computed of the same model, texts and settings before.

    A PotstillError from `write_text` comes through: the cache cannot be written.

    Args:
        name: of the file in the cache.
        folder: of the model, like the next two as `cache_place` has it.
        texts: that it is computed of.
        settings: whatever else decides it.
        compute: gives it, as JSON can hold it.
    """
    file = cache_place(folder, texts, settings) / name
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    found = compute()
    write_text(file, json.dumps(found))
    return found
