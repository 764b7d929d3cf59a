"""How a stage trains a student: its loop, what the loop minimises, its checkpoints and its log."""
