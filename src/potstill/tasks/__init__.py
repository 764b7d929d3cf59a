"""Benchmarks: a task is its data and the score of a model on it; each family of tasks is one file."""
