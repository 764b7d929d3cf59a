r"""What students are worth before any training, as a Markdown table: which cut or first setting is the better start.

    python benchmarks/untrained.py embed/mpnet-to-3-layers --tasks sts/stsb-dev \
        --set data.dir=DATA --set teacher.model=MODEL --set student.model=MODEL \
        --try student.layers=3 student.rule=importance --try student.layers=null student.keep_heads=6

Every --try is one row: the recipe with the settings of --set and these. Nothing is trained; the teacher runs only where a
student is made of its vectors (static) or its layers are weighed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from potstill.check.check import check_recipe
from potstill.check.plan import first_student
from potstill.evaluation.evaluate import evaluate
from potstill.recipe.file import read_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--tasks", nargs="+", default=["sts/stsb-dev"])
    parser.add_argument("--set", action="append", default=[], help="a setting of every row")
    parser.add_argument("--try", dest="tries", action="append", nargs="*", required=True, help="the settings of one row")
    options = parser.parse_args()
    print(f"| | {' | '.join(options.tasks)} | embedding + rest, M |\n|" + "---|" * (len(options.tasks) + 2), flush=True)
    for settings in options.tries:
        scores, parameters = measure(options.recipe, [*options.set, *settings], options.tasks)
        print(f"| {' '.join(settings) or 'as it is'} | {' | '.join(f'{score:.2f}' for score in scores)} | {parameters} |", flush=True)


def measure(recipe: str, settings: list[str], tasks: list[str]) -> tuple[list[float], str]:
    parsed = read_recipe(recipe, tuple(settings))
    student = first_student(parsed, check_recipe(parsed))
    with TemporaryDirectory() as folder:
        student.save(Path(folder) / "student")
        record = evaluate(Path(folder) / "student", tasks, parsed.data.dir)
    table, rest = student.parameter_counts()
    return [record.scores[task]["spearman"] for task in tasks], f"{table / 1e6:.2f} + {rest / 1e6:.2f}"


if __name__ == "__main__":
    main()
