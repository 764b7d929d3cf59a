"""A number that changes with progress 0 → 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.errors import PotstillError, did_you_mean, shown

#: Shapes between `from` and `to`, with what they mean, for listing. `steps` is a shape of its own.
SHAPES: dict[str, str] = {
    "linear": "the same way at every step",
    "cosine": "half a cosine: slow at both ends",
    "anneal": "by whole numbers, each for the same share of the way (Annealing-KD)",
}


@dataclass(frozen=True)
class Schedule:
    """A weight or a temperature as a pure function of progress, so that a resumed run meets the same values.

    Attributes:
        shape: "constant" (`start` throughout), "step" (`steps`), or a name of SHAPES.
        start: the value at progress 0.
        end: the value at progress 1.
        steps: (progress, value) in rising order from progress 0; a value holds until the next one's progress.
    """

    shape: str = "constant"
    start: float = 1.0
    end: float = 1.0
    steps: tuple[tuple[float, float], ...] = ()

    def __call__(self, progress: float) -> float:
        """The value at a progress.

        Args:
            progress: 0 to 1; what lies outside is taken as the nearer end.

        Raises:
            ValueError: an unknown shape.
        """
        progress = min(1.0, max(0.0, progress))
        if self.shape == "constant":
            return self.start
        if self.shape == "step":
            return [value for begins, value in self.steps if begins <= progress][-1]
        if progress == 1.0:
            return self.end  # the formulas below may miss it by a rounding
        if self.shape == "linear":
            return self.start + (self.end - self.start) * progress
        if self.shape == "cosine":
            return self.start + (self.end - self.start) * (1 - math.cos(math.pi * progress)) / 2
        if self.shape == "anneal":
            distance = round(abs(self.end - self.start))
            gone = min(int(progress * (distance + 1)), distance)
            return self.start + math.copysign(gone, self.end - self.start)
        raise ValueError(f"unknown shape {self.shape!r}")

    @property
    def lowest(self) -> float:
        """The smallest value on the way: every shape but `step` runs one way between its ends."""
        return min(value for _, value in self.steps) if self.shape == "step" else min(self.start, self.final)

    @property
    def final(self) -> float:
        """The value at the end."""
        return self(1.0)

    def __str__(self) -> str:
        if self.shape == "constant":
            return f"{self.start:g}"
        if self.shape == "step":
            return ", ".join(f"{value:g} from {begins:g}" for begins, value in self.steps)
        return f"{self.start:g} → {self.end:g} {self.shape}"


def progress_of(step: int, steps: int) -> float:
    """Progress s / (S - 1), so that the last step has exactly the end's value.

    Args:
        step: s, from 0.
        steps: S.
    """
    return step / (steps - 1) if steps > 1 else 0.0


def parse(value: Any, place: str) -> Schedule:
    """Read a schedule of a recipe.

    Args:
        value: a number, `{from: 10, to: 1, shape: linear}`, or `{steps: [[0, 1.0], [0.8, 3.0]]}`.
        place: where the recipe says so, for errors.

    Raises:
        PotstillError: anything else, a number that is not finite, or steps that do not rise from 0 within 0 to 1.
    """
    if not isinstance(value, Mapping):
        return Schedule("constant", _number(value, place), _number(value, place))
    known = ("steps", "shape") if "steps" in value else ("from", "to", "shape")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise PotstillError(f"{place}.{unknown[0]}", "unknown key for a schedule", did_you_mean(str(unknown[0]), known))
    if "steps" in value:
        if value.get("shape", "step") != "step":
            raise PotstillError(f"{place}.shape", f"{shown(value['shape'])} cannot have `steps`", "leave out the shape, or the steps")
        steps = _steps(value["steps"], f"{place}.steps")
        return Schedule("step", steps[0][1], steps[-1][1], steps)
    missing = [key for key in ("from", "to") if key not in value]
    if missing:
        raise PotstillError(place, f"a schedule without `{missing[0]}`", "give `from` and `to`, or `steps`, or a number alone")
    shape = value.get("shape", "linear")
    start, end = _number(value["from"], f"{place}.from"), _number(value["to"], f"{place}.to")
    if not isinstance(shape, str) or shape not in SHAPES:
        raise PotstillError(f"{place}.shape", f"unknown shape {shown(shape)}", did_you_mean(str(shape), SHAPES))
    if shape == "anneal" and abs(end - start - round(end - start)) > 1e-9:
        raise PotstillError(place, f"from {start:g} to {end:g} is not a whole number of steps of 1", "choose other ends, or shape: linear")
    return Schedule(shape, start, end)


def _steps(value: Any, place: str) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise PotstillError(place, f"{shown(value)} is not a list of [progress, value]", "write [[0, 1.0], [0.8, 3.0]]")
    steps: list[tuple[float, float]] = []
    for number, item in enumerate(value):
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
            raise PotstillError(f"{place}[{number}]", f"{shown(item)} is not [progress, value]", "write [0.8, 3.0]")
        steps.append((_number(item[0], f"{place}[{number}]"), _number(item[1], f"{place}[{number}]")))
    begins = [step[0] for step in steps]
    if begins[0] != 0:
        raise PotstillError(place, f"begins at progress {begins[0]:g}", "let the first step begin at 0")
    if sorted(set(begins)) != begins or begins[-1] > 1:
        raise PotstillError(place, f"progress {shown(begins)} does not rise within 0 to 1", "order the steps, each progress once")
    return tuple(steps)


def _number(value: Any, place: str) -> float:
    # A string, too: YAML 1.1 reads 1e-3, without a point, as one.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PotstillError(place, f"{shown(value)} is not a finite number", "give a number, or a schedule (from and to, or steps)")
    return number
