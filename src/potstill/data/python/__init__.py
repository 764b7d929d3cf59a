"""A corpus and a retrieval task out of the documentation in Python's own source files."""
