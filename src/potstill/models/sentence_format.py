"""Names in sentence-transformers' folders: files, modules, and keys of their configurations.

sentence_read.py reads such a folder, sentence_modules.py its modules, and sentence_write.py writes one.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

MODULES, SETTINGS, CONFIG, WEIGHTS = "modules.json", "config_sentence_transformers.json", "config.json", "model.safetensors"
# What the module Transformer says of itself; the library takes the first of them that says anything.
TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
LIBRARY, TYPES = "sentence_transformers.", "sentence_transformers.models"
OWN_TYPES = f"{__package__}.layer_pooling"
AGAIN = "fetch or save the model again, whole"
OLDEST = "2.7"  # the library's release that reads a folder in which nothing stands that RELEASES names
# Kind of module, or a key of a module's configuration or of SETTINGS → the library's first release that reads it as it is written here.
RELEASES = {
    "Dense": "3.0.1",  # like the next two, with its weights in safetensors
    "LayerNorm": "3.0.1",
    "WeightedLayerPooling": "3.0.1",
    "StaticEmbedding": "5.0",  # at the folder's root
    "LayerPooling": "5.0",  # of which it knows what to do with a module of others
    "module_input_name": "5.4",
    "pooling_mode": "5.4",
    "truncate_dim": "5.4",  # which an older one passes over
    "use_residual": "6.0",
    "Normalize.module_input_name": "6.0",  # likewise
}
UNLIMITED = 1 << 20  # tokens: a length that no encoder has, by which transformers too says that there is no limit

TOKENS, VECTOR = "token_embeddings", "sentence_embedding"  # the library's names of what a module reads and writes
ON_TOKENS = {"module_input_name": TOKENS, "module_output_name": TOKENS}

# The activations that a Dense module may name, by class name; nothing is imported by a name out of a file.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(nn.Identity, nn.Tanh, nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.Mish),
        *(nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softplus, nn.Softsign),
    )
}
# Keys of Pooling's configuration as every release reads them → names in pooling.MODES. All are always written.
POOLING_KEYS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def later(*releases: str) -> str:
    """The latest of releases of the library."""
    return max(releases, key=lambda release: [int(part) for part in release.split(".")])
