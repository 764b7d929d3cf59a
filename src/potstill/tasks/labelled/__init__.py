"""What all tasks with labels share: the families themselves are the files beside this folder."""

from potstill.tasks.labelled.matching import label_order
from potstill.tasks.labelled.task import DEV, LabelledTask, OwnTask, TrainingData, load_labelled, training_data

__all__ = ["DEV", "LabelledTask", "OwnTask", "TrainingData", "label_order", "load_labelled", "training_data"]
