"""The outcome of a comparison in a sentence, and what was compared in a line."""

from __future__ import annotations

from collections import Counter

from potstill.comparison.against import DISTILLED, MAJORITY, Comparison, Entry
from potstill.comparison.verdict import BETTER, NOT_BETTER, UNDECIDED

SMALLER = 1.05
"""Compression from which a sentence names it."""


def summary(comparison: Comparison) -> tuple[str, str]:
    """A sentence on the method that kept most of the teacher's score, and a line that counts methods, runs and verdicts.

    Where there are verdicts, the best is looked for among the methods that are better than the same student without
    distillation: else, of many methods with one seed each, the luckiest would lead. No share of the teacher's score is told
    of a student, or by a teacher, that is no better than the majority class: of F1 a model that learnt nothing keeps nearly all.
    """
    ours = [entry for entry in comparison.entries if entry.ours and entry.runs]
    scored = [entry for entry in ours if entry.kind == DISTILLED and entry.score is not None] or [
        entry for entry in ours if entry.score is not None
    ]
    proven = [entry for entry in scored if entry.verdict == BETTER] or scored
    proven = [entry for entry in proven if not entry.at_majority] or proven
    best = max(proven, key=lambda entry: entry.score or 0.0, default=None)
    verdicts = Counter(entry.verdict for entry in ours if entry.verdict)
    said = [f"{count} {verdict}" for verdict in (BETTER, NOT_BETTER, UNDECIDED) if (count := verdicts[verdict])]
    runs = sum(entry.runs for entry in ours)
    counts = f"{_counted(len(ours), 'method')}, {_counted(runs, 'run')}"
    if said:
        counts += f"; against the same student without distillation {', '.join(said)}"
    judged = next((entry for entry in scored if entry.verdict), None)
    if judged is not None and not verdicts[BETTER]:
        return f"No method is shown to be better than {judged.baseline}", f"{counts}."
    return _sentence(best, comparison), f"{counts}."


def _sentence(best: Entry | None, comparison: Comparison) -> str:
    if best is None:
        return "Nothing was scored yet"
    kept = f"{best.name} reaches {comparison.score} {best.score:.2f}"
    if best.at_majority or best.teacher_at_majority:
        majority = next((f" ({entry.score:.2f})" for entry in comparison.entries if entry.kind == MAJORITY), "")
        both = "no better, nor is its teacher," if best.teacher_at_majority else "no better"
        return f"{kept}, {both if best.at_majority else 'but its teacher is no better'} than the majority class{majority}"
    if best.of_teacher is not None:
        kept = f"{best.name} {'keeps' if best.of_teacher <= 100 else 'reaches'} {best.of_teacher:.1f} % of the teacher’s {comparison.score}"
    return kept if best.compress is None or best.compress < SMALLER else f"{kept}, {best.compress:.1f}× smaller"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"
