"""One run, step by step: from a checked recipe to the scored files that ship."""
