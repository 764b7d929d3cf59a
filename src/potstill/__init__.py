"""potstill: distil a BERT-sized encoder into a small, fast one, and score the very file that ships.

The public names are loaded when they are first used, so that importing the package, and encoding
with it, never brings in torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.comparison.compare import compare as compare
    from potstill.errors import PotstillError as PotstillError
    from potstill.evaluation.evaluate import evaluate as evaluate
    from potstill.run.distil import distil as distil
    from potstill.run.export import export as export
    from potstill.runtime.encoder import Encoder as Encoder

__version__ = "0.1.0"

_HOMES = {
    "Encoder": "potstill.runtime.encoder",
    "PotstillError": "potstill.errors",
    "compare": "potstill.comparison.compare",
    "distil": "potstill.run.distil",
    "evaluate": "potstill.evaluation.evaluate",
    "export": "potstill.run.export",
}
__all__ = ["Encoder", "PotstillError", "compare", "distil", "evaluate", "export"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'potstill' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
