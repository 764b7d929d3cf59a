"""What the families of labelled tasks share: their data, the order of their labels, and their measures."""

from potstill.tasks.labelled.matching import label_order
from potstill.tasks.labelled.task import LabelledSet, LabelledTask, OwnTask, TrainingData, labelled_set, load_labelled, training_data

__all__ = [
    "LabelledSet",
    "LabelledTask",
    "OwnTask",
    "TrainingData",
    "label_order",
    "labelled_set",
    "load_labelled",
    "training_data",
]
