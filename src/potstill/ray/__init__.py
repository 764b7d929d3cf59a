"""The same work on the machines of a Ray cluster; the package `ray` is an extra, imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.ray.encode import Encode as Encode

__all__ = ["Encode"]


def __getattr__(name: str) -> Any:
    if name != "Encode":
        raise AttributeError(f"module 'potstill.ray' has no attribute {name!r}")
    from potstill.ray.encode import Encode

    return Encode
