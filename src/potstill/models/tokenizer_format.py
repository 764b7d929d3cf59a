"""A tokenizer's files, in the form that readers of several years take: transformers 4 and 5, tokenizers alone, fastembed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.runtime.folder import TOKENIZER

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SETTINGS, SPECIAL = "tokenizer_config.json", "special_tokens_map.json"
# transformers 5's name of what transformers 4 calls PreTrainedTokenizerFast. Both know the older one.
NEW_CLASS, CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
# How this process loaded it, and a length of its source's: fastembed takes the least of all that it finds.
PRIVATE = ("is_local", "local_files_only", "max_length", "name_or_path", "tokenizer_file")
FLAGS = ("lstrip", "normalized", "rstrip", "single_word")


def write(folder: Path, hf_tokenizer: PreTrainedTokenizerFast, tokenizer: Tokenizer, max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    Args:
        folder: where they go.
        hf_tokenizer: says what tokenizer.json does not: special tokens by name, and which inputs it makes.
        tokenizer: the same one as texts go through it, without padding and truncating to `max_length`.
        max_length: tokens a text is cut to, special tokens included.
    """
    # Whoever loads it would take others for granted.
    hf_tokenizer.init_kwargs["model_input_names"] = list(hf_tokenizer.model_input_names)
    hf_tokenizer.save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER))
    settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    settings = {key: value for key, value in settings.items() if key not in PRIVATE} | {"model_max_length": max_length}
    if settings.get("tokenizer_class") == NEW_CLASS:
        settings["tokenizer_class"] = CLASS
    if isinstance(settings.get("extra_special_tokens"), list):  # transformers 4 fails on a list under this name
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    _write(folder / SETTINGS, settings)
    _write(folder / SPECIAL, _special_tokens(hf_tokenizer))


def _special_tokens(hf_tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Special tokens by name, with what each says of the spaces around it where it says something."""
    added = {str(token): token for token in hf_tokenizer.added_tokens_decoder.values()}

    def told(piece: str) -> str | dict[str, Any]:
        flags = {flag: bool(getattr(added.get(piece), flag, False)) for flag in FLAGS}
        return {"content": piece, **flags} if any(flags.values()) else piece

    return {name: told(str(piece)) for name, piece in hf_tokenizer.special_tokens_map.items()}


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
