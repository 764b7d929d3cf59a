"""What a search tries: the file that says so, checked against its recipe, and the settings that come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from potstill.check.check import check_recipe
from potstill.errors import PotstillError, PotstillErrors, collect, shown
from potstill.machine.files import kind_of_place
from potstill.recipe.file import checked, mapping, override, read_recipe
from potstill.recipe.part import Count, Part
from potstill.recipe.recipe import AGREEMENT, LAST, Recipe
from potstill.registry import DEV
from potstill.tasks.base import task_names

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ONE_FACTOR, GRID = "one-factor", "grid"
MOST_WHOLE = 2**62
LISTED = (ONE_FACTOR, GRID)  # samplers whose trials are known beforehand
# Trials that differ in one of these would be scored by different rulers, or not in the trial at all. A score is the best
# of the evaluations: more of them would make it higher.
OWN_FILE = ("data.file", "data.text", "data.text_pair", "data.label", "data.split")
RULERS = ("name", "task", "data.dir", *OWN_FILE, "data.held_out", "training.select", "training.evaluations", "evaluate", "export")
AGREEMENT_RULERS = ("teacher", "data.texts", "data.pairs", "training.seed")  # whom the student is to agree with, and on which texts
# Keys of the training that depend on the losses or on this machine: the others are checked as the recipe is read.
CHECKED = ("training.batch_size", "training.precision", "training.device", "training.max_length")


# A whole number that no float holds cannot be drawn on a logarithmic scale either.
End = Annotated[int, Field(ge=-MOST_WHOLE, le=MOST_WHOLE)] | Annotated[float, Field(allow_inf_nan=False)]


class Range(Part):
    """All numbers from `low` to `high`; only whole ones where both ends are whole."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    low: End = Field(alias="from")
    high: End = Field(alias="to")
    log: bool = Field(False, description="drawn on a logarithmic scale: of 0.01 to 1 as many below 0.1 as above it")

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"from {self.low:g} to {self.high:g} is no range; the second must be larger")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithm needs more than 0, and the range begins at {self.low:g}; begin above 0")
        return self


class Space(Part):
    """What a search tries: the content of the file that `--space` names."""

    sampler: Literal["one-factor", "grid", "random", "tpe"] = "tpe"
    trials: Count | None = Field(None, description="of random and tpe; default 20")
    objectives: list[Literal["quality", "latency"]] = Field(["quality"], description="latency: p50 of the exported student")
    prune: bool | None = Field(None, description="end a trial that falls behind; default: of random and tpe with one objective")
    tests: bool = Field(False, description="score every finished trial on the tests too, for the charts alone: they choose nothing")
    keys: dict[str, Range | Annotated[list[JsonValue], Field(min_length=1)]] = Field(
        min_length=1, description="what --set takes → values, or a range"
    )

    @model_validator(mode="after")
    def _fits(self) -> Space:
        ranges = [key for key, values in self.keys.items() if isinstance(values, Range)]
        if self.sampler in LISTED and ranges:
            raise ValueError(f"{shown(ranges[0])[1:-1]} is a range, and {self.sampler} needs values; list some, or take random or tpe")
        if self.sampler in LISTED and self.trials is not None:
            raise ValueError(f"{self.sampler} has as many trials as its values make; drop `trials`")
        if sorted(set(self.objectives)) not in (["quality"], ["latency", "quality"]):
            raise ValueError("objectives must be [quality] or [quality, latency]; write one of these")
        if self.prune and len(self.objectives) > 1:
            raise ValueError("with two objectives no trial can be pruned, since none is behind before both are known; drop `prune`")
        return self

    @property
    def pruning(self) -> bool:
        """Whether trials that fall behind are ended: as `prune` says, else of random and tpe with one objective."""
        if self.prune is not None:
            return self.prune
        return self.sampler not in LISTED and len(self.objectives) == 1  # a grid is there to be seen whole


def read_space(file: Path, recipe: str, base: Recipe, overrides: Sequence[str]) -> Space:
    """Read a space and check every value in it against the recipe, before anything runs.

    PotstillErrors come through with everything that is wrong with the space, or with the recipe under any of its values.

    Args:
        file: the YAML file.
        recipe: a path or a shipped name.
        base: the recipe with `overrides`.
        overrides: what `--set` changes in the recipe, as `key=value`.

    Returns:
        The space.

    Raises:
        PotstillError: there is no such file.
    """
    kind = kind_of_place(file)
    if kind != "a file":
        raise PotstillError(str(file)[:100], f"is {kind}, not a file" if kind else "no such file", "name a YAML file with sampler and keys")
    space = checked(Space, mapping(file, "give it sampler and keys"), str(file))
    with collect() as attempt:
        attempt(_require_dev, base)
        attempt(check_recipe, base, recipe)
    rulers = RULERS + (AGREEMENT_RULERS if base.select == AGREEMENT else ())
    with collect() as attempt:
        for key, values in space.keys.items():
            for value in [values.low, values.high] if isinstance(values, Range) else values:
                attempt(_require_fit, file, key, value, recipe, overrides, rulers)
    return space


