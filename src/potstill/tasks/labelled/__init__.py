"""What the families of labelled tasks share: their data, the order of their labels, and their measures."""

from potstill.tasks.labelled.matching import label_order, named, same_labels
from potstill.tasks.labelled.task import (
    LabelledSet,
    LabelledTask,
    OwnTask,
    TrainingData,
    has_labels,
    labelled_set,
    load_labelled,
    recipe_set,
    task_openers,
    training_data,
)

__all__ = [
    "LabelledSet",
    "LabelledTask",
    "OwnTask",
    "TrainingData",
    "has_labels",
    "label_order",
    "labelled_set",
    "load_labelled",
    "named",
    "recipe_set",
    "same_labels",
    "task_openers",
    "training_data",
]
