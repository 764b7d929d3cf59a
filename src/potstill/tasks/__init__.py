"""Benchmarks: a task is its data and its score."""
