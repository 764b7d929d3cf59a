"""A recipe cut down to a few dozen rows: every step of its run in under a minute, and scores that mean nothing."""

from __future__ import annotations

from typing import Any

from potstill.recipe.recipe import Recipe

SMOKE = "-smoke"  # behind the name
ROWS, HELD_OUT, STEPS, BATCH = 48, 16, 2, 16
SCORED = 32  # rows of a task


def smoke(recipe: Recipe) -> Recipe:
    """The recipe for a trial of all its steps: few rows, two optimizer steps a stage, and an int8 gate that lets everything pass.

    A loss that draws `count` negatives gets as many rows more. Its name ends in SMOKE, and `smoke` is true in it, so that its
    results say so, too.

    Args:
        recipe: read and checked; one that is cut down already is returned as it is.
    """
    if recipe.smoke:
        return recipe
    content = recipe.model_dump(mode="json")
    counts = [term.get("count") for stage in content["stages"] for term in stage["terms"]]
    rows = ROWS + max([count for count in counts if type(count) is int], default=0)
    data, training = content["data"], content["training"]
    sources = len(data["texts"]) + len(data["pairs"]) or 1
    for key in ("texts", "pairs", "transfer"):
        data[key] = [_limited(source, -(-(rows + HELD_OUT) // sources)) for source in data[key]]
    data["held_out"] = min(data["held_out"], HELD_OUT)
    if recipe.labelled:
        data["limit"] = min(data["limit"] or rows, rows)
    if data["augment"] is not None:
        data["augment"]["copies"] = 1
    batch = min(training["batch_size"], BATCH)
    if isinstance(training["batches"], dict):
        training["batches"]["group"] = min(training["batches"]["group"], batch)
    training |= {"batch_size": batch, "accumulate": min(training["accumulate"], 2), "evaluations": 1, "warmup": 0.0}
    # A stage of share 0 is one that was left out.
    stages = [stage for stage in content["stages"] if stage["share"] != 0]
    content["stages"] = [stage | {"share": None, "epochs": None, "steps": STEPS} for stage in stages]
    if recipe.export.limits is not None:
        loose: dict[str, Any] = {"max_drop": 100, "min_cosine_mean": -1, "min_cosine": -1, "min_invariance": -1, "min_agreement": 0}
        content["export"]["int8"] = {"tables": recipe.export.limits.tables} | loose | {"max_error": 1e9, "min_speedup": 0, "tune": False}
    return Recipe.model_validate(content | {"name": recipe.name[: 200 - len(SMOKE)] + SMOKE, "smoke": True})


def _limited(source: str | dict[str, Any], rows: int) -> dict[str, Any]:
    whole = {"path": source} if isinstance(source, str) else source
    return whole | {"limit": min(whole.get("limit") or rows, rows)}
