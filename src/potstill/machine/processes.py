"""Which process of a training this is, as torchrun says it."""

from __future__ import annotations

import os

from potstill.errors import PotstillError


def count() -> int:
    """How many processes train one run together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def number() -> int:
    """This one's number, from 0."""
    return int(os.environ.get("RANK", 0))


def is_main() -> bool:
    """Whether this is the one that writes, scores and speaks."""
    return number() == 0


def require_one(place: str) -> None:
    """Check that this process is alone, for work that processes do not share.

    Args:
        place: what the error names.

    Raises:
        PotstillError: torchrun started several.
    """
    if count() > 1:
        raise PotstillError(place, f"is the work of one process, and WORLD_SIZE is {count()}", "start it without torchrun")