def listed_settings(space: Space, base: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List the trials of a grid, or of one factor at a time, in order.

    One factor at a time begins with the recipe as it is. That trial stands for every listed value that the recipe has itself.

    Args:
        space: a space whose sampler is one of LISTED.
        base: the recipe's own value of each searched key, as `own_values` finds it.

    Returns:
        (role, settings) of each trial.
    """
    lists: dict[str, list[Any]] = {key: values for key, values in space.keys.items() if isinstance(values, list)}
    if space.sampler == GRID:
        return [("", dict(zip(lists, values))) for values in product(*lists.values())]
    single = [("single", {key: value}) for key, values in lists.items() for value in values if key not in base or base[key] != value]
    return [("base", {}), *single]


def best_of_each(scores: Sequence[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """Combine the best value of each key out of the trials of one factor at a time.

    Args:
        scores: (settings, score) of each trial. The settings of the recipe as it is are empty.

    Returns:
        Each key's value of the highest score, where that is above the recipe's.
    """
    own = max((score for settings, score in scores if not settings), default=float("-inf"))
    best: dict[str, tuple[Any, float]] = {}
    for settings, score in scores:
        for key, value in settings.items():
            if score > best.get(key, (None, own))[1]:
                best[key] = (value, score)
    return {key: value for key, (value, _) in best.items()}


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Give each key's values as Optuna has them; those of lists as JSON, since a list of layers is no choice to Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for key, values in space.keys.items():
        if isinstance(values, list):
            found[key] = CategoricalDistribution([json.dumps(value) for value in values])
        elif isinstance(values.low, int) and isinstance(values.high, int):
            found[key] = IntDistribution(values.low, values.high, log=values.log)
        else:
            found[key] = FloatDistribution(values.low, values.high, log=values.log)
    return found


def own_values(space: Space, recipe: Recipe) -> dict[str, Any]:
    """Find the recipe's own value of each searched key, but for options of a loss that the recipe leaves to the loss."""
    found = {}
    for key in space.keys:
        place: Any = recipe.model_dump(mode="json")
        try:
            for part in key.split("."):
                place = place[int(part)] if isinstance(place, list) else place[part]
        except (KeyError, IndexError, TypeError):
            continue
        found[key] = place
    return found


def _require_dev(base: Recipe) -> None:
    """Check that trials are ranked by a dev score.

    Raises:
        PotstillError: they would be ranked by nothing, or by a test.
    """
    name, place = base.select, f"{base.name}: training.select"
    if name == LAST:
        raise PotstillError(place, "`last` ranks no trials", "name a dev task, for example sts/stsb-dev, or agreement with a teacher")
    if name != AGREEMENT and not name.endswith(DEV):
        if name + DEV in task_names():
            raise PotstillError(place, f"{name} is a test, and a search must not choose by one", f"choose by {name}{DEV}")
        if name in base.evaluate:
            raise PotstillError(place, f"{name} is also in `evaluate`: a search must not choose by what it reports", "take it out of one")


def _require_fit(file: Path, key: str, value: Any, recipe: str, overrides: Sequence[str], rulers: Sequence[str]) -> None:
    """Check that the recipe takes the value of the key.

    Raises:
        PotstillError: the key is the same for every trial: one of `rulers`.
        PotstillErrors: everything that is wrong with the recipe under the value.
    """
    place = f"{file}: keys.{key}"
    ruler = next((ruler for ruler in rulers if f"{key}.".startswith(f"{ruler}.") or ruler.startswith(f"{key}.")), None)
    if ruler is not None:
        raise PotstillError(place, f"{ruler} is the same for every trial, else their scores would not compare", "drop it, or use --set")
    try:
        changed = read_recipe(recipe, [*overrides, override(key, value)])
        if not key.startswith("training.") or key in CHECKED:
            check_recipe(changed, recipe)
    except PotstillErrors as several:
        raise PotstillErrors([_under(place, value, error) for error in several.errors]) from None
    except PotstillError as error:
        raise PotstillErrors([_under(place, value, error)]) from None


def _under(place: str, value: Any, error: PotstillError) -> PotstillError:
    """An error of the recipe under a value, as one of that value's place in the space."""
    named = "" if error.problem.startswith("unknown key") or repr(value) in error.problem else f"with {value}: "
    return PotstillError(place, named + error.problem, error.remedy)
