"""How numbers are written: no more digits than mean something."""

from __future__ import annotations

from collections.abc import Callable

MISSING = "–"


def fixed(digits: int) -> Callable[[float], str]:
    """How to write a number with so many digits after the point, and commas between thousands."""
    return lambda value: f"{value:,.{digits}f}"


def significant(value: float) -> str:
    """Three significant digits, never in powers of ten: 1843 → 1,840; 5.268 → 5.27."""
    rounded = float(f"{value:.3g}")
    magnitude = f"{rounded:.2e}".partition("e")[2]
    return f"{rounded:,.{max(0, 2 - int(magnitude))}f}"


def shown_number(value: float | None, form: Callable[[float], str]) -> str:
    """The number in its form; a dash for None."""
    return MISSING if value is None else form(value)
