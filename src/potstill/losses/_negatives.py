"""What losses that draw negatives from the training set share: the check of their number."""

from __future__ import annotations

from potstill.errors import PotstillError


def check_pool(place: str, count: int, rows: int) -> None:
    """Check that a training set has enough other texts for the negatives of one.

    Args:
        place: the option that says how many, for the error.
        count: negatives of a text.
        rows: texts of the training set.

    Raises:
        PotstillError: there are not that many other texts.
    """
    if count >= rows:
        raise PotstillError(
            place, f"{count} negatives are more than the pool of {rows - 1} other training texts", f"take at most {rows - 1}"
        )
