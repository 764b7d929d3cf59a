"""Data before training: files read and checked line by line, rows split and labelled, and the batches of a whole run."""
